"""Start kernels for notebooks, if possible before they are needed, and end them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient

from runbook_lib.engine.kernel_forks import Ends, KernelForks, launched, spawn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from runbook_lib.engine.kernel_forks import Pipes, Process

LOOK = 0.05  # seconds between two looks whether the kernel lives
DEAF = 0.5  # seconds without any output after which the subscription is taken to have come too late
LAST_WORDS = 8  # lines of a dead kernel's log that are worth keeping
# What every phase imports; a kernel's own start takes less.
WARM = ("pandas", "matplotlib.pyplot", "psycopg", "httpx")


class KernelDied(Exception):
    """The error for a kernel that ended before it was closed. It says how the kernel ended."""


class Client(AsyncKernelClient):
    """A client of a pooled kernel. It asks the operating system whether the kernel is alive."""

    kernel: Kernel
    language: dict[str, Any]  # what the kernel says of its language, for the notebook's metadata
    awake: asyncio.Future[None] | None = None

    async def is_alive(self) -> bool:
        return self.kernel.process.poll() is None

    async def greet(self) -> None:
        """Open the channels to a kernel. Return as soon as the kernel takes cells and none of their outputs can be
        missed.
        """
        self.start_channels(stdin=False, hb=False, control=False)
        self.awake = asyncio.ensure_future(self._stay_awake())
        # One message heard means that the next ones will be. jupyter_client waits for 0.2 s of silence besides.
        # Not for `iopub_welcome`: one of 500 kernels (ipykernel 7.4) never sends it.
        heard = False
        while not heard:
            self.kernel_info()
            self.language = (await self.get_shell_msg())["content"]["language_info"]
            with contextlib.suppress(Empty):
                heard = bool(await self.get_iopub_msg(timeout=DEAF))

    async def _stay_awake(self) -> None:
        """Poll the channels every ``LOOK`` seconds, because pyzmq may miss that a message has arrived.

        ZeroMQ announces a message once, and under load pyzmq 27.3 may miss the announcement: a reply was seen lying in
        its queue while nbclient waited for it for ever (pyzmq issue 2173). Asking for the events makes pyzmq look
        again.
        """
        while True:
            for channel in (self.shell_channel, self.iopub_channel):
                channel.socket.get(zmq.EVENTS)
            await asyncio.sleep(LOOK)

    def stop_channels(self) -> None:
        if self.awake:
            self.awake.cancel()
        super().stop_channels()


@dataclass(frozen=True)
class Kernel:
    """A kernel of the pool: its process, its pipes, and the environment and keys that it was started with.

    The kernel dies with the thread that started it, so that thread must live longer than the kernel is needed.
    """

    process: Process
    pipes: Pipes
    environment: dict[str, str]
    keys: dict[str, str]

    async def connect(self, environment: Mapping[str, str], folder: Path) -> Client:
        """Give a pooled kernel its notebook's environment and folder. Return a client whose channels are open.

        Raise `KernelDied` if the kernel ends before that.
        """
        ports = await self._ports()
        setting = {
            "environment": {k: v for k, v in environment.items() if self.environment.get(k) != v},
            "without": [k for k in self.environment if k not in environment],
            "folder": str(folder),
        }
        self._order(setting)
        client = Client()
        client.kernel = self
        client.load_connection_info(
            {
                "ip": "127.0.0.1",
                "key": self.keys["key"].encode(),
                "curve_publickey": self.keys["public"],
                "curve_secretkey": self.keys["secret"],
                **ports,  # type: ignore[typeddict-item]
            }
        )
        try:
            await client.greet()
        except BaseException:
            client.stop_channels()
            raise
        return client

    async def _ports(self) -> dict[str, int]:
        """Wait until the kernel reports the ports on which it listens, and return them."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.pipes.report, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.pipes.report)
        # The line is shorter than a pipe's buffer, so it is there whole, or the kernel is dead.
        if not (line := self.pipes.report.readline()):
            raise KernelDied("the kernel ended while starting")
        ports: dict[str, int] = json.loads(line)
        return ports

    def _order(self, order: dict[str, Any]) -> None:
        try:
            self.pipes.orders.write(json.dumps(order).encode() + b"\n")
            self.pipes.orders.flush()
        except BrokenPipeError as error:
            raise KernelDied("the kernel ended while starting") from error

    async def death(self) -> None:
        """Wait until a pooled kernel's process has ended."""
        while self.process.poll() is None:
            await asyncio.sleep(LOOK)

    def how_it_ended(self) -> str:
        """Describe how a pooled kernel's process ended, with the last lines of its log."""
        code = self.process.poll()
        if code is None:
            how = "did not answer"
        else:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        self.pipes.log.seek(0)
        words = self.pipes.log.read().decode(errors="replace").strip().splitlines()
        # Python prints an exception's innermost call last, and a crash's first.
        crash = next((n for n, line in enumerate(words) if line.startswith("Fatal Python error")), -LAST_WORDS)
        return "\n".join([how, *words[crash:][:LAST_WORDS]])

    def interrupt(self) -> None:
        """Interrupt a pooled kernel: raise KeyboardInterrupt in its cell, and end the commands that the cell
        started.
        """
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill a pooled kernel and the commands that its cells started."""
        if self.process.pid:
            self._signal(signal.SIGKILL)
            self.process.wait()
        else:
            self.pipes.orders.close()  # not forked yet; without orders it will end by itself

    def close(self) -> None:
        """Kill a pooled kernel and close its pipes and its log."""
        self.kill()
        self.pipes.close()

    def _signal(self, number: int) -> None:
        # The group outlives its leader: a command a cell started must not.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def start(environment: Mapping[str, str] | None = None, *, server: KernelForks | None = None) -> Kernel:
    """Start a kernel for the pool, or have ``server`` fork one. Return at once."""
    given = launched(os.environ if environment is None else environment)
    public, secret = zmq.curve_keypair()
    keys = {"key": secrets.token_hex(32), "public": public.decode(), "secret": secret.decode()}
    with Ends() as ends:
        process = server.fork(ends) if server else spawn(ends, given)
    kernel = Kernel(process, ends.ours, server.environment if server else given, keys)
    kernel._order({**keys, "warm": []})
    return kernel


class Kernels:
    """A pool of fresh kernels for ``count`` notebooks. Each kernel is started before its notebook needs it.

    Use it in a ``with`` block, which at its end kills the kernels that nobody took. On Linux the kernels are forked
    from one process that has imported ``warm``; apart from these imports, a forked kernel is as fresh as a newly
    started one.
    """

    def __init__(self, count: int, *, warm: Iterable[str] = WARM) -> None:
        self._due, self._warm = count, tuple(warm)
        self._server: KernelForks | None = None
        self._waiting: list[Kernel] = []

    def __enter__(self) -> Kernels:
        # Elsewhere a fork does not survive the system's own libraries.
        if sys.platform == "linux":
            self._server = KernelForks(launched(os.environ), self._warm)
        self._start_next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._server:
            self._server.close()
        for kernel in self._waiting:
            kernel.close()

    def take(self) -> Kernel:
        """Take an unused kernel from the pool. The caller must close it."""
        kernel = self._waiting.pop() if self._waiting else start(server=self._server)
        self._start_next()
        return kernel

    def _start_next(self) -> None:
        if self._due > 0:
            self._due -= 1
            self._waiting.append(start(server=self._server))
