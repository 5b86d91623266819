"""The runner's plain way to the venue: ``POST /info`` over one kept connection, with the HTTP status at hand."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0  # seconds


class VenueError(Exception):
    """The venue did not answer, or not with 200; the text has the status and its phrase."""


class VenueClient:
    """Unsigned requests to the venue at ``address`` (``http://host:port``)."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._place = urlsplit(address).netloc
        self._connection: http.client.HTTPConnection | None = None
        self._lock = threading.Lock()

    async def info(self, kind: str, **parameters: Any) -> Any:
        """The reply to an info request; raise `VenueError` with ``<status> <reason>`` otherwise."""
        return await asyncio.to_thread(self.ask, {"type": kind} | parameters)

    def ask(self, body: dict[str, Any]) -> Any:
        """The same, blocking."""
        with self._lock:
            try:
                return self._ask(json.dumps(body).encode())
            except (OSError, http.client.HTTPException) as problem:
                self._drop()
                raise VenueError(f"fetch failed: {problem or type(problem).__name__}") from problem

    def _ask(self, body: bytes) -> Any:
        fresh = self._connection is None
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._place, timeout=TIMEOUT)
        try:
            return self._exchange(self._connection, body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._drop()
            if fresh:
                raise
            return self._ask(body)  # the kept connection had been closed meanwhile: once more, on a new one

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> Any:
        connection.request("POST", "/info", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        raw = answer.read()
        if answer.status != 200:
            raise VenueError(f"{answer.status} {answer.reason or http.client.responses.get(answer.status, '')}")
        try:
            return json.loads(raw)
        except ValueError as problem:
            raise VenueError(f"200 with a body that is not JSON: {raw[:40]!r}") from problem

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
