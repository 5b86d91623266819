"""Write, read, list and seal the ledgers of runs.

A ledger is a file of one JSON object per line. Each line ends in the SHA-256 of the previous line's hash and its own
bytes, so any change, insertion or removal breaks the chain from that line on. The last line is the seal: it holds the
hashes of the record's other files and the previous seal of the profile. The module `verify` proves a sealed record.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ConfigError, RecordError, nearest
from runbook_lib.files import FILE, FOLDER, make_folder, write_new, write_whole
from runbook_lib.records.verify import LEDGER, below, digest, edits, files_of, misworded, plain, read, written

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from runbook_lib.settings.redaction import Redactor

HEAD = "head.json"
NOTEWORTHY = 0.1  # seconds that a clock may be behind another process's before a line says so

Event = dict[str, Any]


class Ledger:
    """The append-only file of a run; several processes may append, because each line is written under a file lock."""

    def __init__(self, path: Path, redact: Redactor | None = None) -> None:
        self.path = path
        self._redact = redact
        self._clock = _Clock()
        self._known = (-1, _Tail())  # size when we last looked, and the last line
        self._events: list[Event] = []
        self._read = 0  # bytes that self._events stands for

    def append(self, event: str, **facts: Any) -> Event:
        """Write one line and flush it to the disk; return its event.

        Raise `RecordError` if the line would not verify, or if it cannot be written; the file then stays as it was.
        """
        if self._redact is not None:
            facts = self._redact.value(facts)
        with _opened(self.path) as file:
            last = self._tail(file)
            if last.sealed:
                raise RecordError(f"{self.path}: sealed; nothing is added to a sealed record")
            behind = self._clock.behind(last.at)
            if behind > NOTEWORTHY:
                last, _ = self._write(file, last, {"event": "clock", "behind": round(behind, 6)})
            _, body = self._write(file, last, {"event": event, **facts})
        return body

    def now(self) -> str:
        """Return the time that a line would have if it were written now."""
        with _opened(self.path) as file:
            return max(self._clock.now(), self._tail(file).at)

    def mend(self) -> None:
        """Cut off the ledger's last line if a crash left it incomplete; no `append` has returned for such a line."""
        with _opened(self.path) as file:
            self._tail(file)

    def events(self) -> list[Event]:
        """Return the event of every complete line, oldest first; a last line that a crash cut short is left out."""
        if self.path.exists():
            fresh, self._read = self.follow(self._read)
            self._events += fresh
        return list(self._events)

    def follow(self, start: int = 0) -> tuple[list[Event], int]:
        """Return the events of the complete lines from byte ``start`` on, and the offset after these lines."""
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        return [self._event(line) for line in whole.splitlines()], start + len(whole)

    def _event(self, line: bytes) -> Event:
        try:
            event: Event = json.loads(line)
            if misworded(event):
                raise ValueError(line)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise RecordError(f"{self.path}: damaged; ./runbook verify says where") from None
        return event

    def _tail(self, file: int) -> _Tail:
        """Return the `_Tail` of the last complete line; cut off an incomplete line after it."""
        size = os.fstat(file).st_size
        if size == self._known[0]:
            return self._known[1]
        data = os.pread(file, size, 0)
        whole = data.rfind(b"\n") + 1
        if whole < size:  # a crash tore the last line: it was never acknowledged to anybody
            os.ftruncate(file, whole)
        return _Tail.of(self._event(data[:whole].splitlines()[-1])) if whole else _Tail()

    def _write(self, file: int, last: _Tail, facts: Event) -> tuple[_Tail, Event]:
        """Write a line after the line ``last``; return the new line's `_Tail` and its event."""
        body = {"n": last.number + 1, "at": self._clock.now(), **facts}
        if complaint := misworded(body):
            raise RecordError(f"{self.path}: not written, it would not verify: {complaint}")
        line, hashed = written(body, last.hash)
        size = os.fstat(file).st_size
        try:
            count = os.write(file, line)
            if count != len(line):
                raise OSError(28, f"{count} of {len(line)} bytes were written")
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, size)
            raise RecordError(f"{self.path}: cannot write: {error.strerror}; nothing is sent until it can") from error
        event = {**body, "hash": hashed}
        self._known = (os.fstat(file).st_size, _Tail.of(event))
        return self._known[1], event


@dataclass(frozen=True)
class _Tail:
    """The facts of a ledger's last line on which the next line depends: hash, number, time, whether it is the seal."""

    hash: str = ""
    number: int = 0
    at: str = ""
    sealed: bool = False

    @classmethod
    def of(cls, event: Event) -> _Tail:
        return cls(event["hash"], event["n"], event["at"], event["event"] == "sealed")


class _Clock:
    """A clock that reads the system's time once and then counts seconds.

    Setting the system's time back thus never makes a later line look earlier.
    """

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self._since = _seconds()

    def now(self) -> str:
        moment = self._start + timedelta(seconds=_seconds() - self._since)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def behind(self, last: str) -> float:
        """Return how many seconds this clock is behind the ledger's last line, and set it to that line's time."""
        if last <= (now := self.now()):
            return 0.0
        behind = (datetime.fromisoformat(last) - datetime.fromisoformat(now)).total_seconds()
        self._start += timedelta(seconds=behind)
        return behind


def _seconds() -> float:
    """Return a monotonic clock's seconds; if possible, of a clock that also counts while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


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
        """Return the folder of all records; a record's folder in it is ``<profile>/<date>/<time>_<phase>``."""
        return self.folder.parent.parent.parent

    @property
    def name(self) -> str:
        """Return the path of the record's folder inside the folder of all records."""
        return str(self.folder.relative_to(self.root))

    @property
    def path(self) -> Path:
        """Return the path of the record's folder, relative to the current folder if the record lies in it."""
        current = Path.cwd()
        return self.folder.relative_to(current) if self.folder.is_relative_to(current) else self.folder

    @property
    def profile(self) -> str:
        """Return the name of the profile that made the record, which is the first part of the record's path."""
        return Path(self.name).parts[0]

    def opened(self) -> Event:
        """Return the ledger's first event, which says what was begun, by whom and for which profile.

        Raise `RecordError` if there is no ledger or its first line is not such an event.
        """
        try:
            with self.ledger.path.open("rb") as file:
                event: Event = json.loads(file.readline())
            good = event["event"] == "opened" and misworded(event) is None
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            good = False
        if not good:
            raise RecordError(f"{self.folder}: no ledger, or one that does not begin")
        return event

    @cached_property
    def parents(self) -> tuple[Record, ...]:
        """Return the records that this one resumes, oldest first; they are sealed, so each is read only once."""
        parent = self.opened().get("parent")
        if parent is None:
            return ()
        record = Record(self.root / parent["record"])
        return (*record.parents, record)

    def sealed(self) -> Event | None:
        """Return the event of the seal; None while the run goes on, or if it was cut off."""
        events = self.ledger.events()
        return events[-1] if events and events[-1]["event"] == "sealed" else None


def create(
    root: Path,
    profile: str,
    phase: str,
    parameters: str,
    redact: Redactor | None = None,
    *,
    kind: str = "rehearsal",
    mode: str = "headless",
    operator: str = "",
    id: str | None = None,
    parent: Event | None = None,
    **facts: Any,
) -> Record:
    """Make the dated folder of a new run, and write the run's parameters and the ledger's ``opened`` line."""
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
    run = {"phase": phase, "profile": profile, "record": record.name, "kind": kind, "operator": operator, "mode": mode}
    record.ledger.append(
        "opened", **run, id=id or str(uuid.uuid4()), parent=parent, after=head(root / profile), **facts
    )
    return record


def seal(record: Record, outcome: str | None = None, **facts: Any) -> Event:
    """Seal a record: scan its files for secrets, then write the seal and chain it to the profile's previous seal.

    The ledger's lines tell the outcome; pass ``outcome`` only for a record whose lines do not (a halt, a watch). Raise
    `RecordError` naming the file and the place if a secret is found; the record then stays unsealed.
    """
    _refuse_unsealable(record)
    record.ledger.mend()
    lines, problem = read(record.ledger.path)
    if problem:
        raise RecordError(f"{record.ledger.path}: {problem}; not sealed")
    claims = lines.claims(edits(record.folder, lines.opened.get("plan")))
    word = lines.outcome(facts.get("ended")) or outcome
    if word is None or outcome not in (None, word):
        raise RecordError(f"{record.name}: cannot be sealed as {outcome}, its lines say {word}")
    profile = record.root / record.profile
    with _opened(profile / ".lock"):
        previous = head(profile)
        files = {below(record.folder, path): digest(path) for path in files_of(record.folder)}
        _replace(profile / HEAD, {"hash": previous, "pending": record.name})
        event = record.ledger.append("sealed", outcome=word, files=files, previous=previous, **claims, **facts)
        _replace(profile / HEAD, {"hash": event["hash"], "pending": None})
    return event


# --- the chain of a profile -------------------------------------------------------------------------------------------


def head(profile: Path) -> str | None:
    """Return the hash of a profile's newest seal; None if nothing is sealed yet.

    If a crash came right after a seal was written, the note beside the records does not hold it yet, but names the
    record in ``pending``.
    """
    hint = _hint(profile)
    if hint is None:
        return _newest_seal(profile)
    known: str | None = hint["hash"]
    if hint["pending"]:
        newest = Record(profile.parent / hint["pending"]).sealed()
        if newest is not None and newest["previous"] == known:
            return str(newest["hash"])
    return known


def mend_head(profile: Path) -> str | None:
    """Rewrite the note of a profile's newest seal if it is damaged; return a line saying so, None if it was sound."""
    path = profile / HEAD
    if not path.exists() or _hint(profile) is not None:
        return None
    with _opened(profile / ".lock"):
        if _hint(profile) is not None:
            return None
        _replace(path, {"hash": _newest_seal(profile), "pending": None})
    return f"{path}: was damaged; written again from the seals of the records"


def _hint(profile: Path) -> Event | None:
    """Return the note of a profile's newest seal, which lies beside the records; None if it is missing or damaged."""
    try:
        hint = json.loads((profile / HEAD).read_text(encoding="utf-8"))
        good = sorted(hint) == ["hash", "pending"] and all(isinstance(value, str | None) for value in hint.values())
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return hint if good else None


def _newest_seal(profile: Path) -> str | None:
    """Return the hash of the newest seal that no other seal follows, as found in the records themselves."""
    seals = [seal for record in every(profile.parent) if record.profile == profile.name and (seal := _seal_of(record))]
    followed = {seal["previous"] for seal in seals}
    tips = sorted((seal["at"], seal["hash"]) for seal in seals if seal["hash"] not in followed)
    return str(tips[-1][1]) if tips else None


def _seal_of(record: Record) -> Event | None:
    try:
        return record.sealed()
    except (RecordError, OSError):
        return None


def in_order(records: Iterable[Record], known: Iterable[Record] | None = None) -> list[Record]:
    """Sort readable records, oldest first, by the chain of seals, not by their times or their folders' names.

    A record without a seal is as old as the seal that was the newest when the record was opened. If ``records`` are
    only some of a profile's records, ``known`` must be all of them.
    """
    records = list(records)
    place = _places(_seal_of(record) for record in (records if known is None else known))

    def opening(record: Record) -> tuple[int, str]:
        opened = record.opened()
        return place.get(opened.get("after"), -1), opened["at"]

    sealed = [(record, seal) for record in records if (seal := _seal_of(record))]
    sealed.sort(key=lambda pair: (place.get(pair[1]["hash"], len(place)), pair[1]["at"]))
    open_ones = sorted((record for record in records if _seal_of(record) is None), key=opening)
    newest = opening(sealed[-1][0]) if sealed else (-1, "")
    before = [record for record in open_ones if opening(record) <= newest]
    return [*before, *(record for record, _ in sealed), *(record for record in open_ones if record not in before)]


def _places(seals: Iterable[Event | None]) -> dict[str | None, int]:
    """Return the position of each seal in the chain (hash -> position); the oldest of ``seals`` has position 0."""
    following: dict[str | None, list[Event]] = {}
    present = [seal for seal in seals if seal]
    for seal in present:
        following.setdefault(seal["previous"], []).append(seal)
    own = {seal["hash"] for seal in present}
    waiting = deque(sorted((seal for seal in present if seal["previous"] not in own), key=lambda seal: str(seal["at"])))
    place: dict[str | None, int] = {}
    while waiting:
        seal = waiting.popleft()
        if seal["hash"] not in place:
            place[seal["hash"]] = len(place)
            waiting.extend(following.get(seal["hash"], ()))
    return place


def every(root: Path) -> Iterator[Record]:
    """Yield every record in the folder of all records, sorted by profile and name; symbolic links are not followed."""
    folders = [root]
    for _ in range(3):
        folders = [inner for folder in folders for inner in _folders_in(folder)]
    yield from map(Record, folders)


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    return [folder / name for name in names if not name.startswith(".")]


def find(root: Path, name: str) -> Record:
    """Return the record at the path ``name``; otherwise the newest record whose name contains ``name``."""
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


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a file for appending, and lock it against other processes while the block runs."""
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
