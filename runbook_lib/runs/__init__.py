"""Run a notebook: headless, stepped through by a person, or as a watch that judges its cells on schedule."""
