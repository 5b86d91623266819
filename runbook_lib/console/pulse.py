"""Notice when the kernel stood still: a button pressed meanwhile must not send its command once the kernel wakes."""

from __future__ import annotations

import time

from runbook_lib.console.markup import HUNG

WAKING = 1.5  # seconds after it woke in which what was pressed before still comes in


class Pulse:
    """The console's own beat. A gap as long as the page's watchdog waits means that the page said "not sent"."""

    def __init__(self) -> None:
        self._last = _clocks()
        self._woke = float("-inf")

    def beat(self) -> None:
        """Note that the kernel runs, and whether it stood still before."""
        now = _clocks()
        if max(after - before for before, after in zip(self._last, now, strict=True)) > HUNG:
            self._woke = now[0]
        self._last = now

    @property
    def waking(self) -> bool:
        """Return whether a press that comes now may have waited while the kernel stood still."""
        self.beat()
        return time.monotonic() - self._woke < WAKING


def _clocks() -> tuple[float, float]:
    """Return the monotonic clock, which stands still while a machine sleeps, and the wall clock."""
    return time.monotonic(), time.time()
