"""The ledger of a run and its seal: append, read back, verify, list.

A ledger is a file of one JSON object per line. Each line ends in the SHA-256 of the previous line's hash and its own
bytes, so any change, insertion or removal breaks the chain from that line on. The last line is the seal: it holds the
hashes of the record's other files and the previous seal of the profile. The module
`verify` proves a sealed record.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ConfigError, RecordError, nearest
from runbook_lib.files import FILE, FOLDER, make_folder, write_new, write_whole
from runbook_lib.records.verify import HASH, LEDGER, below, digest, digest_of, files_of, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runbook_lib.settings.redaction import Redactor

HEAD = "head.json"

Event = dict[str, Any]


class Ledger:
    """The append-only file of a run. Several processes may append: each line is written under a file lock."""

    def __init__(self, path: Path, redact: Redactor | None = None) -> None:
        self.path = path
        self._redact = redact
        self._known = (-1, "", 0)  # size, hash and number of the last line when we last looked
        self._events: list[Event] = []
        self._read = 0  # bytes that self._events stands for

    def append(self, event: str, **facts: Any) -> Event:
        """Write one line and fsync it; raise `RecordError` if it cannot be kept, leaving what was there before."""
        if self._redact is not None:
            facts = self._redact.value(facts)
        with _opened(self.path) as file:
            last, number = self._tail(file)
            if number and not last:
                raise RecordError(f"{self.path}: sealed; nothing is added to a sealed record")
            body = {"n": number + 1, "at": _now(), "event": event, **facts}
            line, hashed = _line(body, last)
            self._write(file, line)
            self._known = (os.fstat(file).st_size, "" if event == "sealed" else hashed, number + 1)
        return {**body, "hash": hashed}

    def events(self) -> list[Event]:
        """Every whole line, oldest first. A torn last line, left by a crash, is not an event."""
        if self.path.exists():
            fresh, self._read = self.follow(self._read)
            self._events += fresh
        return list(self._events)

    def follow(self, start: int = 0) -> tuple[list[Event], int]:
        """Whole lines from byte ``start`` on, and the byte after them."""
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return [self._event(line) for line in whole.splitlines()], start + len(whole)

    def _event(self, line: bytes) -> Event:
        try:
            event: Event = json.loads(line)
        except ValueError:
            raise RecordError(f"{self.path}: damaged; ./runbook verify says where") from None
        return event

    def _tail(self, file: int) -> tuple[str, int]:
        """Hash and number of the last line; an empty hash with a number means sealed."""
        size = os.fstat(file).st_size
        if size == self._known[0]:
            return self._known[1], self._known[2]
        data = os.pread(file, size, 0)
        whole = data.rfind(b"\n") + 1
        if whole < size:  # a crash tore the last line: it was never acknowledged to anybody
            os.ftruncate(file, whole)
        if not whole:
            return "", 0
        last = self._event(data[:whole].splitlines()[-1])
        return ("" if last["event"] == "sealed" else last["hash"]), last["n"]

    def _write(self, file: int, line: bytes) -> None:
        size = os.fstat(file).st_size
        try:
            written = os.write(file, line)
            if written != len(line):
                raise OSError(28, f"{written} of {len(line)} bytes were written")
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, size)
            raise RecordError(f"{self.path}: cannot write: {error.strerror}; nothing is sent until it can") from error


@dataclass(frozen=True)
class Record:
    """The dated folder of one run."""

    folder: Path
    redact: Redactor | None = None

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.folder / LEDGER, self.redact)

    @property
    def notebook(self) -> Path:
        return self.folder / "notebook.ipynb"

    @property
    def root(self) -> Path:
        """The folder of all records: records/<profile>/<date>/<time>_<phase>."""
        return self.folder.parent.parent.parent

    @property
    def name(self) -> str:
        """Path below the folder of all records."""
        return str(self.folder.relative_to(self.root))

    @property
    def path(self) -> Path:
        """Where it lies, as short as it can be typed from here."""
        here = Path.cwd()
        return self.folder.relative_to(here) if self.folder.is_relative_to(here) else self.folder

    @property
    def profile(self) -> str:
        """The profile's name, which is the folder's."""
        return Path(self.name).parts[0]

    def opened(self) -> Event:
        """The first event: phase, profile, project, operator, parent. Raise `RecordError` if there is none."""
        try:
            with self.ledger.path.open("rb") as file:
                event: Event = json.loads(file.readline())
        except (OSError, ValueError):
            raise RecordError(f"{self.folder}: no ledger, or one that does not begin") from None
        return event

    @cached_property
    def parents(self) -> tuple[Record, ...]:
        """The records this one resumes, oldest first. Each is sealed, so that its events are read once."""
        parent = self.opened().get("parent")
        if parent is None:
            return ()
        record = Record(self.root / parent["record"])
        return (*record.parents, record)

    def sealed(self) -> Event | None:
        """The seal, or None while the run is open (or was cut off)."""
        events = self.ledger.events()
        return events[-1] if events and events[-1]["event"] == "sealed" else None


def create(
    root: Path, profile: str, phase: str, parameters: str, redact: Redactor | None = None, **facts: Any
) -> Record:
    """Make the dated folder of a new run and write its parameters and the ``opened`` line."""
    now = datetime.now(UTC)
    day = root / profile / now.strftime("%Y-%m-%d")
    folder = day / f"{now:%H%M%S}Z_{phase}"
    number = 1
    try:
        make_folder(day)
        while True:
            try:
                folder.mkdir(FOLDER)
                break
            except FileExistsError:
                number += 1
                folder = day / f"{now:%H%M%S}Z_{phase}-{number}"
        write_new(folder / "parameters.yaml", (redact.text(parameters) if redact else parameters).encode())
    except OSError as error:
        raise RecordError(f"{folder}: cannot make the record: {error.strerror}") from error
    record = Record(folder, redact)
    record.ledger.append("opened", phase=phase, profile=profile, record=str(folder.relative_to(root)), **facts)
    return record


def seal(record: Record, outcome: str, **facts: Any) -> Event:
    """Close the record: scan its files for secrets, then chain the seal to the profile's previous one.

    Raise `RecordError` naming file and offset if a secret is found; the record then stays unsealed.
    """
    _refuse_unsealable(record)
    profile = record.root / record.profile
    with _opened(profile / ".lock"):
        previous = head(profile)
        files = {below(record.folder, path): digest(path) for path in files_of(record.folder)}
        _replace(profile / HEAD, {"hash": previous, "pending": record.name})
        event = record.ledger.append("sealed", outcome=outcome, files=files, previous=previous, **facts)
        _replace(profile / HEAD, {"hash": event["hash"], "pending": None})
    return event


def head(profile: Path) -> str | None:
    """The newest seal of a profile's folder. A seal written just before a crash is found through ``pending``."""
    path = profile / HEAD
    if not path.exists():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    if known["pending"]:
        newest = Record(profile.parent / known["pending"]).sealed()
        if newest is not None and newest["previous"] == known["hash"]:
            return str(newest["hash"])
    return str(known["hash"]) if known["hash"] else None


def every(root: Path) -> Iterator[Record]:
    """Every record below ``root``, oldest first."""
    for folder in sorted(root.glob("*/*/*/")):
        yield Record(folder)


def find(root: Path, name: str) -> Record:
    """The record at path ``name``, or the newest whose folder name contains it."""
    for folder in (Path(name), root / name):
        if (folder / LEDGER).exists():
            return Record(folder.resolve())
    matching = [record for record in every(root) if name in record.name]
    if not matching:
        raise ConfigError(f"no record {name!r} below {root}: {nearest(name, [r.name for r in every(root)][-8:])}")
    return matching[-1]


def _refuse_unsealable(record: Record) -> None:
    for path in [*files_of(record.folder), record.folder / LEDGER]:
        if not plain(path):
            raise RecordError(f"{path}: not a plain file; not sealed")
        if record.redact is None:
            continue
        for name, form, offset in record.redact.hits(path.read_text(encoding="utf-8", errors="replace")):
            raise RecordError(f"{path}: holds the secret {name} ({form}) at character {offset}; not sealed")


def _line(body: Event, previous: str) -> tuple[bytes, str]:
    # A reply may hold half a surrogate pair, which UTF-8 cannot write: it is kept as the mark of what is lost.
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False)[:-1]
    text = text.encode(errors="replace").decode()
    hashed = digest_of(previous, text)
    return f'{text}{HASH}{hashed}"}}\n'.encode(), hashed


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file opened for appending, locked against other processes until left."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE)
    except OSError as error:
        raise RecordError(f"{path}: cannot write: {error.strerror}; nothing is sent until it can") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content).encode())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
