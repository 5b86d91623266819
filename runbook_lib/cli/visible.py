"""Escape control characters in text from outside, so that it cannot move the cursor or draw over another line."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return ``text`` with every character that a terminal would act on, or not show, written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
