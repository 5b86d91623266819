"""Hold the command line. Each file defines a family of commands, which import slow modules only when they run."""
