"""The logs of Fly's stand-in: every line a machine writes, stamped on arrival, polled with ``next_token``."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEPT = 20_000  # lines of an app that are remembered
PAGE = 100  # lines in a reply


@dataclass(frozen=True)
class Line:
    """One log line; ``at`` is in nanoseconds since 1970 and unique."""

    at: int
    instance: str
    region: str
    provider: str
    message: str

    def view(self) -> dict[str, Any]:
        stamp = datetime.fromtimestamp(self.at / 1e9, UTC).isoformat(timespec="microseconds")
        meta = {"instance": self.instance, "region": self.region, "event": {"provider": self.provider}}
        attributes = {
            "timestamp": stamp.replace("+00:00", "Z"),
            "message": self.message,
            "level": "info",
            "instance": self.instance,
            "region": self.region,
            "meta": meta,
        }
        return {"id": str(self.at), "type": "log", "attributes": attributes}


class Logs:
    """Lines by app, in memory for the API and in a file per machine for whoever looks into the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: dict[str, deque[Line]] = {}
        self._last = 0

    def writer(self, app: str, region: str) -> Callable[[str, str, str], None]:
        """A function that logs (machine id, provider, message) for an app."""

        def write(instance: str, provider: str, message: str) -> None:
            self._last = at = max(time.time_ns(), self._last + 1)
            self.lines.setdefault(app, deque(maxlen=KEPT)).append(Line(at, instance, region, provider, message))
            with (self.folder / f"machine-{instance}.log").open("a") as file:
                file.write(f"{message}\n")

        return write

    def page(self, app: str, instance: str | None, after: int) -> list[Line]:
        """The next lines after ``after``; without it the latest."""
        lines = [one for one in self.lines.get(app, ()) if instance in {None, "", one.instance}]
        return [one for one in lines if one.at > after][:PAGE] if after else lines[-PAGE:]


def logs_route(logs: Logs) -> Route:
    """``GET /api/v1/apps/{app}/logs`` with ``instance`` and ``next_token`` (nanoseconds)."""

    async def get(request: Request) -> Response:
        token = request.query_params.get("next_token") or "0"
        after = int(token) if token.isdigit() else 0
        lines = logs.page(request.path_params["app"], request.query_params.get("instance"), after)
        following = str(lines[-1].at) if lines else (token if after else "")
        return JSONResponse({"data": [one.view() for one in lines], "meta": {"next_token": following}})

    return Route("/api/v1/apps/{app}/logs", get, methods=["GET"])
