"""The command line: a file for each family of commands, with heavy imports inside the commands."""
