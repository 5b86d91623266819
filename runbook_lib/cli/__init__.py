"""Hold the command line. Each file defines some commands, which import slow modules only when they run."""
