"""Provide what all stand-ins share: folders, processes, names, HTTP serving and HTTP faults."""
