"""Run the cells of prepared notebooks in kernels, and report how each cell ended. The engine does not know steps."""
