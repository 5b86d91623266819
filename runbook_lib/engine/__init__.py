"""Run the cells of prepared notebooks in kernels and report how each cell ended, without any knowledge of steps."""
