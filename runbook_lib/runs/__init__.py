"""Run a notebook: headless, stepped through by a person, or watched."""
