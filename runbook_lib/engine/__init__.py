"""Run the cells of a prepared notebook in kernels and report how each ended; this room knows nothing of steps."""
