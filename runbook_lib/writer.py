"""One writer: a Postgres advisory lock that the database itself releases when its holder dies.

Looking needs no lock, and safety actions never wait for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.errors import StepRefused

if TYPE_CHECKING:
    from runbook_lib.services import Lock, Services

__all__ = ["Writer"]

LABEL = 63  # bytes that Postgres keeps of an application name


class Writer:
    """The writing lock of a project; ``label`` tells others who holds it: operator and record."""

    def __init__(self, services: Services, label: str) -> None:
        self._services = services
        self._label = label.encode()[:LABEL].decode(errors="ignore")
        self._lock: Lock | None = None

    def take(self) -> None:
        """Hold the lock, or go on holding it; raise `StepRefused` naming who holds it and since when."""
        if self._lock is not None and self._services.holds(self._lock):
            return
        self._lock, holder = self._services.lock(f"launch-runbook {self._services.settings.project}", self._label)
        if self._lock is None:
            raise StepRefused(
                f"the writing lock is held by {holder}: you can look, and stop things, "
                "but not change anything until that run has ended"
            )

    def release(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None
