"""Start the processes of kernels, either anew or as forks of a server process that has imported everything."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from runbook_lib.errors import ConfigError
from runbook_lib.forks import ForkServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PROGRAM = Path(__file__).with_name("kernel_process.py")
TARGET = "runbook_lib.engine.kernel_process:become"


class Process(Protocol):
    """A kernel's process, forked or started anew.

    ``pid`` is the id of the process and of its process group; it is 0 until the id is known.
    """

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self) -> int: ...


@dataclass(frozen=True)
class Pipes:
    """This process's ends of a kernel's pipes, and the kernel's log.

    The log receives what is printed outside the kernel's channels.
    """

    orders: IO[bytes]
    report: IO[bytes]
    status: IO[bytes]
    log: IO[bytes]

    def close(self) -> None:
        for pipe in (self.orders, self.report, self.status, self.log):
            try:
                pipe.close()
            except BrokenPipeError:  # orders that nobody will read
                pipe.close()


class Ends:
    """Both ends of the pipes of a kernel that is about to be forked.

    Leaving the ``with`` block closes the kernel's ends.
    """

    def __init__(self) -> None:
        (self.orders, orders), (report, self.report), (status, self.status) = os.pipe(), os.pipe(), os.pipe()
        self.ours = Pipes(os.fdopen(orders, "wb"), unbuffered(report), unbuffered(status), _log())

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for descriptor in (self.orders, self.report, self.status):
            os.close(descriptor)
        if kind:
            self.ours.close()


def unbuffered(descriptor: int) -> IO[bytes]:
    """Open a kernel's pipe for reading without a buffer, so that Python reads only what the caller asks for."""
    return os.fdopen(descriptor, "rb", buffering=0)


def _log() -> IO[bytes]:
    """Open a kernel's log file, in memory if the system can, because the log may hold secrets."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("kernel log"), "r+b")
    return tempfile.TemporaryFile()


def launched(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a kernel's process: ``environment`` without the variable that pytest adds."""
    # With this variable ipykernel does not show what commands print: tests would not see what runs show.
    return {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}


def _with_parent(environment: Mapping[str, str]) -> dict[str, str]:
    """Add to a kernel's environment the variable that names the parent process.

    With this variable ipykernel prints no advice on how to stop the kernel by hand.
    """
    return {**environment, "JPY_PARENT_PID": str(os.getpid())}


def spawn(ends: Ends, environment: Mapping[str, str]) -> Process:
    """Start a kernel as a new Python process."""
    log = ends.ours.log.fileno()
    try:
        return subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM), str(os.getpid()), str(ends.report)],
            stdin=ends.orders,
            stdout=log,
            stderr=log,
            env=_with_parent(environment),
            pass_fds=[ends.report],
            start_new_session=True,  # Ctrl-C reaches the command alone, which decides
        )
    except OSError as error:
        raise ConfigError(f"the kernel cannot be started: {error}") from error


class KernelForks:
    """A server process that imports ``modules`` and forks kernels. All kernels get the given ``environment``."""

    def __init__(self, environment: Mapping[str, str], modules: Iterable[str]) -> None:
        self.environment = dict(environment)
        self._server = ForkServer(TARGET, modules, environment=_with_parent(environment), log=subprocess.DEVNULL)

    def fork(self, ends: Ends) -> Process:
        """Have the server fork a kernel as soon as the server has imported everything.

        If the server is dead, start a new process instead.
        """
        try:
            self._server.fork([ends.status, ends.orders, ends.report, ends.ours.log.fileno()])
        except OSError:  # the server is dead
            return spawn(ends, self.environment)
        return Forked(ends.ours.status)

    def close(self) -> None:
        """End the server process and every kernel that it forked."""
        self._server.close()


class Forked:
    """A forked kernel's process. The server reports the process id and, at the end, the exit code."""

    def __init__(self, status: IO[bytes]) -> None:
        self._status, self._said = status, b""
        self._over = False
        os.set_blocking(status.fileno(), False)

    @property
    def pid(self) -> int:
        self._listen()
        return int(self._said.split()[0]) if b"\n" in self._said else 0

    def poll(self) -> int | None:
        """Return the exit code of a forked kernel. Return None if the kernel still runs.

        If the server died, its kernels died with it, and the code is that of SIGKILL.
        """
        self._listen()
        words = self._said.split()
        if len(words) == 2:
            return int(words[1])
        return -signal.SIGKILL if self._over else None

    def wait(self) -> int:
        while (code := self.poll()) is None:
            select.select([self._status], [], [])
        return code

    def _listen(self) -> None:
        while not self._over and not self._status.closed:
            chunk = self._status.read(64)
            if chunk is None:
                return
            self._said += chunk
            self._over = not chunk
