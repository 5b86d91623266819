"""The command line: a file for each family of commands, heavy imports inside the commands."""
