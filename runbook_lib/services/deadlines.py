"""Limit the time of calls to services, so that an endless call blocks neither its caller nor this process's exit."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")


def start(call: Callable[[], Result], name: str = "call") -> Future[Result]:
    """Start a call to a service in a daemon thread. Return a future on which the caller may wait with a time limit.

    An executor would not do: when the interpreter exits, it waits for the executor's threads, even for ever.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whatever was raised, the waiting caller must get it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return the result of ``call``, a call to a service. Raise `TimeoutError` after ``seconds`` without a result."""
    return start(call).result(seconds)


def side_by_side(calls: Iterable[Callable[[], Result]], at_once: int) -> list[Result]:
    """Run several calls to services at the same time in daemon threads, but at most ``at_once``.

    Return their results in order.
    """
    turns = threading.Semaphore(at_once)

    def in_turn(call: Callable[[], Result]) -> Result:
        with turns:
            return call()

    started = [start(lambda call=call: in_turn(call)) for call in calls]  # type: ignore[misc]
    return [future.result() for future in started]
