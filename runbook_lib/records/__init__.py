"""Keep the evidence of a run: ledger, seal, signature, archive, alarms, and the gates they open."""
