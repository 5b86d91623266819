"""Fork runners from a process that has their imports done, and tell the platform how each ended."""

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
    """A runner's process, as the platform sees it."""

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
    """The runners of a rehearsal: ``launch`` makes one.

    The server is started by the first of them, so that a rehearsal without machines does not pay for its imports, or
    by ``warm``; ``started`` is then told its process id. ``target`` is the ``module:function`` that a fork calls.
    """

    def __init__(self, target: str = RUNNER, *, started: Callable[[int], None] = lambda _: None) -> None:
        self._target, self._started = target, started
        self._turn = asyncio.Lock()
        self._server: ForkServer | None = None

    async def launch(self, environment: dict[str, str], output: int) -> Forked:
        """Fork a process with ``environment``, whose stdout and stderr go to the descriptor ``output``."""
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
        """Start the server, unless it runs: done ahead, its imports are over when the first launch comes."""
        if self._server is None:
            self._server = ForkServer(f"{__name__}:run", [self._target.partition(":")[0]], log=None)
            self._started(self._server.pid)
        return self._server

    def close(self) -> None:
        """End the server, and with it every runner."""
        if self._server is not None:
            self._server.close()
            self._server = None


async def _ended(status: asyncio.StreamReader, transport: asyncio.ReadTransport) -> int:
    """Wait for the exit code; one that nobody tells means that the server was killed, and the process with it."""
    try:
        code = await status.readline()
        return int(code) if code else -signal.SIGKILL
    finally:
        transport.close()


def run(facts: Mapping[str, Any], output: int) -> None:
    """In a fork: call the target, with the runner's own environment and output."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(facts["environment"])
    module, _, function = facts["target"].partition(":")
    getattr(importlib.import_module(module), function)()
