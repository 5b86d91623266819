"""Where a rehearsal starts, and the named faults that can be put in force on it."""
