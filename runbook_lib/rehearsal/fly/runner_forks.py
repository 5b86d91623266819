"""Fork runners from a server process that has already imported the runners' modules, so that they start fast.

The platform learns how each runner ended.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

from runbook_lib.forks import ForkServer

RUNNER = "runbook_lib.rehearsal.runner.main:main"


class Forked:
    """A forked runner's process: its process id and its exit code."""

    def __init__(self, pid: int, exit_code: asyncio.Task[int]) -> None:
        self.pid = pid
        self._exit_code = exit_code

    def send_signal(self, number: int, /) -> None:
        # The number of a process that ended may be somebody else's by now.
        if not self._exit_code.done():
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)


class RunnerForks:
    """The runners of a rehearsal, each forked from one server process.

    The first `launch`, or `warm`, starts the server, so that a rehearsal without machines does not wait for its
    imports. ``started`` then gets the server's process id. ``target`` is the ``module:function`` that a fork calls.
    """

    def __init__(self, target: str = RUNNER, *, started: Callable[[int], None] = lambda _: None) -> None:
        self._target, self._started = target, started
        self._turn = asyncio.Lock()
        self._server: ForkServer | None = None

    async def launch(self, environment: dict[str, str], output: int) -> Forked:
        """Fork a runner with ``environment``. Its stdout and stderr go to the file descriptor ``output``."""
        read, write = os.pipe()
        status = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(status), os.fdopen(read, "rb", 0)
        )
        try:
            async with self._turn:
                try:
                    self.warm().fork([write, output], {"target": self._target, "environment": environment})
                finally:
                    os.close(write)
                pid = await status.readline()
            if not pid:
                raise BrokenPipeError
        except BrokenPipeError:
            transport.close()
            self.close()  # the next launch starts another
            raise OSError("the fork server has ended") from None
        return Forked(int(pid), asyncio.create_task(_ended(status, transport), name=f"runner {int(pid)}"))

    def warm(self) -> ForkServer:
        """Return the server process from which runners are forked. If none runs yet, start one.

        If this is called early, the server has done its imports before the first launch.
        """
        if self._server is None:
            self._server = ForkServer(f"{__name__}:run", [self._target.partition(":")[0]], log=None)
            self._started(self._server.pid)
        return self._server

    def close(self) -> None:
        """End the server process. All runners forked from it end too."""
        if self._server is not None:
            self._server.close()
            self._server = None


async def _ended(status: asyncio.StreamReader, transport: asyncio.ReadTransport) -> int:
    """Return a runner's exit code as the fork server reports it.

    If the fork server was killed, return -9 (SIGKILL), because the runners were killed with the server.
    """
    try:
        code = await status.readline()
        return int(code) if code else -signal.SIGKILL
    finally:
        transport.close()


def run(facts: Mapping[str, Any], output: int) -> None:
    """Become a runner in a forked process: take the runner's environment and output, then call the target function."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(facts["environment"])
    module, _, function = facts["target"].partition(":")
    getattr(importlib.import_module(module), function)()
