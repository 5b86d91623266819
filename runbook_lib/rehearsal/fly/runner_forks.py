"""Fork runners from a parent that has done their imports, and report how each ended.

The platform process talks to that parent over a socket pair: a request is the new process's environment with the file
descriptor that takes its output; answers are its process id and, later, its exit code. The parent is a process with
one thread, so forking is safe whatever the platform process does. Nothing here outlives the platform: the parent ends
when the socket closes and ends the runners; if it cannot, the operating system does.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any

from runbook_lib.rehearsal.world.processes import die_with_parent

CHUNK = 1 << 18  # bytes: more than an environment
RUNNER = "runbook_lib.rehearsal.runner.main:main"


class Forked:
    """A process that the parent forked, as the platform sees it."""

    def __init__(self, pid: int, exit_code: asyncio.Future[int]) -> None:
        self.pid = pid
        self._exit_code = exit_code

    def send_signal(self, number: int, /) -> None:
        # The number of a process that ended may be somebody else's by now.
        if not self._exit_code.done():
            os.kill(self.pid, number)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)


class ForkServer:
    """The platform's side of the parent: ``launch`` forks a process.

    The first ``launch`` starts the parent, so that a rehearsal without machines does not pay for its imports, or an
    earlier ``warm`` does; ``started`` gets its process id. ``target`` is the ``module:function`` that a fork runs.
    """

    def __init__(self, target: str = RUNNER, *, started: Callable[[int], None] = lambda _: None) -> None:
        self._target, self._started = target, started
        self._turn = asyncio.Lock()
        self._made: asyncio.Queue[Forked | None] = asyncio.Queue()
        self._exits: dict[int, asyncio.Future[int]] = {}
        self._parent: subprocess.Popen[bytes] | None = None
        self._reading: asyncio.Task[None] | None = None

    async def launch(self, environment: dict[str, str], output: int) -> Forked:
        """Fork a process with ``environment``, whose stdout and stderr go to the descriptor ``output``."""
        async with self._turn:
            self.warm()
            request = json.dumps(environment).encode() + b"\n"
            sent = socket.send_fds(self._socket, [request], [output])
            await asyncio.get_running_loop().sock_sendall(self._socket, request[sent:])
            made = await self._made.get()
        if made is None:
            raise OSError("the fork server has ended")
        return made

    def warm(self) -> None:
        """Start the parent, unless it runs, so that its imports are done when the first launch comes."""
        if self._reading is None or self._reading.done():
            self._start()

    def close(self) -> None:
        """End the parent and with it every runner."""
        if self._parent is None or self._reading is None:
            return
        self._reading.cancel()
        self._socket.close()
        try:
            self._parent.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._parent.kill()
            self._parent.wait()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), self._target]
        self._parent = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._made, self._exits = asyncio.Queue(), {}
        self._reading = asyncio.create_task(self._read(), name="fork server")
        self._started(self._parent.pid)

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        buffered = b""
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._socket, CHUNK):
                *lines, buffered = (buffered + data).split(b"\n")
                for line in lines:
                    self._heard(json.loads(line))
        self._made.put_nowait(None)
        for future in self._exits.values():
            if not future.done():
                future.set_result(-signal.SIGKILL)

    def _heard(self, message: dict[str, int]) -> None:
        pid = message["pid"]
        if "code" not in message:
            self._exits[pid] = asyncio.get_running_loop().create_future()
            self._made.put_nowait(Forked(pid, self._exits[pid]))
        else:
            future = self._exits.pop(pid)
            if not future.done():
                future.set_result(message["code"])


# -- the parent's end


def serve(channel: socket.socket, target: Callable[[], None]) -> None:
    """Fork a process per request until the platform ends."""
    gc.collect()
    gc.freeze()  # so that a runner's garbage collection does not copy what it shares
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    alive: set[int] = set()
    with selectors.DefaultSelector() as ready:
        ready.register(channel, selectors.EVENT_READ)
        ready.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is wake:
                    wake.recv(4096)
                    alive -= _reap(channel)
                elif (pid := _answer(channel, target, [wake, waker])) is not None:
                    alive.add(pid)
                else:
                    return _kill(alive)


def _answer(channel: socket.socket, target: Callable[[], None], ours: list[socket.socket]) -> int | None:
    """Take one request and fork; return the process id, None if the platform has ended."""
    data, descriptors, _, _ = socket.recv_fds(channel, CHUNK, 1)
    if not data:
        return None
    while not data.endswith(b"\n"):
        data += channel.recv(CHUNK)
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        for inherited in (channel, *ours):
            inherited.close()
        _become(target, json.loads(data), descriptors[0], parent)
    os.close(descriptors[0])
    channel.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    return pid


def _reap(channel: socket.socket) -> set[int]:
    """Report the runners that have ended; return their process ids."""
    ended: set[int] = set()
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.add(pid)
            code = os.waitstatus_to_exitcode(status)
            channel.sendall(json.dumps({"pid": pid, "code": code}).encode() + b"\n")
    return ended


def _kill(alive: set[int]) -> None:
    """End the runners that are left, on systems whose kernel does not do so."""
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _become(target: Callable[[], None], environment: dict[str, str], output: int, parent: int) -> None:
    """Turn the fork into the runner: its own environment, output, signals and process group."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(1)
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.environ.clear()
        os.environ.update(environment)
        target()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:  # noqa: BLE001  the last frame of this process: say why it ends
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """Import what runners need, then serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a Ctrl-C is the platform's; we end when its socket closes
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        name, _, function = sys.argv[2].partition(":")
        target: Any = getattr(importlib.import_module(name), function)
        serve(channel, target)


if __name__ == "__main__":
    main()
