"""Work beside the loop comes back to it, its mistakes too, and nothing that waits keeps anything else waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runbook_lib.console.background import Tasks, aside


def test_what_was_done_beside_the_loop_comes_back_and_so_does_a_mistake():
    async def main():
        assert await aside(threading.current_thread) is not threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            await aside(lambda: 1 / 0)

    asyncio.run(main())


def test_however_many_wait_the_next_one_starts_at_once():
    async def main():
        held = threading.Event()
        waiting = [asyncio.ensure_future(aside(held.wait)) for _ in range(100)]
        assert await aside(lambda: "at once") == "at once"
        held.set()
        assert all(await asyncio.gather(*waiting))

    asyncio.run(main())


def test_nobody_is_told_of_what_nobody_waits_for_any_more():
    async def main():
        held = threading.Event()
        left = asyncio.ensure_future(aside(held.wait))
        await asyncio.sleep(0)
        left.cancel()
        held.set()
        assert await aside(lambda: 1) == 1

    asyncio.run(main())


def test_a_task_that_ends_with_a_mistake_tells_it_and_a_cancelled_one_does_not():
    async def main():
        told = []
        tasks = Tasks(told.append)

        async def mistaken():
            raise ZeroDivisionError

        tasks.spawn(mistaken())
        tasks.spawn(asyncio.sleep(3600))
        await asyncio.sleep(0.01)
        tasks.end()
        await asyncio.sleep(0.01)
        assert [type(one) for one in told] == [ZeroDivisionError]

    asyncio.run(main())
