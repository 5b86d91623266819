"""Keep the evidence of a run: ledger, seal, signature, archived copy and alarms. Gates are opened by this evidence."""
