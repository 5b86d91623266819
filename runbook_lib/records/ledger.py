"""Write and read ledgers, the append-only files of a run's events.

A ledger is a file of one JSON object per line. Each line ends in the SHA-256 of the previous line's hash and its own
bytes, so any change, insertion or removal breaks the chain from that line on. `seal_chain` writes the last
line, which is the seal; `verify` proves a sealed record.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.files import FILE
from runbook_lib.records.verify import misworded, written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbook_lib.settings.redaction import Redactor

NOTEWORTHY = 0.1  # seconds that a clock may be behind another process's before a line says so

Event = dict[str, Any]


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Open a ledger for appending, and keep its file locked against other processes while the block runs."""
    try:
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE)
    except OSError as error:
        raise RecordError(f"{path}: cannot write: {error.strerror}; nothing is sent until it can") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def instant(at: str) -> datetime:
    """Parse a time as a ledger's lines write it, and return it in UTC."""
    return datetime.fromisoformat(at).astimezone(UTC)


class Ledger:
    """A run's ledger, an append-only file. Several processes may write to it, because writing a line takes a lock."""

    def __init__(self, path: Path, redact: Redactor | None = None) -> None:
        self.path = path
        self._redact = redact
        self._clock = _Clock()
        self._known = (-1, _Tail())  # size when we last looked, and the last line
        self._events: list[Event] = []
        self._read = 0  # bytes that self._events stands for

    def append(self, event: str, **facts: Any) -> Event:
        """Append an event to the ledger as one line, and flush it to the disk. Return the event.

        Raise `RecordError` if the line would not verify, or if it cannot be written; the file then stays as it was.
        """
        if self._redact is not None:
            facts = self._redact.value(facts)
        with locked(self.path) as file:
            last = self._tail(file)
            if last.sealed:
                raise RecordError(f"{self.path}: sealed; nothing is added to a sealed record")
            behind = self._clock.behind(last.at)
            if behind > NOTEWORTHY:
                last, _ = self._write(file, last, {"event": "clock", "behind": round(behind, 6)})
            _, body = self._write(file, last, {"event": event, **facts})
        return body

    def now(self) -> str:
        """Return the present time in the form of a ledger line's time. It is never before the last line's time."""
        with locked(self.path) as file:
            return max(self._clock.now(), self._tail(file).at)

    def mend(self) -> None:
        """Cut off the ledger's last line if a crash left it incomplete. No `append` has returned for such a line."""
        with locked(self.path) as file:
            self._tail(file)

    def events(self) -> list[Event]:
        """Return the events of the ledger's complete lines, oldest first."""
        if self.path.exists():
            fresh, self._read = self.follow(self._read)
            self._events += fresh
        return list(self._events)

    def follow(self, start: int = 0) -> tuple[list[Event], int]:
        """Return the events of the ledger's complete lines after byte ``start``.

        Also return the offset after these lines.
        """
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
        """Return the `_Tail` of the ledger's last complete line. Cut off an incomplete line behind it."""
        size = os.fstat(file).st_size
        if size == self._known[0]:
            return self._known[1]
        data = os.pread(file, size, 0)
        whole = data.rfind(b"\n") + 1
        if whole < size:  # a crash tore the last line: it was never acknowledged to anybody
            os.ftruncate(file, whole)
        return _Tail.of(self._event(data[:whole].splitlines()[-1])) if whole else _Tail()

    def _write(self, file: int, last: _Tail, facts: Event) -> tuple[_Tail, Event]:
        """Write a ledger line after the line ``last``. Return the new line's `_Tail` and its event."""
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
    """What the next line of a ledger depends on in the last line: hash, number, time, and whether it is the seal."""

    hash: str = ""
    number: int = 0
    at: str = ""
    sealed: bool = False

    @classmethod
    def of(cls, event: Event) -> _Tail:
        return cls(event["hash"], event["n"], event["at"], event["event"] == "sealed")


class _Clock:
    """A clock for a ledger. It reads the system's time once and then counts seconds, so that it never goes back.

    Setting the system's time back thus never makes a later line look earlier.
    """

    def __init__(self) -> None:
        self._start = datetime.now(UTC)
        self._since = _seconds()

    def now(self) -> str:
        moment = self._start + timedelta(seconds=_seconds() - self._since)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def behind(self, last: str) -> float:
        """Set the ledger's clock to the time of the last line, if the clock is behind it. Return how far it was behind,
        in seconds.
        """
        if last <= (now := self.now()):
            return 0.0
        behind = (datetime.fromisoformat(last) - datetime.fromisoformat(now)).total_seconds()
        self._start += timedelta(seconds=behind)
        return behind


def _seconds() -> float:
    """Return the seconds of a clock that never goes back.

    If the system has a clock that also counts while the machine sleeps, that clock is used.
    """
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
