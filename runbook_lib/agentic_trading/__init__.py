"""Hold what we know of this one platform: its tables, statuses, runner commands, machines, switches and symptoms.

Here are its runner commands, machines, schedules, known failures, and the answers of its venue.
"""
