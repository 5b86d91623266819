"""The launch runbook: steps of a launch as notebook cells."""
