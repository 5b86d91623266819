"""The ways to run a notebook: headless, stepped through, watched."""
