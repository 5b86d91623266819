"""Spoiled copies of replies: an expectation that accepts all of them is a check that cannot fail."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.commands import Reply

__all__ = ["spoiled"]


def spoiled(replies: Sequence[Reply]) -> list[tuple[str, list[Reply]]]:
    """Copies of ``replies`` with one thing wrong: an honest expectation complains about at least one."""
    made: list[tuple[str, list[Reply]]] = []
    for place, original in enumerate(replies):
        for what, bad in _spoiled(original):
            made.append((f"command {place + 1}: {what}", [*replies[:place], bad, *replies[place + 1 :]]))
    return made


def _spoiled(one: Reply) -> list[tuple[str, Reply]]:
    found = list(one.rows)
    copies: list[tuple[str, Reply]] = [("no output", replace(one, text="")), ("none at all", replace(one, rows=()))]
    if found:
        copies.append(("a row fewer", replace(one, rows=tuple(found[:-1]))))
        copies.append(("a row more", replace(one, rows=(*found, dict.fromkeys(found[0])))))
    else:
        copies.append(("one where none is expected", replace(one, rows=({"unexpected": "row"},))))
    if one.status is not None:
        copies.append(("another status", replace(one, status=one.status + 1)))
    for number, row in enumerate(found):
        for column, old in row.items():
            for word, new in (("null", None), ("changed", _changed(old))):
                rest = (*found[:number], {**row, column: new}, *found[number + 1 :])
                copies.append((f"{column} {word}", replace(one, rows=rest)))
    return copies


def _changed(old: Any) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return old + 1_000_000
    return "something else" if isinstance(old, str) else {"something": "else"}
