"""Put faults on routes of the HTTP stand-ins, count each fault's hits, and list and remove the faults."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbook_lib.rehearsal.world.http_server import Refusal

# status   answer with ``status`` (and ``body``, or the vendor's error body) without doing anything
# delay    wait ``seconds`` first, then do it
# drop     close the connection without doing anything
# lose     do it, then close the connection: the caller cannot know
# With status 200, without doing anything:
# garbage  bytes that are no text
# html     a maintenance page
# null     the JSON that means nothing
# error    an error of a gateway, as an object
# deep     lists inside lists without an end
# drip     one byte every ``seconds`` (a second, unless given), for ever
# bomb     65 kB that unpack to 64 MB
# And after doing it:
# cut      half of the real answer
# stale    the real answer as it were ``seconds`` (ten minutes, unless given) ago, by its own time or else by its Age
KINDS = ("status", "delay", "drop", "lose", "garbage", "html", "null", "error", "deep", "drip", "bomb", "cut", "stale")
BODIES = {
    "garbage": b'<html>\x00{"garb',
    "html": b"<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>",
    "null": b"null",
    "error": b'{"error": "upstream timed out"}',
    "deep": b"[" * 200 + b"]" * 200,
}
DRIP = 1.0  # seconds between two bytes
OLD = 600.0  # seconds
NOW = "now"  # as the ``time`` of a fault's body: the milliseconds at which it is sent
BOMB = 64_000_000  # bytes

TEXTS = {
    401: ("forbidden", "Not authorized"),
    403: ("forbidden", "Not authorized"),
    404: ("not_found", "Not Found"),
    429: ("rate_limited", "rate limit exceeded"),
    503: ("service_unavailable", "Service Unavailable"),
}


@dataclass
class Fault:
    """An HTTP fault in force: its kind, the requests that it applies to, and its number of hits."""

    service: str
    path: str = "*"  # a shell pattern, matched against the path without the query
    method: str = "*"
    # a shell pattern, matched against ``type`` in the JSON of a request, and the ``dex`` if it names one behind it:
    # every question has one path, and ``clearinghouseState xyz`` is about another book than ``clearinghouseState``
    asks: str = "*"
    source: str = "*"  # a shell pattern, matched against the client's address: only the operator's is 127.0.0.1
    kind: str = "status"
    status: int = 500
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)  # of a status, beside the vendor's own
    seconds: float = 0.0
    times: int | None = None  # requests it applies to; None: until it is removed
    name: str = ""
    hits: int = 0
    id: int = field(default_factory=itertools.count(1).__next__)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}: choose one of {', '.join(KINDS)}")

    def applies(self, service: str, method: str, path: str, asks: str = "", *, source: str = "") -> bool:
        """Return whether the HTTP fault applies to a request.

        ``asks`` is what the request's JSON asks for, and is empty if that is unknown.
        """
        spent = self.times is not None and self.hits >= self.times
        return (
            not spent
            and self.service in (service, "*")
            and self.method in (method, "*")
            and fnmatchcase(path, self.path)
            and fnmatchcase(asks, self.asks)
            and fnmatchcase(source, self.source)
        )

    def reply(self, service: str) -> Response:
        """Return the answer that the HTTP fault sends in place of the stand-in's answer."""
        if self.kind in BODIES:
            kind = "text/html" if self.kind == "html" else "application/json"
            return Response(BODIES[self.kind], media_type=kind)
        if self.kind == "bomb":
            return Response(_bomb(), headers={"content-encoding": "gzip"})
        headers = ({"retry-after": "1"} if self.status == 429 else {}) | self.headers
        if self.body is None:
            code, text = TEXTS.get(self.status, ("internal_server_error", "An unexpected internal error occurred"))
            return Refusal(self.status, text, code, headers=headers).reply(service)
        if isinstance(self.body, str):
            return Response(self.body, self.status, headers, media_type="text/plain")
        # An answer without a fresh time of its own would be refused for that, before anybody looks at the rest.
        timed = isinstance(self.body, dict) and self.body.get("time") == NOW
        body = {**self.body, "time": time.time_ns() // 1_000_000} if timed else self.body
        return JSONResponse(body, self.status, headers)


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(BOMB))


class Faults:
    """The HTTP faults in force in one rehearsal."""

    def __init__(self, services: frozenset[str]) -> None:
        self.services = services
        self.active: dict[int, Fault] = {}

    def add(self, **fields: Any) -> Fault:
        """Put an HTTP fault in force. Raise `ValueError` if its stand-in or its kind is unknown."""
        fault = Fault(**fields)
        if fault.service not in self.services | {"*"}:
            raise ValueError(f"unknown service {fault.service!r}: choose one of {', '.join(sorted(self.services))}")
        self.active[fault.id] = fault
        return fault

    def match(self, service: str, method: str, path: str, asks: str = "", *, source: str = "") -> Fault | None:
        """Return the newest HTTP fault that applies to a request, and count the hit.

        Return None if no fault applies.
        """
        for fault in reversed(self.active.values()):
            if fault.applies(service, method, path, asks, source=source):
                fault.hits += 1
                return fault
        return None

    def wrap(self, service: str, app: ASGIApp) -> ASGIApp:
        """Wrap a stand-in's application so that the HTTP faults in force apply to it."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            asks = ""
            if scope["type"] == "http" and any(fault.asks != "*" for fault in self.active.values()):
                asks, receive = await _asked(receive)
            source = (scope.get("client") or ("", 0))[0]
            fault = self.match(service, scope.get("method", "WEBSOCKET"), scope.get("path", ""), asks, source=source)
            if fault is None:
                return await app(scope, receive, send)
            if fault.kind == "drip":
                return await _drip(send, fault.seconds or DRIP, lambda: fault.id in self.active)
            return await _play(fault, service, partial(app, scope, receive), scope, send)

        return faulty


Answers = Callable[[Send], Awaitable[None]]  # lets the stand-in answer


async def _play(fault: Fault, service: str, answers: Answers, scope: Scope, send: Send) -> None:
    """Apply an HTTP fault to a request: delay, replace, spoil or lose the stand-in's answer."""
    if fault.kind in ("delay", "status"):
        await asyncio.sleep(fault.seconds)
    if fault.kind == "delay":
        return await answers(send)
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1011})
    if fault.kind == "lose":
        await answers(_discard)
    if fault.kind in ("lose", "drop"):
        _hang_up(send)
    elif fault.kind in ("cut", "stale"):
        await _spoil(fault, answers, send)
    else:
        await fault.reply(service)(scope, _nothing, send)
    return None


async def _asked(receive: Receive) -> tuple[str, Receive]:
    """Read an HTTP request's body. Return what its JSON asks for (``type`` and ``dex``).

    Also return a function that replays the messages read.
    """
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())
    body = b"".join(message.get("body", b"") for message in messages)
    again = iter(messages)

    async def replay() -> Message:
        message = next(again, None)
        return await receive() if message is None else message

    try:
        question = json.loads(body or b"null")
    except ValueError:
        question = None
    if not isinstance(question, dict):
        return "", replay
    return f"{question.get('type')} {question.get('dex') or ''}".rstrip(), replay


async def _drip(send: Send, seconds: float, lasts: Callable[[], bool]) -> None:
    """Send the answer one byte at a time, while the client listens and the HTTP fault is in force."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    while lasts() and not send.__self__.disconnected:  # type: ignore[attr-defined]
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.sleep(seconds)
    _hang_up(send)


async def _spoil(fault: Fault, answers: Answers, send: Send) -> None:
    """Let the stand-in answer, change its answer as the HTTP fault says, and send the changed answer.

    The client gets half of the answer or, for a stale fault, the answer with an older time.
    """
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await answers(keep)
    body = b"".join(message.get("body", b"") for message in messages)
    headers = [(name, value) for name, value in messages[0].get("headers", ()) if name != b"content-length"]
    if fault.kind == "cut":
        body = body[: max(1, len(body) // 2)]
    else:
        body, age = _aged(body, int(fault.seconds or OLD))
        headers += [(b"age", str(age).encode())] if age else []
    await send({**messages[0], "headers": [*headers, (b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


def _aged(body: bytes, seconds: int) -> tuple[bytes, int]:
    """Make the body of an HTTP answer ``seconds`` older. Return the body, and the seconds for an Age header.

    A body that has a time needs no Age header, so its seconds are 0. A body without a time is returned unchanged.
    """
    answer = json.loads(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("time"), int):
        return body, seconds
    return json.dumps({**answer, "time": answer["time"] - seconds * 1000}).encode(), 0


async def _nothing() -> Message:
    """Return the ASGI message "disconnect", for an HTTP fault's answer that does not read the request."""
    return {"type": "http.disconnect"}


async def _discard(_: Message) -> None:
    """Discard one ASGI message of the answer that an HTTP fault loses."""


def _hang_up(send: Send) -> None:
    """Abort the client's connection through the server's transport. ASGI has no message for this."""
    send.__self__.transport.abort()  # type: ignore[attr-defined]
