"""Stand in for Fly: apps, machines as real processes, secrets, its API and its command line."""
