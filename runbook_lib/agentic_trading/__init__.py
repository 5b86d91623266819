"""What we know of this one platform: its runner commands, machines, venue answers, schedules and known failures."""
