"""Run the console's tasks on the kernel's event loop, and blocking work in threads."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Tasks:
    """The console's tasks on the running event loop.

    ``failed`` gets the error of each task that fails, because a task has no cell in which the error would show.
    """

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task of the console on the event loop. A reference keeps the task from being garbage-collected."""
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def end(self) -> None:
        """Cancel every task that the console runs in the background."""
        for task in self._running:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._failed(error)


async def aside(work: Callable[[], T]) -> T:
    """Run blocking ``work`` of the console in a new thread, and await its result.

    A pool of threads could be full of waiting work when somebody presses Pause.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(how: Callable[[Any], None], value: Any) -> None:
        if not future.done():
            how(value)

    def run() -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            try:
                loop.call_soon_threadsafe(settle, future.set_result, work())
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                loop.call_soon_threadsafe(settle, future.set_exception, error)

    threading.Thread(target=run, daemon=True).start()
    return await future
