"""Stand in for Fly: apps, secrets, machines that are real processes, the HTTP APIs, and the ``fly`` command."""
