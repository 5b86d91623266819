"""Run the cells of a prepared notebook in kernels, and tell the truth about each; knows nothing of steps."""
