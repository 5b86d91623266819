"""Keep the evidence of a run: its ledger, seal, signature, archived copy and alarms, and the gates that it opens."""
