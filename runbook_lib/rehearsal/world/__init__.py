"""Provide what every stand-in shares: folders, processes, names, HTTP serving and its faults."""
