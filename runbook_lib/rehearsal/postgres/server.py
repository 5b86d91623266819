"""Run one Postgres server under an account that Postgres accepts. The server ends when this process ends."""

from __future__ import annotations

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from runbook_lib.errors import ServiceError
from runbook_lib.forks import die_with

UNPRIVILEGED = ("nobody", "daemon")  # whom Postgres runs as when we are root, which it refuses to be
PATIENCE = 20.0  # seconds a server may take to answer or to end; 0.1 is usual
POLL = 0.01  # seconds between two looks
ATTEMPTS = 5  # free ports tried: somebody may take one between our look and the server's
ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}  # and none of the operator's PG variables
SETTINGS = {
    # Nothing here outlives the rehearsal, so nothing needs to reach the disk.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "dynamic_shared_memory_type": "mmap",  # in the data folder, so that a kill -9 leaves nothing in /dev/shm
    "io_method": "sync",  # no worker processes beside the server
    "shared_buffers": "64MB",
    "max_connections": "150",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "log_timezone": "UTC",
    "jit": "off",
}


@dataclass(frozen=True)
class Account:
    """The system account that the Postgres server runs as.

    If ``user`` is None, the server runs as this process's account.
    """

    user: int | None = None
    group: int | None = None

    def own(self, folder: Path) -> None:
        """Make the Postgres server's account the owner of a folder and everything in it."""
        if self.user is not None and self.group is not None:
            for parent, _, files in os.walk(folder):
                os.chown(parent, self.user, self.group)
                for name in files:
                    os.chown(Path(parent, name), self.user, self.group, follow_symlinks=False)

    def can_enter(self, folder: Path) -> bool:
        """Return whether the Postgres server's account may enter a folder and all folders above it."""
        return self.user is None or all(
            above.stat().st_mode & stat.S_IXOTH for above in (folder, *folder.absolute().parents)
        )

    def launch(self) -> dict[str, Any]:
        """Return the ``subprocess`` options that run a Postgres process under this account.

        The child ends when the thread that started the child ends.
        """
        who: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}
        # Python changes the user first, which is right: a change of user clears the parent-death signal.
        return who | {"preexec_fn": partial(die_with, os.getpid(), signal.SIGQUIT)}


def account() -> Account:
    """Return the system account for the Postgres server, usually the account of this process.

    If this process is root's, which Postgres refuses, return an existing unprivileged account.
    """
    if os.geteuid() != 0:
        return Account()
    for name in UNPRIVILEGED:
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise ServiceError(f"postgres refuses to run as root, and there is no user {' or '.join(UNPRIVILEGED)} to run it")


class Server:
    """A running Postgres server on 127.0.0.1. It runs until ``stop`` is called or this process ends."""

    def __init__(self, program: Path, data: Path, log: Path, *, settings: dict[str, str]) -> None:
        """Start the Postgres server and wait until it accepts connections.

        Raise ``ServiceError`` with the end of the server's log if it does not.
        """
        self._program, self._data, self._log = program, data, log
        self._settings = SETTINGS | settings
        for attempt in range(ATTEMPTS):
            self.port = _free_port()
            self._start()
            if self._ready():
                return
            if attempt == ATTEMPTS - 1 or "Address already in use" not in self._last_words():
                self.stop()
                raise ServiceError(f"postgres did not start on port {self.port}: {self._last_words()}")

    @property
    def pid(self) -> int:
        """Return the process id of the Postgres server's main process."""
        return self._process.pid

    def stop(self, *, clean: bool = False) -> None:
        """End the Postgres server, and wait for its end.

        With ``clean``, the server first writes all data to disk, so that another server can read the data.
        """
        for number in (signal.SIGINT if clean else signal.SIGQUIT, signal.SIGKILL):
            if self._keeper.is_alive():
                self._process.send_signal(number)
                self._keeper.join(PATIENCE)

    def _start(self) -> None:
        # The kernel ties a child to the *thread* that started it. Callers come from any thread, so a thread of
        # the server's own starts it and stays until it has ended.
        started = threading.Event()
        self._keeper = threading.Thread(target=self._keep, args=(started,), name="postgres", daemon=True)
        self._keeper.start()
        started.wait()

    def _keep(self, started: threading.Event) -> None:
        with ExitStack() as stack:
            stack.callback(started.set)
            log = stack.enter_context(self._log.open("ab"))
            data, inherited = _reachable(self._data, stack)
            settings = self._settings | {"port": str(self.port), "extension_control_path": f"$system:{data}/share"}
            options = [f"--{name}={value}" for name, value in settings.items()]
            self._process = subprocess.Popen(
                [self._program, "-D", data, *options], pass_fds=inherited, cwd="/", env=ENVIRONMENT,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **account().launch(),
            )  # fmt: skip
        self._process.wait()

    def _ready(self) -> bool:
        """Wait until the Postgres server has written that it is ready.

        Return False if the server ends or the time is over before that.
        """
        # Not for an answer on its port: whoever answers there may be somebody else's server.
        ready = re.compile(rf"{self.pid}\n(.*\n){{6}}ready\s")
        deadline = time.monotonic() + PATIENCE
        while self._keeper.is_alive() and time.monotonic() < deadline:
            with suppress(FileNotFoundError):
                if ready.match((self._data / "postmaster.pid").read_text()):
                    return True
            time.sleep(POLL)
        return False

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:].strip()


def _reachable(folder: Path, stack: ExitStack) -> tuple[str, tuple[int, ...]]:
    """Return a path by which the Postgres server's account can open ``folder``.

    Also return the file descriptors that the path needs. The folders above belong to this user and are closed to all
    others. If the server has another account, the path leads through a descriptor that this process opens (on Linux);
    the data folder itself belongs to that account.
    """
    if account().can_enter(folder.parent) or sys.platform != "linux":
        return str(folder), ()
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    stack.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}", (descriptor,)


def _free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
