"""Provide what all stand-ins share: folders, processes, names and secrets, HTTP serving, HTTP faults."""
