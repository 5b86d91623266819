"""What the core's tests share: one rehearsal, settings of both kinds, phases made in code, a vendor that misbehaves."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psycopg
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.records import run_record, signing
from runbook_lib.rehearsal.lifecycle import Running, rehearse
from runbook_lib.services.services import Services
from runbook_lib.services.table_copies import Copies
from runbook_lib.services.write_lock import release_all
from runbook_lib.settings import profiles
from runbook_lib.settings.profiles import Settings
from runbook_lib.steps.phase import Phase
from tests import keys

PATIENCE = 120  # seconds until a condition that does not come fails its test; the machine may be busy
OPENED: list[Services] = []  # to be closed with the test
OPENING = 'from runbook_lib import *\nphase = open_phase("{name}", profile=profile)'


# Nothing on this machine is encrypted: nobody is trusted, and no client reads the authorities, which takes 40 ms.
NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def eventually(look: Callable[[], Any], what: str) -> Any:
    """The first true value of ``look()``."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE} s"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """A rehearsal before phase 0, for all tests of the core: they use tables of their own."""
    with rehearse() as up:
        yield up


@pytest.fixture
def environment(running: Running) -> dict[str, str]:
    """The rehearsal's environment, set; the suite's own fixture takes it away again."""
    os.environ.update(running.environment)
    os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return running.environment


@pytest.fixture
def chosen(environment: dict[str, str]) -> Iterator[Settings]:
    """The rehearsal profile, addressed to the running stand-ins."""
    yield profiles.load("rehearsal")
    while OPENED:
        OPENED.pop().close()
    release_all()


@pytest.fixture(scope="module")
def paper() -> Iterator[Running]:
    """A rehearsal of a module's own in which a paper deployment ticks each second."""
    with rehearse(state="paper_running") as up:
        yield up


@pytest.fixture
def on_paper(paper: Running) -> Iterator[Settings]:
    """The rehearsal profile, addressed to that one."""
    os.environ.update(paper.environment)
    yield profiles.load("rehearsal")
    release_all()


@pytest.fixture
def production(chosen: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of the production kind, on loopback, whose records ada signs: only code can make them."""
    key = keys.key(tmp_path_factory.mktemp("keys"), "ada")
    os.environ.update({"RUNBOOK_OPERATOR": "ada", signing.KEY: str(key)})
    own = {"kind": "production", "name": "production", "allow": [], "person": None}
    return chosen.model_copy(update={**own, "allowed_signers": [keys.line(key)]})


@pytest.fixture
def table(running: Running) -> Iterator[str]:
    """The name of an empty table with the columns id (uuid) and word (text)."""
    name = f"try_{uuid.uuid4().hex[:12]}"
    with connect(running) as connection:
        connection.execute(f"create table public.{name} (id uuid primary key, word text)")
        yield name
        connection.execute(f"drop table public.{name}")


@pytest.fixture
def copies(chosen: Settings) -> Iterator[Copies]:
    """Copies of the rehearsal's tables, for one test."""
    services = Services(chosen)
    made = Copies(services.database)
    yield made
    made.close()
    services.close()


def connect(running: Running) -> psycopg.Connection[tuple[Any, ...]]:
    password = running.environment["SUPABASE_DB_PASSWORD"]
    return psycopg.connect(running.addresses["database"], password=password, autocommit=True)


@contextlib.contextmanager
def fault_of(running: Running, name: str) -> Iterator[None]:
    """A named fault is in force on a rehearsal while the block runs."""
    headers = {"authorization": f"Bearer {running.environment['REHEARSAL_TOKEN']}"}
    address = f"{running.addresses['person']}/faults/{name}"
    httpx.post(address, headers=headers, verify=NOBODY, timeout=PATIENCE).raise_for_status()
    try:
        yield
    finally:
        httpx.delete(address, headers=headers, verify=NOBODY, timeout=PATIENCE).raise_for_status()


@pytest.fixture
def count(running: Running, table: str) -> Callable[[], int]:
    """Rows in the table now, seen from outside."""

    def counted() -> int:
        with connect(running) as connection:
            found = connection.execute(f"select count(*) from public.{table}").fetchone()
        assert found
        return int(found[0])

    return counted


class Vendor(ThreadingHTTPServer):
    """An HTTP service whose paths are its behaviours; it remembers the requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Behaviour)
        self.requests: list[tuple[str, str, str, dict[str, str]]] = []  # method, path, body, headers
        self.things: set[str] = set()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is what some tests want."""

    def sent(self, method: str) -> int:
        return sum(request[0] == method for request in self.requests)


class Behaviour(BaseHTTPRequestHandler):
    server: Vendor

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.server.requests.append((self.command, self.path, body, dict(self.headers)))
        name, _, rest = self.path[1:].partition("/")
        getattr(self, f"be_{name}")(rest)

    do_GET = do_POST = do_DELETE = do_any

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def answer(self, body: bytes, status: int = 200, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def be_things(self, name: str) -> None:
        """POST makes a thing, GET lists it or answers 404, DELETE removes it."""
        if self.command == "POST":
            self.server.things.add(name)
        elif name not in self.server.things:
            self.answer(b'{"error": "no such thing"}', 404)
            return
        elif self.command == "DELETE":
            self.server.things.discard(name)
        self.answer(json.dumps({"name": name}).encode())

    def be_lost(self, name: str) -> None:
        """Make the thing, then close the connection without an answer."""
        self.server.things.add(name)
        self.close_connection = True

    def be_never(self, _: str) -> None:
        self.server.ended.wait(PATIENCE)

    def be_connection(self, _: str) -> None:
        """The client's port, which is another one for each connection; this one is kept open."""
        self.protocol_version, self.close_connection = "HTTP/1.1", False
        self.answer(json.dumps({"port": self.client_address[1]}).encode())

    def be_status(self, number: str) -> None:
        self.answer(b'{"error": "as asked", "token": "tok_1234567890"}', int(number.strip("/")))

    def be_elsewhere(self, _: str) -> None:
        self.send_response(308)
        self.send_header("Location", "https://www.trading.example/?key=tok_1234567890")
        self.end_headers()

    def be_protected(self, _: str) -> None:
        self.answer(b"<html>Log in to Vercel</html>", 401, "text/html")

    def be_text(self, rest: str) -> None:
        self.answer(rest.encode(), kind="text/plain")

    def be_stream(self, lines: str) -> None:
        """So many lines, one of them no JSON and the last one cut off; then nothing, without an end."""
        self.send_response(200)
        self.send_header("Content-Type", "application/stream+json; charset=utf-8")
        self.end_headers()
        for number in range(int(lines)):
            self.wfile.write(json.dumps({"message": f"line {number}"}).encode() + b"\n")
        self.wfile.write(b'no JSON\n{"message": "cut')
        self.server.ended.wait(PATIENCE)

    def be_chatter(self, _: str) -> None:
        """A stream that is never quiet."""
        self.send_response(200)
        self.send_header("Content-Type", "application/stream+json")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.ended.wait(0.02):
                self.wfile.write(b'{"message": "on and on"}\n')

    def be_drip(self, where: str) -> None:
        """One byte every twentieth of a second, of the head or of the body, without an end."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"X-Slow: " if where == "head" else b"Content-Length: 9999\r\n\r\n"))
        with contextlib.suppress(OSError):
            while not self.server.ended.wait(0.05):
                self.wfile.write(b"x")

    def be_packed(self, size: str) -> None:
        """So many bytes, packed; cut off where the size says so."""
        body = gzip.compress(b'["' + b"x" * (int(size.removesuffix("cut")) - 4) + b'"]')
        body = body[:-9] if size.endswith("cut") else body
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def be_aged(self, seconds: str) -> None:
        """An answer that a cache made so many seconds ago."""
        self.send_response(200)
        self.send_header("Age", seconds)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def be_once(self, number: str) -> None:
        """Refuse the first request with a status, and take the next."""
        refused = [path for _, path, _, _ in self.server.requests].count(self.path) == 1
        self.answer(b'{"n": 1}', int(number) if refused else 200)

    def be_json(self, _: str) -> None:
        self.answer(b'{"ratio": NaN, "half": "\\ud800", "decrypted_secret": "do not let me in", "n": 1}')


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    with Vendor() as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        yield server
        server.ended.set()
        server.shutdown()
        serving.join()


def at(chosen: Settings, vendor: Vendor, **budgets: float) -> Settings:
    """``chosen`` with OpenRouter at the vendor's address."""
    changes: dict[str, Any] = {"openrouter": chosen.openrouter.model_copy(update={"url": vendor.url})}
    return chosen.model_copy(update={**changes, "budgets": chosen.budgets.model_copy(update=budgets)})


class Shown(list[Any]):
    """What a phase displayed, oldest first."""

    @property
    def text(self) -> str:
        return "\n".join(map(repr, self))


def phase_of(chosen: Settings, root: Path, *steps: str, **facts: Any) -> Phase:
    """A phase in a new record below ``root`` whose notebook declares ``steps``: "check 1a", "act 1b", "confirm 1c"."""
    calls = [(verb, number) for verb, number in map(str.split, steps)]
    source = root / ".sources" / "phase_try.ipynb"
    write_notebook(source, *(f'phase.{verb}("{number}", "step {number}")' for verb, number in calls))
    record = run_record.begin(chosen, "phase_try", root=root, source=source, **facts)
    record.notebook.write_bytes(source.read_bytes())
    return reopened(chosen, record.folder, mode=facts.get("mode", "headless"))


def reopened(chosen: Settings, folder: Path, *, mode: str = "headless") -> Phase:
    """The phase of a record, as a kernel that was restarted finds it."""
    from runbook_lib.records.record_folder import Record

    shown = Shown()
    phase = Phase("phase_try", chosen, Record(folder, chosen.redactor()), mode=mode, display=shown.append)
    OPENED.append(phase.services)
    phase.shown = shown  # type: ignore[attr-defined]
    return phase


def write_notebook(path: Path, *sources: str, opening: bool = False) -> Path:
    """A notebook with a parameters cell and ``sources``; ``opening`` puts the usual first cell before them."""
    first = new_code_cell('profile = "rehearsal"\nnumber = 1', metadata={"tags": ["parameters"]})
    cells = [OPENING.format(name=path.stem), *sources] if opening else list(sources)
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    made = new_notebook(cells=[first, *map(new_code_cell, cells)], metadata={"kernelspec": kernel})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)
    return path


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes to end with the test, whatever became of it."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        if process.stdout is None or not process.stdout.closed:
            process.communicate()
