"""Make spoiled copies of replies: a check proves nothing if its expectation accepts all of them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Http
from runbook_lib.commands.vendor_answers import shape_of
from runbook_lib.errors import ServiceError
from runbook_lib.services.web import Answer, reply_of
from runbook_lib.settings.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook_lib.commands.command import Command, Reply

# What comes with a good status in place of an answer: a gateway's error, nothing, a page, half a list.
BODIES = {"an error": b'{"error": "upstream timed out"}', "null": b"null", "a page": b"<html>", "half": b'[{"id": "1"'}

ROWS = 50  # rows of a reply whose values are spoiled one by one


def spoiled(replies: Sequence[Reply]) -> Iterator[tuple[str, list[Reply]]]:
    """Yield copies of ``replies``, each with one thing wrong, and a name for what is wrong.

    A sound expectation complains about at least one of the copies.
    """
    for place, original in enumerate(replies):
        for flaw, bad in _spoiled(original):
            yield f"command {place + 1}: {flaw}", [*replies[:place], bad, *replies[place + 1 :]]


def outages(commands: Sequence[Command], replies: Sequence[Reply]) -> Iterator[tuple[str, list[Reply]]]:
    """Yield copies of ``replies`` in which one reply is the body that a broken service sends, with the body's name.

    Bodies that the command's shape refuses are left out.
    """
    for place, command in enumerate(commands):
        if not isinstance(command, Http) or shape_of(command).form is None:
            continue
        for flaw, body in BODIES.items():
            with suppress(ServiceError):  # as it should be: the command takes no such answer
                bad = reply_of(command, Answer(200, "OK", {}, body), Redactor({}))
                bad = replace(bad, at=replies[place].at)
                yield f"command {place + 1}: {flaw}", [*replies[:place], bad, *replies[place + 1 :]]


def _spoiled(reply: Reply) -> Iterator[tuple[str, Reply]]:
    rows = list(reply.rows)
    yield "no output", replace(reply, text="")
    yield "other output", replace(reply, text="something else")
    yield "none at all", replace(reply, rows=())
    if rows:
        yield "a row fewer", replace(reply, rows=tuple(rows[:-1]))
        yield "a row more", replace(reply, rows=(*rows, dict.fromkeys(rows[0])))
    else:
        yield "one where none is expected", replace(reply, rows=({"unexpected": "row"},))
    if reply.status is not None:
        yield "another status", replace(reply, status=reply.status + 1)
    for number, row in enumerate(rows[:ROWS]):
        for column, old in row.items():
            for word, new in (("null", None), ("changed", _changed(old))):
                rest = (*rows[:number], {**row, column: new}, *rows[number + 1 :])
                yield f"{column} {word}", replace(reply, rows=rest)


def _changed(old: Any) -> Any:
    if isinstance(old, bool):
        return not old
    if isinstance(old, int | float):
        return old + 1_000_000
    if isinstance(old, str):
        return "something else" if old != "something else" else "something else again"
    return {"something": "else"}
