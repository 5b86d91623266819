"""A kernel that answers expressions: it keeps what its cells made, and its death is noticed at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from runbook_lib.engine.kernel_pool import Kernels
from runbook_lib.engine.kernel_session import KernelDied, Session


def asking(tmp_path, ask, *cells):
    """What ``ask(session)`` brings, in a session that has run ``cells``."""

    async def work():
        with Kernels(1, warm=()) as kernels:
            session = await Session.open(kernels, os.environ, tmp_path, cells)
            try:
                return await ask(session)
            finally:
                session.close()

    return asyncio.run(work())


def test_an_expression_sees_what_the_cells_made(tmp_path):
    async def ask(session):
        return [await session.ask("[number, text * 2]", 30), await session.ask("'x' * 100_000", 30)]

    assert asking(tmp_path, ask, "number = 7", "text = 'it\\'s '") == [[7, "it's it's "], "x" * 100_000]


def test_a_thousand_answers_leave_nothing_behind(tmp_path):
    async def ask(session):
        return [await session.ask("print('said') or 1", 30) for _ in range(1000)]

    assert asking(tmp_path, ask) == [1] * 1000


@pytest.mark.parametrize("expression", ["1 / 0", "__import__('os')._exit(3)"])
def test_an_expression_that_fails_is_the_end_of_the_session(tmp_path, expression):
    with pytest.raises(KernelDied):
        asking(tmp_path, lambda session: session.ask(expression, 30))


def test_a_cell_that_fails_opens_no_session(tmp_path):
    with pytest.raises(KernelDied, match="ZeroDivisionError"):
        asking(tmp_path, None, "1 / 0")


def test_a_killed_kernel_is_noticed_at_once_and_a_deaf_one_in_time(tmp_path):
    async def killed(session):
        asyncio.get_running_loop().call_later(0.2, os.kill, session.pid, signal.SIGKILL)
        await session.ask("__import__('time').sleep(60)", 60)

    began = time.monotonic()
    with pytest.raises(KernelDied, match="SIGKILL"):
        asking(tmp_path, killed)
    with pytest.raises(KernelDied, match=r"no answer within 0\.5 s"):
        asking(tmp_path, lambda session: session.ask("__import__('time').sleep(60)", 0.5))
    assert time.monotonic() - began < 50
