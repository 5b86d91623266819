"""Break one thing at a time on purpose, and tell which step noticed."""
