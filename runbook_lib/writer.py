"""One writer: a Postgres advisory lock that the database itself releases when its holder dies.

Looking needs no lock, and safety actions never wait for one.
"""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

from runbook_lib.errors import StepRefused

if TYPE_CHECKING:
    from runbook_lib.services import Lock, Services

__all__ = ["Writer"]

LABEL = 63  # bytes that Postgres keeps of an application name
# The locks of this process: a cell that opens its phase again is the same writer, not a second one.
HELD: dict[str, Lock] = {}


class Writer:
    """The writing lock of a project; ``label`` tells others who holds it: operator and record."""

    def __init__(self, services: Services, label: str) -> None:
        self._services = services
        self._label = label.encode()[:LABEL].decode(errors="ignore")
        settings = services.settings
        self._name, self._place = f"launch-runbook {settings.project}", f"{settings.database.url} {settings.project}"

    def take(self) -> None:
        """Hold the lock, or go on holding it; raise `StepRefused` naming who holds it and since when."""
        held = HELD.pop(self._place, None)
        if held is None or not self._services.database.holds(held):
            held, holder = self._services.database.lock(self._name, self._label)
            if held is None:
                raise StepRefused(
                    f"the writing lock is held by {holder}: you can look, and stop things, "
                    "but not change anything until that run has ended"
                )
        HELD[self._place] = held

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
