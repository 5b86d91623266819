"""Call a function every half second while a block runs."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK = 0.5  # seconds between two ticks


@contextmanager
def ticking(tick: Callable[[], object]) -> Iterator[None]:
    """Call ``tick`` every half second in a thread while the block runs. When the block ends, the calls end."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(TICK):
            tick()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
