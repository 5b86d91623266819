"""Keep a halt's questions to the venue within the venue's rate limit."""

from __future__ import annotations

import threading
import time

from runbook_lib.errors import ServiceError


class Purse:
    """The request weight that a halt may still use within the venue's rate limit.

    The venue grants one network address a total weight of 1200 a minute. A little less is used.
    """

    def __init__(self, full: float = 1150.0, rate: float = 19.0) -> None:
        self._full, self._rate = full, rate
        self._left, self._at = full, time.monotonic()
        self._lock = threading.Lock()
        self.spent = 0.0

    def pay(self, weight: float, within: float, kept: float = 0.0) -> None:
        """Wait until the halt may ask a question of this weight without breaking the venue's rate limit.

        Raise `ServiceError` if that takes longer than ``within`` seconds, or leaves less than is ``kept`` for others.
        """
        with self._lock:
            now = time.monotonic()
            left = min(self._full, self._left + (now - self._at) * self._rate) - weight
            if kept and left < kept:
                raise ServiceError("not asked: what the venue's limit lets through goes to the main book first")
            debt = max(0.0, -left / self._rate)
            if debt > within:
                raise ServiceError(f"not asked: the venue's limit lets us ask again in {debt:.0f} s only")
            self._left, self._at = left, now
            self.spent += weight
        time.sleep(debt)
