"""Run a notebook: without a person, stepped through by a person, or as a watch that judges its cells on schedule."""
