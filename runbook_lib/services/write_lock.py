"""One writer: a Postgres advisory lock that the database itself releases when its holder dies.

Looking needs no lock, and safety actions never wait for one.
"""

from __future__ import annotations

import atexit
import time
from typing import TYPE_CHECKING

from runbook_lib.errors import StepRefused
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from runbook_lib.services.database import Lock
    from runbook_lib.settings.profiles import Settings

LABEL = 63  # bytes that Postgres keeps of an application name
LEAVING = 2.0  # seconds the database may take to notice that a process which held the lock has died
POLL = 0.05  # seconds between two looks
# The locks of this process: a cell that opens its phase again is the same writer, not a second one.
HELD: dict[str, Lock] = {}


def holder(settings: Settings) -> str | None:
    """Who else may write on a profile now, with the record they write to, since when; None if nobody does.

    Raise `ServiceError` if the database does not tell.
    """
    services = Services(settings)
    try:
        deadline = time.monotonic() + LEAVING
        while (found := _other(services)) and time.monotonic() < deadline:
            time.sleep(POLL)
        return found
    finally:
        services.close()


def told(other: str) -> str:
    """What the second operator is told of the first."""
    return (
        f"the writing lock is held by {other}: you can look, and stop things, "
        "but not change anything until that run has ended"
    )


def _other(services: Services) -> str | None:
    return None if _place(services) in HELD else services.database.holder(_name(services))


def _name(services: Services) -> str:
    return f"launch-runbook {services.settings.project}"


def _place(services: Services) -> str:
    """The same lock in another database is another lock."""
    return f"{services.settings.database.url} {services.settings.project}"


class Writer:
    """The writing lock of a project; ``label`` tells others who holds it: operator and record."""

    def __init__(self, services: Services, label: str) -> None:
        self._services = services
        self._label = label.encode()[:LABEL].decode(errors="ignore")
        self._name, self._place = _name(services), _place(services)

    def take(self) -> None:
        """Hold the lock, or go on holding it; raise `StepRefused` naming who holds it and since when."""
        held = HELD.pop(self._place, None)
        if held is None or not self._services.database.holds(held):
            held = self._taken()
        HELD[self._place] = held

    def _taken(self) -> Lock:
        deadline = time.monotonic() + LEAVING
        while True:
            held, other = self._services.database.lock(self._name, self._label)
            if held is not None:
                return held
            if time.monotonic() > deadline:
                raise StepRefused(told(other))
            time.sleep(POLL)

    def release(self) -> None:
        """Give the lock back."""
        held = HELD.pop(self._place, None)
        if held is not None:
            held.close()


@atexit.register
def release_all() -> None:
    """Close what this process holds, quietly: the database would do it anyway."""
    while HELD:
        HELD.popitem()[1].close()
