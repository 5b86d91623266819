"""Hold what we know of this one platform.

Here are its runner commands, machines, schedules, known failures, and the answers of its venue.
"""
