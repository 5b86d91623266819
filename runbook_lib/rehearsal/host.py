"""What a machine of Fly's stand-in runs on: its host, its process, and the vendor's errors and identifiers."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

Json = dict[str, Any]
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Process(Protocol):
    """A running machine's process; ``wait`` gives its exit code, negative for a signal."""

    @property
    def pid(self) -> int: ...
    def send_signal(self, signal: int, /) -> None: ...
    async def wait(self) -> int: ...


# (environment, file descriptor that takes stdout and stderr) -> the process
Launch = Callable[[dict[str, str], int], Awaitable[Process]]


class FlyError(Exception):
    """An error as the Machines API words it: HTTP status, text and the optional ``status`` field."""

    def __init__(self, code: int, text: str, status: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.body: Json = {"error": text} | ({"status": status} if status else {})


def ulid() -> str:
    """A sortable identifier as the vendor uses for instances and deployment tags (26 characters)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return "".join(CROCKFORD[number >> shift & 31] for shift in range(125, -5, -5))


def timestamp() -> str:
    """Now, as the API writes it: RFC 3339, UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Host:
    """What a machine needs from the platform it runs on.

    ``secrets`` gives the app's current secret values; ``log`` takes (machine id, provider, line). A stop that
    was asked for leaves the machine listed as stopped; ``auto_destroy`` applies to exits of its own.
    """

    app: str
    launch: Launch
    secrets: Callable[[], Mapping[str, str]]
    log: Callable[[str, str, str], None]
    image_environment: Mapping[str, str]
    restart_takes_new_secrets: Callable[[], bool]
    restart_delay: float  # seconds between a crash and the next start
