"""Hold the command line: each file defines a family of commands and imports slow modules inside the commands."""
