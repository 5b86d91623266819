"""Admit one writer at a time by a Postgres advisory lock, which the database releases when its holder dies.

Looking needs no lock, and safety actions never wait for it. The holder proves with every change that it still holds the
lock: an SQL change proves it in its own transaction, an HTTP change right before the request.
"""

from __future__ import annotations

import atexit
import contextlib
import time
from typing import TYPE_CHECKING

from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services.advisory_lock import Holder, WritingSession
from runbook_lib.services.services import Services
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.settings.profiles import Settings

LABEL = 63  # bytes that Postgres keeps of an application name
LEAVING = 2.0  # seconds the database may take to notice that a process which held the lock has died
POLL = 0.05  # seconds between two looks
# The locks of this process. A cell that opens its phase again is the same writer and goes on holding the lock.
HELD: dict[str, WritingSession] = {}


def holder(settings: Settings) -> Holder | None:
    """Return the session of another process that holds the profile's writing lock. Return None if there is none.

    Raise `ServiceError` if the database does not say who holds the lock.
    """
    services = Services(settings)
    try:
        deadline = time.monotonic() + LEAVING
        while (session := _other(services)) and time.monotonic() < deadline:
            time.sleep(POLL)
        return session
    finally:
        services.close()


def told(other: Holder | None, profile: str) -> str:
    """Return the message for an operator who meets a writing lock that somebody else holds.

    The message says who holds the writing lock, and what can be done meanwhile.
    """
    unlocking = addressed("./runbook unlock", profile)
    return (
        f"the writing lock is held by {other or 'somebody who just left'}: you can look, and stop things, "
        f"but not change anything until that run has ended; {unlocking} ends a session that is dead"
    )


def unlock(settings: Settings, other: Holder) -> None:
    """End the session ``other``, which holds the writing lock. Raise `StepRefused` if ``other`` no longer holds the
    lock.
    """
    services = Services(settings)
    try:
        now = services.database.lock_holder(_name(services))
        if now != other:
            raise StepRefused(f"the writing lock is not held by {other} any more, but by {now or 'nobody'}")
        services.database.end_session(other.pid)
    finally:
        services.close()


def _other(services: Services) -> Holder | None:
    return None if _place(services) in HELD else services.database.lock_holder(_name(services))


def _name(services: Services) -> str:
    return f"launch-runbook {services.settings.project}"


def _place(services: Services) -> str:
    """Return the key of a project's lock in `HELD`. A project has one lock in each database."""
    return f"{services.settings.database.url} {services.settings.project}"


class Writer:
    """The holder of a project's writing lock, with functions to take and release the lock.

    ``label`` (operator and record) tells others who holds the lock. ``tell`` is called with a lost session of this
    process, if that session still held the lock and had to be ended.
    """

    def __init__(self, services: Services, label: str, tell: Callable[[Holder], object] = lambda _: None) -> None:
        self._services = services
        self._label = label.encode()[:LABEL].decode(errors="ignore")
        self._name, self._place = _name(services), _place(services)
        self._tell = tell

    def take(self) -> None:
        """Take the writing lock, or keep it if this process has it already. Raise `StepRefused` if another session
        holds it.

        The error names the holder and the time since when it holds the lock. Once the lock is taken, the services of
        this writer send a change only after proving that the lock is still held.
        """
        database = self._services.database
        database.writing = HELD.pop(self._place, None)
        before = database.writing
        try:
            database.prove_writing()
        except ServiceError:
            database.writing = None
            self._close(before)
        database.writing = database.writing or self._taken(before)
        HELD[self._place] = database.writing

    def _taken(self, dead: WritingSession | None) -> WritingSession:
        """Take the writing lock, which this process does not hold yet.

        If the server still has ``dead``, a session that this process lost, end that session first.
        """
        deadline = time.monotonic() + LEAVING
        while True:
            session = self._services.database.take_lock(self._name, self._label)
            if isinstance(session, WritingSession):
                return session
            if dead and session and session.pid == dead.pid:
                self._services.database.end_session(dead.pid)
                self._tell(session)
                dead = None
            if time.monotonic() > deadline:
                raise StepRefused(told(session, self._services.settings.name))
            time.sleep(POLL)

    def release(self) -> None:
        """Release the writing lock of a project."""
        self._services.database.writing = None
        self._close(HELD.pop(self._place, None))

    @staticmethod
    def _close(session: WritingSession | None) -> None:
        if session is not None:
            with contextlib.suppress(OSError):
                session.connection.close()


@atexit.register
def release_all() -> None:
    """Release this process's writing locks at its exit, by closing their connections."""
    while HELD:
        HELD.popitem()[1].connection.close()
