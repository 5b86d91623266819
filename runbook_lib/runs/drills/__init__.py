"""Break one thing at a time on purpose, and report which step noticed."""
