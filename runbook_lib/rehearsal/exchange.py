"""The stand-in exchange as a state machine: accounts, agents, orders, margin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runbook_lib.rehearsal.market import Market

if TYPE_CHECKING:
    from collections.abc import Callable


class Exchange:
    """Everything the venue remembers; ``now`` is the clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.now = now
        self.market = Market(now, seed)
