"""Notice that the kernel has stood still, so that a button pressed meanwhile does not send its command late."""

from __future__ import annotations

import time

from runbook_lib.console.markup import HUNG

WAKING = 1.5  # seconds after it woke in which what was pressed before still comes in


class Pulse:
    """The pulse of the console's kernel: regular beats whose absence shows that the kernel stood still.

    A gap of `HUNG` seconds means that the watchdog has turned red in the page, and has told the person that nothing is
    sent.
    """

    def __init__(self) -> None:
        self._last = _clocks()
        self._woke = float("-inf")

    def beat(self) -> None:
        """Record a beat of the pulse, which shows that the kernel runs.

        If the last beat is too long ago, note that the kernel stood still.
        """
        now = _clocks()
        if max(after - before for before, after in zip(self._last, now, strict=True)) > HUNG:
            self._woke = now[0]
        self._last = now

    @property
    def waking(self) -> bool:
        """Return whether the pulse shows that the kernel stood still until just now.

        A press that arrives now may have been made while the kernel stood still.
        """
        self.beat()
        return time.monotonic() - self._woke < WAKING


def _clocks() -> tuple[float, float]:
    """Return the monotonic clock and the wall clock. While the machine sleeps, only the wall clock goes on."""
    return time.monotonic(), time.time()
