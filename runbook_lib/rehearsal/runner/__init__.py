"""Stand in for the live runner, with one operating-system process per deployment."""
