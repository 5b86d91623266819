"""Starting kernels, before they are needed where possible, and ending them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from typing import IO, TYPE_CHECKING, Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

PROGRAM = Path(__file__).with_name("kernel.py")
LOOK = 0.05  # seconds between two looks whether the kernel lives
DEAF = 0.5  # seconds without any output after which the subscription is taken to have come too late
LAST_WORDS = 8  # lines of a dead kernel's log that are worth keeping
# What every phase imports. A kernel that waits for its turn has the time to import it.
WARM = ("pandas", "matplotlib.pyplot", "psycopg", "httpx")


class KernelDied(Exception):
    """The kernel ended by itself; the message says how."""


class Client(AsyncKernelClient):
    """A client that asks the operating system, not a heartbeat, whether its kernel lives."""

    kernel: Kernel
    language: dict[str, Any]  # what the kernel says of its language, for the notebook's metadata

    async def is_alive(self) -> bool:
        return self.kernel.process.poll() is None

    async def greet(self) -> None:
        """Open the channels; return when cells can be sent and no output will be missed."""
        self.context.setsockopt(zmq.RCVHWM, 0)  # outputs wait, they are never dropped
        self.start_channels(stdin=False, hb=False, control=False)
        # One message heard means that the next ones will be. jupyter_client waits for 0.2 s of silence besides.
        # Not for `iopub_welcome`: one of 500 kernels (ipykernel 7.4) never sends it.
        heard = False
        while not heard:
            self.kernel_info()
            self.language = (await self.get_shell_msg())["content"]["language_info"]
            with contextlib.suppress(Empty):
                heard = bool(await self.get_iopub_msg(timeout=DEAF))


@dataclass(frozen=True)
class Kernel:
    """A kernel process, its pipes, and what it was started with.

    The kernel dies with the thread that started it, which therefore must outlive it.
    """

    process: subprocess.Popen[bytes]
    orders: IO[bytes]
    report: IO[bytes]
    log: IO[bytes]  # what the process itself says on stderr
    environment: dict[str, str]
    keys: dict[str, str]

    async def connect(self, environment: Mapping[str, str], folder: Path) -> Client:
        """Give the kernel its notebook's environment and folder, and a client whose channels are open.

        Raise `KernelDied` if it does not come up.
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
        """Wait for the kernel to say where it listens."""
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.report, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(self.report)
        # The line is shorter than a pipe's buffer, so it is there whole, or the kernel is dead.
        if not (line := self.report.readline()):
            raise KernelDied("the kernel ended while starting")
        ports: dict[str, int] = json.loads(line)
        return ports

    def _order(self, order: dict[str, Any]) -> None:
        try:
            self.orders.write(json.dumps(order).encode() + b"\n")
            self.orders.flush()
        except BrokenPipeError as error:
            raise KernelDied("the kernel ended while starting") from error

    async def death(self) -> None:
        """Return when the process has ended."""
        while self.process.poll() is None:
            await asyncio.sleep(LOOK)

    def how_it_ended(self) -> str:
        """Say how the process ended, with its last words if it had any."""
        code = self.process.poll()
        if code is None:
            how = "did not answer"
        else:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        self.log.seek(0)
        words = self.log.read().decode(errors="replace").strip().splitlines()
        # Python prints an exception's innermost call last, and a crash's first.
        crash = next((n for n, line in enumerate(words) if line.startswith("Fatal Python error")), -LAST_WORDS)
        return "\n".join([how, *words[crash:][:LAST_WORDS]])

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell, and interrupt the commands it started."""
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End the kernel and the commands its cells started, at once, and reap it."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Kill the kernel and let go of its pipes and its log."""
        self.kill()
        for stream in (self.log, self.report, self.orders):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _signal(self, number: int) -> None:
        # The group outlives its leader: a command a cell started must not.
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return


def start(environment: Mapping[str, str] | None = None, *, warm: Iterable[str] = ()) -> Kernel:
    """Start a kernel process; return at once. ``warm`` names modules to import before the first cell."""
    public, secret = zmq.curve_keypair()
    keys = {"key": secrets.token_hex(32), "public": public.decode(), "secret": secret.decode()}
    given = dict(os.environ if environment is None else environment)
    # With this ipykernel does not show what commands print, so tests would not see what runs show.
    given.pop("PYTEST_CURRENT_TEST", None)
    report, answer = os.pipe()
    log = _log()
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM), str(os.getpid()), str(answer)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**given, "JPY_PARENT_PID": str(os.getpid())},
            pass_fds=[answer],
            start_new_session=True,  # Ctrl-C reaches the command alone, which decides
        )
    except OSError as error:
        os.close(report)
        log.close()
        raise ConfigError(f"the kernel cannot be started: {error}") from error
    finally:
        os.close(answer)
    assert process.stdin is not None  # noqa: S101 - for mypy: we asked for a pipe
    kernel = Kernel(process, process.stdin, os.fdopen(report, "rb", buffering=0), log, given, keys)
    kernel._order({**keys, "warm": list(warm)})
    return kernel


def _log() -> IO[bytes]:
    """A file for what a kernel says outside its channels. It may hold secrets, so it is never on a disk."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kernel log"), "r+b")
    return tempfile.TemporaryFile()


class Kernels:
    """Kernels for ``count`` notebooks run one after another: while one works the next one starts.

    Use in a ``with``: what is left over at its end is killed.
    """

    def __init__(self, count: int, *, warm: Iterable[str] = WARM) -> None:
        self._due = count
        self._warm = tuple(warm)
        self._waiting: list[Kernel] = []

    def __enter__(self) -> Kernels:
        self._start_next()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for kernel in self._waiting:
            kernel.close()

    def take(self) -> Kernel:
        """A kernel that nobody used, started ahead if any was still due; the caller closes it."""
        if not self._waiting:
            return start(warm=self._warm)
        kernel = self._waiting.pop()
        self._start_next()
        return kernel

    def _start_next(self) -> None:
        if self._due > 0:
            self._due -= 1
            self._waiting.append(start(warm=self._warm))
