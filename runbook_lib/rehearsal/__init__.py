"""Run a whole platform of stand-ins on loopback, in a folder of its own, for rehearsing the runbook."""
