"""Stand in for Fly: apps, machines (which are real processes), secrets, its API and its command line."""
