"""Crashes at chosen points of a run: of the kernel, of Postgres, of a connection between sending and the answer.

The cells run in a process of their own, as in a kernel; everything it sends goes through wires of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runbook_lib.errors import RunbookError
from runbook_lib.records import ledger, record_folder, run_record
from runbook_lib.runs.drills import drill

PATIENCE = 120  # seconds a walk may take; the machine may be busy


@dataclass(frozen=True)
class Point:
    """Where a run is struck: ``what`` at the ``number``-th event of the kind ``at``, counted from 1.

    ``what``: the kernel is killed, "postgres" crashes, or the "wire" is cut. ``at``: a line of the ledger is
    "unwritten" (about to be) or "written" (on the disk); bytes are "sent" (about to reach a service) or "answered"
    (about to reach us).
    """

    what: str
    at: str
    number: int

    def __str__(self) -> str:
        return f"{self.what}-{self.at}-{self.number}"


class Wires:
    """Loopback proxies to every service of a rehearsal; ``struck(at)`` is asked before bytes go on: True cuts."""

    def __init__(self, addresses: dict[str, str], struck: Callable[[str], bool]) -> None:
        self._struck, self._closed = struck, False
        self._guard = threading.Lock()
        self._listening: list[socket.socket] = []
        self.addresses = {name: self._wired(url) if "://" in url else url for name, url in addresses.items()}

    def _wired(self, url: str) -> str:
        parts = urlsplit(url)
        ours = socket.create_server(("127.0.0.1", 0))
        self._listening.append(ours)
        threading.Thread(target=self._serve, args=(ours, (parts.hostname, parts.port)), daemon=True).start()
        return url.replace(f":{parts.port}", f":{ours.getsockname()[1]}")

    def _serve(self, ours: socket.socket, theirs: tuple[Any, ...]) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = ours.accept()
                threading.Thread(target=self._carry, args=(near, theirs), daemon=True).start()

    def _carry(self, near: socket.socket, theirs: tuple[Any, ...]) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(theirs) as far:
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for ready in select.select([near, far], [], [])[0]:
                    data = ready.recv(65536)
                    if not data or self._strike("sent" if ready is near else "answered"):
                        return
                    (far if ready is near else near).sendall(data)

    def _strike(self, at: str) -> bool:
        with self._guard:
            return self._closed or self._struck(at)

    def close(self) -> None:
        """Carry nothing any more, and strike nothing: whatever has begun is over when this returns."""
        with self._guard:
            self._closed = True
        for one in self._listening:
            one.shutdown(socket.SHUT_RDWR)
            one.close()


@dataclass
class Struck:
    """Counts events and strikes at a point; how many there were of each kind tells where else to strike."""

    point: Point | None
    postgres: Callable[[], None]
    kernel: Callable[[], None] = lambda: None
    counts: dict[str, int] = field(default_factory=lambda: {"sent": 0, "answered": 0})

    def __call__(self, at: str) -> bool:
        self.counts[at] += 1
        if self.point is None or (self.point.at, self.point.number) != (at, self.counts[at]):
            return False
        if self.point.what == "wire":
            return True
        if self.point.what == "kernel":
            self.kernel()
        else:
            self.postgres()
        return False


def walk(folder: Path, record: record_folder.Record, point: Point | None, crash: Callable[[], None]) -> dict[str, int]:
    """Run the cells of a record's notebook in a process of their own, struck at ``point``; counts of events.

    ``folder`` is the rehearsal's, ``crash`` crashes its Postgres. The record is left as the crash left it.
    """
    addresses = json.loads((folder / "addresses.json").read_text())
    struck = Struck(point, crash)
    wires = Wires(addresses, struck)
    behind = _behind(folder, record.root.parent / "wires", wires.addresses)
    environment = {**os.environ, "RUNBOOK_REHEARSAL": str(behind)}
    process = drill.PROCESSES.Process(target=_walk, args=(environment, record.folder, point))
    struck.kernel = process.kill
    process.start()
    process.join(PATIENCE)
    alive = process.is_alive()
    process.kill()
    process.join()
    wires.close()
    assert not alive, f"the walk did not end within {PATIENCE} s, struck at {point}"
    return {**struck.counts, "written": len(record.ledger.events()) - 1}


def _behind(folder: Path, place: Path, addresses: dict[str, str]) -> Path:
    """The folder of a rehearsal as it is seen from behind the wires: the same but for the addresses."""
    behind = place / folder.name
    shutil.rmtree(behind, ignore_errors=True)
    behind.mkdir(parents=True)
    for path in folder.iterdir():
        (behind / path.name).symlink_to(path)
    (behind / "addresses.json").unlink()
    (behind / "addresses.json").write_text(json.dumps(addresses))
    return behind


def _walk(environment: dict[str, str], folder: Path, point: Point | None) -> None:
    os.environ.clear()
    os.environ.update(environment, **{run_record.RECORD: str(folder), run_record.MODE: "headless"})
    if point and point.at.endswith("written"):
        _die_writing(point)
    cells = json.loads((folder / "notebook.ipynb").read_text())["cells"]
    names: dict[str, Any] = {}
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        for cell in cells:
            if cell["cell_type"] == "code":
                try:
                    exec("".join(cell["source"]), names)  # noqa: S102 - this is what a kernel does
                except RunbookError:
                    return  # the ledger has it


def _die_writing(point: Point) -> None:
    """Kill this process before or after its ledger's n-th line is written."""
    write, lines = ledger.Ledger._write, iter(range(1, 10_000))

    def dying(self: ledger.Ledger, file: int, line: bytes) -> None:
        number = next(lines)
        if (point.at, point.number) == ("unwritten", number):
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, file, line)
        if (point.at, point.number) == ("written", number):
            os.kill(os.getpid(), signal.SIGKILL)

    ledger.Ledger._write = dying  # type: ignore[method-assign]


def points(counts: dict[str, int]) -> Iterator[Point]:
    """Every point of a run that had so many events of each kind."""
    for number in range(1, counts["written"] + 1):
        yield from (Point("kernel", at, number) for at in ("unwritten", "written"))
    for at in ("sent", "answered"):
        for number in range(1, counts[at] + 1):
            yield from (Point(what, at, number) for what in ("kernel", "wire", "postgres"))
