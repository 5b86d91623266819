"""Time limits that hold from outside: a call that does not end holds neither who waits for it nor the process."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")


def start(call: Callable[[], Result], name: str = "call") -> Future[Result]:
    """Run a call in a daemon thread; its future can be waited for, and left behind.

    Not in an executor's: the interpreter waits for those threads at its end, and for a socket that drips for ever.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whatever it is, who waits must hear of it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what a call returns; raise `TimeoutError` when it has not ended after so many seconds."""
    return start(call).result(seconds)


def side_by_side(calls: Iterable[Callable[[], Result]], at_once: int) -> list[Result]:
    """Run calls at the same time, ``at_once`` of them at most, and return their results in order."""
    turns = threading.Semaphore(at_once)

    def in_turn(call: Callable[[], Result]) -> Result:
        with turns:
            return call()

    started = [start(lambda call=call: in_turn(call)) for call in calls]  # type: ignore[misc]
    return [future.result() for future in started]
