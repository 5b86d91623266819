"""Run a notebook: headless, stepped through by a person, or judged on schedule by a watch."""
