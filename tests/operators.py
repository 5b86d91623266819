"""Two operators as two processes on one writing lock, and what takes it from the one who changes things.

Every row that an operator inserts says in which transaction, and under which number of the lock. Whoever takes the lock
later has a larger number than any transaction before: a row of the first that was made after that shows by its numbers,
and by no clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from runbook_lib.rehearsal.lifecycle import Running

# Told "take" it tries once, told "work" it changes things until it may not, told "release" it gives the lock back.
PROGRAM = """
import json, sys, time
from runbook_lib.commands.command import http, sql
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from runbook_lib.settings import profiles

name, database, vendor = sys.argv[1:4]
profile = profiles.load("rehearsal")
changes = {"database": profile.database.model_copy(update={"url": database}),
           "openrouter": profile.openrouter.model_copy(update={"url": vendor})}
services = Services(profile.model_copy(update=changes))
writer = Writer(services, name)
prove, proofs = services.database.prove_writing, []

def timed():
    began = time.monotonic()
    prove()
    proofs.append([began, time.monotonic()])

services.database.prove_writing = timed

def take():
    try:
        writer.take()
    except (StepRefused, ServiceError) as error:
        return {"refused": str(error)}
    proofs.clear()
    session = services.database.writing
    return {"pid": session.pid, "fence": session.fence}

def work(turn):
    made = sql("insert into public.acts (who, fence, turn) values (%(who)s, %(fence)s, %(turn)s)",
               who=name, fence=services.database.writing.fence, turn=turn)
    number = 0
    try:
        while True:
            if reply := services.change(made).error:
                return {"ended": reply, "proofs": proofs}
            services.change(http("openrouter", f"POST /acts/{name}/{turn}/{number}"))
            number += 1
    except (ServiceError, StepRefused) as error:
        return {"ended": str(error), "proofs": proofs}

for line in sys.stdin:
    word, *values = line.split()
    told = {"take": take, "work": work, "release": lambda: writer.release() or {}}[word](*map(int, values))
    print(json.dumps(told), flush=True)
"""
ACTS = """
    create table public.acts (
      who text, fence bigint, turn integer, xact bigint default pg_current_xact_id()::text::bigint)
"""
LATE = """
    select count(*) from public.acts first join public.takings second on second.fence > first.fence
    where first.xact > second.fence
"""
LONGEST = 0.05  # seconds at most until the lock is taken away
PATIENCE = 60.0  # seconds until the second has the lock


class Operator:
    """One operator's process."""

    def __init__(self, name: str, database: str, vendor: str) -> None:
        command = [sys.executable, "-c", PROGRAM, name, database, vendor]
        self.name = name
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, *words: Any) -> None:
        assert self._process.stdin
        print(*words, file=self._process.stdin, flush=True)

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout
        heard: dict[str, Any] = json.loads(self._process.stdout.readline())
        return heard

    def ask(self, *words: Any) -> dict[str, Any]:
        self.tell(*words)
        return self.hear()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


class Vendor(ThreadingHTTPServer):
    """Takes every request and keeps when its first byte came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Arrivals)
        self.arrived: dict[str, float] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that hung up."""


class _Arrivals(BaseHTTPRequestHandler):
    server: Vendor
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        self.connection.recv(1, socket.MSG_PEEK)
        self.first_byte = time.monotonic()
        super().handle_one_request()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.arrived[self.path] = self.first_byte
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Figures:
    """What so many tries came to."""

    tries: int = 0
    late: int = 0  # changes by SQL made after somebody else took the lock
    unproven: int = 0  # requests whose proof began after the lock was lost
    acts: int = 0  # changes by SQL
    gaps: list[float] = field(default_factory=list)  # seconds from each request's proof to its first byte
    after: list[float] = field(default_factory=list)  # seconds from the loss to the first byte of a request after it
    both: int = 0  # tries in which a second one took the lock while the first held it


class Trial:
    """Two operators, the database they work on, and a vendor they command."""

    def __init__(self, running: Running, address: str | None = None) -> None:
        self._running = running
        self._address = address or running.addresses["database"]
        self.figures = Figures()

    def __enter__(self) -> Trial:
        self._vendor = Vendor()
        threading.Thread(target=self._vendor.serve_forever, args=(0.01,), daemon=True).start()
        password = self._running.environment["SUPABASE_DB_PASSWORD"]
        self._database = psycopg.connect(self._running.addresses["database"], password=password, autocommit=True)
        self._database.execute("drop table if exists public.acts, public.takings")
        self._database.execute(ACTS)
        self._database.execute("create table public.takings (fence bigint)")
        self._operators = [Operator(name, self._address, self._vendor.url) for name in ("ada", "bob")]
        return self

    def __exit__(self, *_: object) -> None:
        for operator in self._operators:
            operator.end()
        self._database.execute("drop table public.acts, public.takings")
        self._database.close()
        self._vendor.shutdown()
        self._vendor.server_close()

    def lose(self, how: Callable[[psycopg.Connection[Any], int], None], tries: int) -> Figures:
        """So many times: one works, loses the lock at a random moment, and the other takes it."""
        for turn in range(tries):
            first, second = self._operators
            held = first.ask("take")
            self._taken(held)
            first.tell("work", turn)
            self.figures.both += "pid" in second.ask("take") if turn % 10 == 0 else 0
            time.sleep(random.uniform(0, LONGEST))
            how(self._database, held["pid"])
            self._gone(held["pid"])
            lost = time.monotonic()
            self._taken(_taken_by(second))
            self._requests(first, turn, first.hear()["proofs"], lost)
            second.ask("release")
            self._operators.reverse()
        self.figures.tries += tries
        self.figures.acts = self._number("select count(*) from public.acts")
        self.figures.late = self._number(LATE)
        return self.figures

    def refused(self, tries: int) -> list[str]:
        """What both operators hear when each tries to take the lock, at the same time."""
        words: list[str] = []
        for _ in range(tries):
            for operator in self._operators:
                operator.tell("take")
            words += [str(operator.hear().get("refused", "taken")) for operator in self._operators]
            for operator in self._operators:
                operator.ask("release")
        return words

    def _taken(self, held: dict[str, Any]) -> None:
        self._database.execute("insert into public.takings values (%s)", [held["fence"]])

    def _gone(self, pid: int) -> None:
        until = time.monotonic() + PATIENCE
        while self._number("select count(*) from pg_stat_activity where pid = %s", pid):
            assert time.monotonic() < until, f"session {pid} does not end"

    def _requests(self, operator: Operator, turn: int, proofs: list[list[float]], lost: float) -> None:
        """Compare the proof of each request with the arrival of its first byte, and with the loss."""
        arrived = {
            path: at for path, at in self._vendor.arrived.items() if path.startswith(f"/acts/{operator.name}/{turn}/")
        }
        for number, (began, ended) in enumerate(proofs):
            first_byte = arrived.get(f"/acts/{operator.name}/{turn}/{number}")
            if first_byte is None:
                continue
            self.figures.gaps.append(first_byte - ended)
            self.figures.unproven += began > lost
            self.figures.after += [first_byte - lost] if first_byte > lost else []

    def _number(self, statement: Any, *values: Any) -> int:
        row = self._database.execute(statement, values).fetchone()
        assert row
        return int(row[0])


def _taken_by(operator: Operator) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE
    while "pid" not in (held := operator.ask("take")):
        assert time.monotonic() < until, held
    return held


# --- how a lock is lost -----------------------------------------------------------------------------------------------


def killed(database: psycopg.Connection[Any], pid: int) -> None:
    """The server ends the session."""
    database.execute("select pg_terminate_backend(%s)", (pid,))


def frozen(database: psycopg.Connection[Any], pid: int) -> None:
    """The server's process stands still for a while, in the middle of whatever it did, and is ended when it goes on."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(random.uniform(0, LONGEST))
    killed(database, pid)
    os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def pooler(running: Running, mode: str) -> Iterator[str]:
    """The address of a pgbouncer before the rehearsal's database, which pools by ``mode``: session or transaction."""
    address = urlsplit(running.addresses["database"])
    password = running.environment["SUPABASE_DB_PASSWORD"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        (folder / "users.txt").write_text(f'"{address.username}" "{password}"\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host={address.hostname} port={address.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {folder}/users.txt\n"
            f"pool_mode = {mode}\ndefault_pool_size = 20\nlog_connections = 0\nlog_disconnections = 0\n"
        )
        command = [str(program()), *(["-u", "nobody"] if os.geteuid() == 0 else []), str(folder / "pgbouncer.ini")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _listening(port)
            yield urlunsplit(address._replace(netloc=f"{address.username}@127.0.0.1:{port}"))
        finally:
            process.terminate()
            process.wait()


def program() -> str | None:
    """Where pgbouncer is installed; None if it is not."""
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")


def _listening(port: int) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError("pgbouncer does not listen")
