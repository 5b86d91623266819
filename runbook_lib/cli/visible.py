"""Make control characters visible: what came from outside moves no cursor, and forges no line over another one."""

from __future__ import annotations


def visible(text: str) -> str:
    """``text`` with every character that a terminal would act on, or not show, written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
