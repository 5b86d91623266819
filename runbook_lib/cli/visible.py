"""Escape control characters in text from outside.

Such text could otherwise move the cursor or draw over another line.
"""

from __future__ import annotations


def visible(text: str) -> str:
    """Return ``text`` with each control or invisible character written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
