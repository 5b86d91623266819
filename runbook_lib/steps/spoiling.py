"""Make spoiled copies of replies, each with one thing wrong. A check that accepts all the copies proves nothing."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Http
from runbook_lib.commands.vendor_shapes import shape_of
from runbook_lib.errors import ServiceError
from runbook_lib.services.freshness import ServiceClock
from runbook_lib.services.http_calls import Answer, outdated, reply_of
from runbook_lib.settings.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook_lib.commands.answer_shapes import Shape
    from runbook_lib.commands.command import Command, Reply

# What comes with a good status in place of an answer: a gateway's error, nothing, a page, half a list.
BODIES = {"an error": b'{"error": "upstream timed out"}', "null": b"null", "a page": b"<html>", "half": b'[{"id": "1"'}

OLD = 600  # seconds before the question
ROWS = 50  # rows of a reply whose values are spoiled one by one


def spoiled(replies: Sequence[Reply]) -> Iterator[tuple[str, list[Reply]]]:
    """Yield spoiled copies of ``replies``, each with one thing wrong and with a name for what is wrong.

    A sound expectation complains about at least one of the copies.
    """
    for place, original in enumerate(replies):
        for flaw, bad in _spoiled(original):
            yield f"command {place + 1}: {flaw}", [*replies[:place], bad, *replies[place + 1 :]]


def emptied(replies: Sequence[Reply]) -> Iterator[tuple[int, list[Reply]]]:
    """Yield spoiled copies of ``replies``. In each copy one reply is empty, and its index comes with the copy."""
    for place, original in enumerate(replies):
        yield place, [*replies[:place], replace(original, rows=(), text=""), *replies[place + 1 :]]


def misdirected(command: Http) -> Iterator[tuple[str, Http]]:
    """Yield spoiled copies of a request. Each copy asks for something else than the request does.

    An empty answer to such a request proves nothing.
    """
    fields = command.json if isinstance(command.json, dict) else {}
    if "user" in fields:
        yield "another address", replace(command, json={**fields, "user": "0x" + "0" * 39 + "1"})
    if command.service == "hyperliquid":
        yield "another book", replace(command, json={**fields, "dex": f"{fields.get('dex', '')}x"})
    else:
        yield "another page", replace(command, query={**command.query, "page": 2})
        yield (
            "another place",
            replace(command, path=command.path.replace("/apps/", "/apps/x").replace("/projects/", "/projects/x")),
        )


def outages(commands: Sequence[Command], replies: Sequence[Reply]) -> Iterator[tuple[str, list[Reply]]]:
    """Yield spoiled copies of ``replies``. In each copy one reply is the body that a broken service sends.

    The body's name comes with the copy. Bodies that the command's shape refuses are left out. A stale answer says what
    it says now, so its copy is the original; it is yielded where nothing tells its age.
    """
    for place, command in enumerate(commands):
        if not isinstance(command, Http) or (shape := shape_of(command)).form is None:
            continue
        if shape.fresh and not outdated(shape, _aged(shape), ServiceClock()):
            yield f"command {place + 1}: an old one", list(replies)
        for flaw, body in BODIES.items():
            with suppress(ServiceError):  # as it should be: the command takes no such answer
                bad = reply_of(command, Answer(200, "OK", {}, body), Redactor({}))
                bad = replace(bad, at=replies[place].at)
                yield f"command {place + 1}: {flaw}", [*replies[:place], bad, *replies[place + 1 :]]


def _aged(shape: Shape) -> Answer:
    """Return an answer spoiled by age: its body, or else its Age header, says that it is `OLD` seconds old."""
    now = time.time()
    body = json.dumps({shape.moment: int((now - OLD) * 1000)}).encode()
    return Answer(200, "OK", {} if shape.moment else {"age": str(OLD)}, body, asked=now, received=now)


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
