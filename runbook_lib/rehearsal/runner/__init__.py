"""Stand in for the platform's runner, with one operating-system process per deployment."""
