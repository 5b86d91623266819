"""Hold what the runbook knows of each step of the checklist: what to ask, what to expect, what an answer means."""
