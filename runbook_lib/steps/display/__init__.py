"""Draw what a step shows: cards, tables, charts, buttons, and the pages of a record."""
