"""Whether the kernel kept up: what was pressed while it stood still must not be sent once it wakes."""

from __future__ import annotations

import time

from runbook_lib.console.markup import HUNG

WAKING = 1.5  # seconds after it woke in which what was pressed before still comes in


class Pulse:
    """The console's own beat. A gap as long as the page's watchdog waits means that the page said: not sent."""

    def __init__(self) -> None:
        self._last = _clocks()
        self._woke = float("-inf")

    def beat(self) -> None:
        """Say that the kernel runs."""
        now = _clocks()
        if max(after - before for before, after in zip(self._last, now, strict=True)) > HUNG:
            self._woke = now[0]
        self._last = now

    @property
    def waking(self) -> bool:
        """Whether a press that comes now may have waited while the kernel stood still."""
        self.beat()
        return time.monotonic() - self._woke < WAKING


def _clocks() -> tuple[float, float]:
    """Both clocks: the monotonic one stands still while a machine sleeps."""
    return time.monotonic(), time.time()
