"""Run a whole platform of stand-ins on loopback and in one folder, to rehearse the runbook."""
