"""Spoil a check's replies, one value at a time, starting from the replies of its clean run.

Each copy has one thing wrong, or a number exactly at one of the step's own bounds. A step that was changed by mistake
judges at least one of the copies differently.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook_lib.commands.command import Reply

ROWS = 12  # rows of a reply that are spoiled, from both ends
VALUES = 240  # values of a reply that are spoiled one by one
BOUNDED = 40  # values of a reply that are also put beside each bound: more are not measurements
PAIRED = 25  # rows of which two are taken away together: one may stand in for another
EDGE = 1e-6  # how far beside a bound
APART = (timedelta(seconds=3), timedelta(hours=2), timedelta(days=40))
IDENTITY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|(0x)?[0-9a-f]{32,}", re.IGNORECASE)
UUID = 36  # characters
NUMBER = re.compile(r"-?\d+(\.\d+)?")

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Spoil:
    """A description of what is wrong in a spoiled reply: the reply's index, the column (or none), and the flaw."""

    place: int
    column: str
    flaw: str


def spoiled(
    replies: Sequence[Reply], bounds: Sequence[float] = (), words: Sequence[str] = ()
) -> Iterator[tuple[Spoil, list[Reply]]]:
    """Yield spoiled copies of ``replies``, each with one thing wrong in one reply.

    ``bounds`` are the numbers that the step compares with, ``words`` the texts that it expects.
    """
    for place, original in enumerate(replies):
        for column, flaw, bad in _copies(original, bounds, words):
            yield Spoil(place, column, flaw), [*replies[:place], bad, *replies[place + 1 :]]


def ours(reply: Reply, words: Sequence[str]) -> Iterator[tuple[str, Reply]]:
    """Yield copies of a reply in which every id is replaced by one id that the step asks for."""
    for word in words:
        if len(word) == UUID and IDENTITY.fullmatch(word):
            yield f"all of it of {word}", replace(reply, rows=tuple(_with_id(row, word) for row in reply.rows))


def _with_id(value: Any, word: str) -> Any:
    if isinstance(value, dict):
        return {key: _with_id(inner, word) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_id(inner, word) for inner in value]
    return word if isinstance(value, str) and len(value) == UUID and IDENTITY.fullmatch(value) else value


def _copies(reply: Reply, bounds: Sequence[float], words: Sequence[str]) -> Iterator[tuple[str, str, Reply]]:
    yield from _whole(reply)
    rows = list(reply.rows)
    chosen = range(len(rows)) if len(rows) <= 2 * ROWS else [*range(ROWS), *range(len(rows) - ROWS, len(rows))]
    leaves = [(number, path, value) for number in chosen for path, value in _leaves(rows[number])][:VALUES]
    for number, path, value in leaves:
        near = bounds if len(leaves) <= BOUNDED else ()
        for flaw, bad in _others(value, near, words):
            changed = (*rows[:number], _put(rows[number], path, bad), *rows[number + 1 :])
            yield _named(path), flaw, replace(reply, rows=changed)
    columns = dict.fromkeys(_named(path) for _, path, _ in leaves if len(path) == 1)
    if len(rows) > 1:
        for column in columns:
            yield column, "null everywhere", replace(reply, rows=tuple({**row, column: None} for row in rows))


def _whole(reply: Reply) -> Iterator[tuple[str, str, Reply]]:
    rows = list(reply.rows)
    yield "", "refused", replace(reply, error="permission denied", rows=(), text="", status=reply.status and 403)
    yield "", "nothing", replace(reply, rows=(), text="")
    yield "", "no row", replace(reply, rows=())
    yield "", "other output", replace(reply, text="something else")
    for number in range(min(len(rows), 2 * ROWS)):
        yield "", f"row {number + 1} missing", replace(reply, rows=tuple(rows[:number] + rows[number + 1 :]))
        yield "", f"row {number + 1} alone", replace(reply, rows=(rows[number],))
        yield "", f"row {number + 1} twice", replace(reply, rows=(*rows, rows[number]))
        yield "", f"a stranger like row {number + 1}", replace(reply, rows=(*rows, _stranger(rows[number])))
    for one, two in combinations(range(len(rows)), 2) if len(rows) <= PAIRED else ():
        left = [row for number, row in enumerate(rows) if number not in (one, two)]
        yield "", f"rows {one + 1} and {two + 1} missing", replace(reply, rows=tuple(left))
    if rows:
        yield "", "every row a stranger", replace(reply, rows=tuple(_stranger(row) for row in rows))
        yield "", "ten times the rows", replace(reply, rows=tuple(rows * 10))
        yield "", "another order", replace(reply, rows=tuple(reversed(rows)))
    else:
        yield "", "a row where none is expected", replace(reply, rows=({"unexpected": "row"},))
    if reply.status is not None:
        yield "", "another status", replace(reply, status=reply.status + 1)
    lines = reply.text.splitlines()
    for number in range(min(len(lines), ROWS)):
        yield "", f"line {number + 1} missing", replace(reply, text="\n".join(lines[:number] + lines[number + 1 :]))


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value inside a row with its path, outer values before the values inside them."""
    if path:
        yield path, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        if len(path) < 6:
            yield from _leaves(inner, (*path, key))


def _others(value: Any, bounds: Sequence[float], words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield other values to spoil a right value with, each with a name for the flaw."""
    yield "missing" if value is None else "null", None if value is not None else "something else"
    if isinstance(value, bool):
        yield "the opposite", not value
    elif isinstance(value, int | float):
        yield from _numbers(float(value), bounds)
    elif isinstance(value, str):
        yield from _texts(value, bounds, words)
    elif isinstance(value, list):
        yield "empty", []
        for number in range(min(len(value), ROWS)):
            yield f"item {number + 1} missing", value[:number] + value[number + 1 :]
        yield "one more", [*value, value[-1] if value else "another"]
        yield "a word more", [*value, "ANOTHER"]
    elif isinstance(value, dict):
        yield "empty", {}
        for key in value:
            yield f"without {key}", {k: v for k, v in value.items() if k != key}
    elif value is None:
        yield "0", 0
        yield "a time", "2020-01-01T00:00:00Z"
        yield from ((word, word) for word in words)


def _numbers(value: float, bounds: Sequence[float]) -> Iterator[tuple[str, float]]:
    yield "no number", math.nan
    yield "negative", -abs(value) - 1
    yield from (
        ("one more", value + 1),
        ("one less", value - 1),
        ("tenfold", value * 10),
        ("a tenth", value / 10),
    )
    yield "zero", 0
    yield "huge", 1e11
    for bound in bounds:
        edge = EDGE * max(1.0, abs(bound))
        yield f"at {bound:g}", bound
        yield f"below {bound:g}", bound - edge
        yield f"above {bound:g}", bound + edge
        yield f"{bound:g} thrice", 3 * bound
        yield f"a third of {bound:g}", bound / 3


def _texts(value: str, bounds: Sequence[float], words: Sequence[str]) -> Iterator[tuple[str, Any]]:
    yield "something else", "something else"
    yield "empty", ""
    yield from ((f"{word!r}", word) for word in words if word != value)
    if IDENTITY.fullmatch(value):
        yield "another id", _another(value)
        yield "in capitals", value.upper().replace("0X", "0x")
    elif moment := _moment(value):
        for apart in APART:
            yield f"{apart} before", (moment - apart).isoformat()
            yield f"{apart} later", (moment + apart).isoformat()
    elif NUMBER.fullmatch(value):
        yield from ((flaw, f"{number:.12g}") for flaw, number in _numbers(float(value), bounds))
    else:
        yield "longer", f"{value}x"
        yield "cut", value[:-1]


def _moment(value: str) -> datetime | None:
    try:
        return datetime.fromisoformat(value.replace("Z", "+00:00")) if len(value) > len("2026-01-01") else None
    except ValueError:
        return None


def _stranger(value: Any) -> Any:
    """Return a copy of a row with other ids and addresses, as for another user."""
    if isinstance(value, dict):
        return {key: _stranger(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_stranger(inner) for inner in value]
    return _another(value) if isinstance(value, str) and IDENTITY.fullmatch(value) else value


def _another(value: str) -> str:
    return value[:-1] + ("1" if value[-1] == "0" else "0")


def _put(value: Any, path: Path, new: Any) -> Any:
    """Return a copy of an object with the value at a path replaced by ``new``."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, head: _put(value[head], rest, new)}
    return [_put(inner, rest, new) if number == head else inner for number, inner in enumerate(value)]


def _named(path: Path) -> str:
    return ".".join(map(str, path))
