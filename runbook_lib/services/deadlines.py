"""Limit the time of calls to services. A call that never ends blocks neither its caller nor the process's exit."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Result = TypeVar("Result")


def start(call: Callable[[], Result], name: str = "call") -> Future[Result]:
    """Run a call to a service in a daemon thread and return a future, for which the caller may wait until a deadline.

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
    """Return what ``call`` to a service returns. If ``seconds`` pass before the call ends, raise `TimeoutError`."""
    return start(call).result(seconds)


def side_by_side(calls: Iterable[Callable[[], Result]], at_once: int) -> list[Result]:
    """Run calls to services in parallel daemon threads, at most ``at_once`` at a time.

    Return their results in order.
    """
    turns = threading.Semaphore(at_once)

    def in_turn(call: Callable[[], Result]) -> Result:
        with turns:
            return call()

    started = [start(lambda call=call: in_turn(call)) for call in calls]  # type: ignore[misc]
    return [future.result() for future in started]
