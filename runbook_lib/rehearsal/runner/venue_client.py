"""Send ``POST /info`` to the venue over one connection that stays open. Errors name the HTTP status."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from typing import Any
from urllib.parse import urlsplit

TIMEOUT = 5.0  # seconds


class VenueError(Exception):
    """An error of the venue client: the venue did not answer the request with 200.

    If the venue answered at all, the text holds the HTTP status and its phrase.
    """


class VenueClient:
    """A client for unsigned requests to the venue at ``address`` (``http://host:port``). If ``source`` is given, the
    client connects from that address.
    """

    def __init__(self, address: str, source: str | None = None) -> None:
        self.address, self.source = address, source
        bound = (source, 0) if source else None
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=TIMEOUT, source_address=bound)
        self._lock = threading.Lock()

    async def info(self, kind: str, **parameters: Any) -> Any:
        """Return the venue's reply to an info request.

        If the request fails, raise `VenueError` with ``<status> <reason>``.
        """
        return await asyncio.to_thread(self._ask, json.dumps({"type": kind} | parameters).encode())

    def _ask(self, body: bytes) -> Any:
        with self._lock:
            reused = self._connection.sock is not None
            try:
                return self._exchange(body)
            except (OSError, http.client.HTTPException) as problem:
                self._connection.close()
                hung_up = isinstance(problem, ConnectionResetError | BrokenPipeError)  # also: answered nothing
                if not (reused and hung_up):
                    raise VenueError(f"fetch failed: {problem or type(problem).__name__}") from problem
        return self._ask(body)  # the venue had closed the idle connection: once more, on a new one

    def _exchange(self, body: bytes) -> Any:
        self._connection.request("POST", "/info", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status != 200:
            raise VenueError(f"{answer.status} {answer.reason or http.client.responses.get(answer.status, '')}")
        try:
            return json.loads(raw)
        except ValueError as problem:
            raise VenueError(f"200 with a body that is not JSON: {raw[:40]!r}") from problem
