"""Hold what we know of this one platform, such as its tables, runner commands, machines, switches and symptoms."""
