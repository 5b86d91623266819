"""Faults on any route of any HTTP stand-in: set, counted, listed and always taken away again."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.world.http_server import Json, Refusal

# status   answer with ``status`` (and ``body``, or the vendor's error body) without doing anything
# delay    wait ``seconds`` first, then do it
# drop     close the connection without doing anything
# lose     do it, then close the connection: the caller cannot know
# garbage  answer 200 with something that is not what the vendor sends
KINDS = ("status", "delay", "drop", "lose", "garbage")

TEXTS = {
    401: ("forbidden", "Not authorized"),
    403: ("forbidden", "Not authorized"),
    404: ("not_found", "Not Found"),
    429: ("rate_limited", "rate limit exceeded"),
    503: ("service_unavailable", "Service Unavailable"),
}


@dataclass
class Fault:
    """One fault in force: where it applies, what it does, and how often it did."""

    service: str
    path: str = "*"  # a shell pattern, matched against the path without the query
    method: str = "*"
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

    def applies(self, service: str, method: str, path: str) -> bool:
        """Whether it is still in force for a request."""
        spent = self.times is not None and self.hits >= self.times
        return (
            not spent
            and self.service in (service, "*")
            and self.method in (method, "*")
            and fnmatchcase(path, self.path)
        )

    def reply(self, service: str) -> Response:
        """What the client gets in place of the real answer."""
        if self.kind == "garbage":
            return Response(b'<html>\x00{"garb', media_type="application/json")
        headers = ({"retry-after": "1"} if self.status == 429 else {}) | self.headers
        if self.body is None:
            code, text = TEXTS.get(self.status, ("internal_server_error", "An unexpected internal error occurred"))
            return Refusal(self.status, text, code, headers=headers).reply(service)
        if isinstance(self.body, str):
            return Response(self.body, self.status, headers, media_type="text/plain")
        return JSONResponse(self.body, self.status, headers)


class Faults:
    """The faults in force in one rehearsal."""

    def __init__(self, services: frozenset[str]) -> None:
        self.services = services
        self.active: dict[int, Fault] = {}

    def add(self, **what: Any) -> Fault:
        """Put a fault in force; raise `ValueError` for a stand-in or a fault there is not."""
        fault = Fault(**what)
        if fault.service not in self.services | {"*"}:
            raise ValueError(f"unknown service {fault.service!r}: choose one of {', '.join(sorted(self.services))}")
        self.active[fault.id] = fault
        return fault

    def match(self, service: str, method: str, path: str) -> Fault | None:
        """The newest fault that applies to a request; it counts the hit."""
        for fault in reversed(self.active.values()):
            if fault.applies(service, method, path):
                fault.hits += 1
                return fault
        return None

    def wrap(self, service: str, app: ASGIApp) -> ASGIApp:
        """Put the faults of one stand-in in front of it."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            fault = self.match(service, scope.get("method", "WEBSOCKET"), scope.get("path", ""))
            if fault is None:
                return await app(scope, receive, send)
            await asyncio.sleep(fault.seconds)
            if fault.kind == "delay":
                return await app(scope, receive, send)
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1011})
            if fault.kind == "lose":
                await app(scope, receive, _discard)
            if fault.kind in ("lose", "drop"):
                return _hang_up(send)
            return await fault.reply(service)(scope, receive, send)

        return faulty


async def _discard(_: Message) -> None:
    """Swallow a reply."""


def _hang_up(send: Send) -> None:
    """Close a connection under its client. ASGI has no word for it: the server's transport is asked directly."""
    send.__self__.transport.abort()  # type: ignore[attr-defined]


@contextmanager
def fault(person: str, **what: Any) -> Iterator[Json]:
    """A fault for the length of a block, in the rehearsal whose person answers at ``person``.

    ``what`` needs ``service``; then as in `Fault`. Raise `ServiceError` when it is not accepted.
    """
    with _held(person, "/http-faults", what) as made:
        yield made


@contextmanager
def named_fault(person: str, name: str) -> Iterator[Json]:
    """A fault by its name for the length of a block, in the rehearsal whose person answers at ``person``.

    Raise `ServiceError` when there is no such fault.
    """
    with _held(person, f"/faults/{name}", None) as entered:
        yield entered


@contextmanager
def _held(person: str, path: str, what: Json | None) -> Iterator[Json]:
    import httpx  # noqa: PLC0415  slow to import, and the platform process has no need of it

    reply = httpx.post(person + path, json=what, timeout=30)
    if reply.status_code != 201:
        raise ServiceError(f"not in force: {reply.text}")
    made: Json = reply.json()
    try:
        yield made
    finally:
        httpx.delete(f"{person}{path}/{made['id']}" if "id" in made else person + path, timeout=30)
