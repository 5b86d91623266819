"""Break one thing on purpose, run a notebook, and report which step noticed it."""
