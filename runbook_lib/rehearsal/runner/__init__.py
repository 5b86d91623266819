"""Stand in for the platform's live runner, with one operating-system process per deployment."""
