"""Keep the evidence of a run: its ledger, seal, signature, archived copy and alarms. Gates open by this evidence."""
