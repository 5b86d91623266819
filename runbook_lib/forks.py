"""Fork processes from a warm one, which has imported once what all of them need.

The server is this file, started by its path: an interpreter of its own with one thread, so that forking is safe
whatever the process that asks for forks does. A request is a line of JSON with descriptors, of which the first is the
fork's status: the fork writes its process id there, and the server its exit code when it has ended. The forks end with
the server, and the server with the thread that started it.
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
    """Have Linux send this process a signal when the thread that started it ends; leave if the parent has gone already.

    Other systems do nothing of the kind.
    """
    if LIBC:
        LIBC.prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        sys.exit(1)  # it died before we asked


class ForkServer:
    """A process that forks others, each of which calls ``target`` (``module:function``) with what the request brings.

    It imports ``modules`` first; one that cannot be imported is for whoever needs it to report. It takes requests at
    once and answers them when its imports are done.
    """

    def __init__(
        self, target: str, modules: Iterable[str] = (), *, environment: Mapping[str, str] | None = None, log: int | None
    ) -> None:
        """Start it; its own output goes to the descriptor ``log``, or with ours where that is None."""
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
        """Ask for a fork; ``target`` gets ``facts`` and all descriptors but the first, its status.

        Raise `OSError` if the server has ended.
        """
        request = json.dumps(facts or {}).encode() + b"\n"
        sent = socket.send_fds(self._requests, [request], list(descriptors))
        self._requests.sendall(request[sent:])

    def close(self) -> None:
        """End the server, and with it every fork."""
        self._requests.close()
        if LIBC:
            self._process.kill()
        self._process.wait()


# --- the server -----------------------------------------------------------------------------------------------------


def serve(requests: socket.socket, target: Callable[..., None]) -> None:
    """Fork for each request, and pass on the exit codes, until whoever asks has gone."""
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
    """Pass on the exit codes of the forks that ended."""
    for pid in list(forks):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with contextlib.suppress(BrokenPipeError):
                os.write(forks[pid], b"%d\n" % os.waitstatus_to_exitcode(status))
            _close(forks.pop(pid))


def _kill(forks: Iterable[int]) -> None:
    """End the forks that are left, where the operating system does not do it for us."""
    for pid in forks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become(target: Callable[..., None], server: int, facts: dict[str, Any], descriptors: Sequence[int]) -> None:
    """In a fork: call ``target``, and leave with the exit code that comes of it."""
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
    """Import what the forks need, then serve."""
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
