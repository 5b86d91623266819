"""Kernels and their channels, below the level of notebooks."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import zmq

from runbook_lib.engine import kernel_pool

if TYPE_CHECKING:
    from pathlib import Path


def test_a_reply_whose_announcement_was_missed_is_still_found(tmp_path: Path) -> None:
    """As happens to pyzmq under load; here the announcement is taken away."""

    async def ask() -> None:
        kernel = kernel_pool.start()
        client = await kernel.connect(os.environ, tmp_path)
        try:
            reply = asyncio.ensure_future(client.get_shell_msg())
            await asyncio.sleep(0)  # it waits
            client.kernel_info()
            channel = zmq.Socket.shadow(client.shell_channel.socket.underlying)
            while not channel.get(zmq.EVENTS) & zmq.POLLIN:
                time.sleep(0.01)  # without letting the loop hear of it
            await asyncio.wait_for(reply, 30)
        finally:
            client.stop_channels()
            kernel.close()

    asyncio.run(ask())


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    kernel = kernel_pool.start()

    kernel.close()
    kernel.close()

    assert kernel.process.poll() is not None
