"""Fork processes from a server process that has already imported the modules that they need.

The server runs this file as a program of its own, with one thread, so that forking is safe whatever the process that
asks for forks does. A request is a line of JSON with file descriptors. The first descriptor is the fork's status: the
fork writes its process id there, and the server writes the fork's exit code there when the fork has ended. The forks
end with the server, and the server ends with the thread that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHUNK = 1 << 18  # bytes: more than an environment
DESCRIPTORS = 8  # more than a request brings
# Loaded before any fork: a child of a process with threads could wait for ever to load it.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with(parent: int, number: int = signal.SIGKILL) -> None:
    """Have Linux send this fork a signal when its parent ends. If the parent has ended already, exit at once.

    Linux sends the signal when the thread that started this process ends. Other systems send none.
    """
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked


class ForkServer:
    """A server process that forks processes. Each fork calls ``target`` (``module:function``) with the facts of its
    request.

    The server first imports ``modules``; if one of them cannot be imported, the fork that needs it has to report so.
    The server takes requests at once and answers them when its imports are done.
    """

    def __init__(
        self, target: str, modules: Iterable[str] = (), *, environment: Mapping[str, str] | None = None, log: int | None
    ) -> None:
        """Start the fork server. Its output goes to the descriptor ``log``, or to this process's output if that is
        None.
        """
        self._requests, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(os.getpid()), str(number), target, *modules],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                pass_fds=[number],
                start_new_session=True,  # Ctrl-C is for whoever started it
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def fork(self, descriptors: Sequence[int], facts: Mapping[str, Any] | None = None) -> None:
        """Ask the server for a fork. The fork calls ``target`` with ``facts`` and all descriptors except the first.

        The first descriptor is the fork's status pipe, into which the fork's pid and exit code are written. Raise
        `OSError` if the server has ended.
        """
        request = json.dumps(facts or {}).encode() + b"\n"
        sent = socket.send_fds(self._requests, [request], list(descriptors))
        self._requests.sendall(request[sent:])

    def close(self) -> None:
        """End the fork server. All its forks end with it."""
        self._requests.close()
        if LIBC:
            self._process.kill()
        self._process.wait()


# --- the server -----------------------------------------------------------------------------------------------------


def serve(requests: socket.socket, target: Callable[..., None]) -> None:
    """Fork a process for each request, and report each fork's exit code, until the client closes the socket."""
    gc.collect()
    gc.freeze()  # what is imported stays shared: no fork's garbage collection copies it
    died, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    forks: dict[int, int] = {}  # pid -> status
    while True:
        ready, _, _ = select.select([requests.fileno(), died], [], [])
        if died in ready:
            os.read(died, CHUNK)
            _reap(forks)
        if requests.fileno() not in ready:
            continue
        request, descriptors, _, _ = socket.recv_fds(requests, CHUNK, DESCRIPTORS)
        if not request:
            return _kill(forks)
        while not request.endswith(b"\n"):
            request += requests.recv(CHUNK)
        server = os.getpid()
        if pid := os.fork():
            forks[pid] = descriptors[0]
            _close(*descriptors[1:])
        else:
            _close(requests.detach(), died, wake, *forks.values())
            _become(target, server, json.loads(request), descriptors)


def _reap(forks: dict[int, int]) -> None:
    """Write the exit code of each ended fork into the pipe that reports the fork's status."""
    for pid in list(forks):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):
                os.write(forks[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
            _close(forks.pop(pid))


def _kill(forks: Iterable[int]) -> None:
    """Kill the forks that still run when the server ends. On Linux they end with the server in any case."""
    for pid in forks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become(target: Callable[..., None], server: int, facts: dict[str, Any], descriptors: Sequence[int]) -> None:
    """Call ``target`` in a new fork, and end the fork with the exit code of this call."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        die_with(server)
        status, *others = descriptors
        os.write(status, b"%d\n" % os.getpid())
        _close(status)
        target(facts, *others)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001 - the last frame of this process: say why it ends
        traceback.print_exc(file=sys.__stderr__)
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def main(parent: str, number: str, target: str, *modules: str) -> None:
    """Import the modules that forks need, then serve requests for forks."""
    die_with(int(parent))
    name, _, function = target.partition(":")
    with socket.socket(fileno=int(number)) as requests:
        called: Callable[..., None] = getattr(importlib.import_module(name), function)
        for module in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        serve(requests, called)


if __name__ == "__main__":
    main(*sys.argv[1:])
