"""Keep the evidence of a run: ledger, seal, signature, archived copy and alarms. Judge by it whether a gate opens."""
