"""The stand-in of the live runner: one operating-system process per deployment."""
