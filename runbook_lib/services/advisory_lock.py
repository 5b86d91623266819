"""Take and check a Postgres advisory lock, which only one session can hold.

Proving the lock on one connection protects no change on another: the server may have ended the lock's session in
between, and another session may hold the lock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg

from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services.plain_rows import plain

Row = dict[str, Any]
Connection = psycopg.Connection[Row]

LOST = "the writing lock was lost, and may be somebody else's now: nothing was sent; run the step again to take it anew"
POOLED = (
    "this connection is pooled by transaction: it shares one session among several clients, and a lock on it holds "
    "nobody back; use port 5432, direct or the session pooler"
)
# Selects the session that holds a lock, and the number of the session that asks. Postgres stores a lock's number, the
# hash of its name, in two halves; it belongs to one database of the server.
HELD = """
    select own.pid as own, l.pid, a.application_name as who, a.backend_start as since, host(a.client_addr) as address
    from (select pg_backend_pid() as pid) own
    left join pg_locks l on l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%(name)s, 0)
    left join pg_stat_activity a on a.pid = l.pid
"""
# Transaction numbers only grow: whoever takes the lock later has a larger number. The keepalives end the session within
# half a minute when the machine at its other end is gone. The check of the connection ends a statement that still runs
# for a process that was killed: without this check the lock is kept until the statement ends.
TAKE = """
    select pg_try_advisory_lock(hashtextextended(%(name)s, 0)) as taken, pg_backend_pid() as pid,
           pg_current_xact_id()::text::bigint as fence,
           set_config('application_name', %(label)s, false), set_config('tcp_keepalives_idle', '15', false),
           set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false),
           (select set_config(name, '500', false) from pg_settings where name = 'client_connection_check_interval')
"""
TRY = "select pg_try_advisory_xact_lock(hashtextextended(%(name)s, 0)) as taken"  # given back with the transaction
GIVE_BACK = "select pg_advisory_unlock(hashtextextended(%(name)s, 0)) where pg_backend_pid() = %(pid)s"
LOOKS = 5  # at a pooler: a busy one may give two clients two sessions by chance
TURNS = 10  # that a pooler is given to lead back to the session that a lock was left on


@dataclass(frozen=True)
class Holder:
    """The database session that holds an advisory lock: its process id, application name, start and client address."""

    pid: int
    who: str
    since: str
    address: str

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}"


@dataclass(frozen=True)
class WritingSession:
    """A database session that holds an advisory lock. Each later holder has a larger ``fence``."""

    connection: Connection
    name: str
    pid: int
    fence: int

    def prove(self) -> None:
        """Raise `ServiceError` and close the connection, unless this session still holds the advisory lock.

        Inside a transaction the proof lasts until the transaction ends: the lock is lost only if the session ends, and
        the transaction ends with the session.
        """
        try:
            row = _row(self.connection, HELD, {"name": self.name})
        except psycopg.Error:
            row = None
        if row is None or not row["own"] == row["pid"] == self.pid:
            self.connection.close()
            raise ServiceError(LOST)


def _row(connection: Connection, statement: LiteralString, values: Mapping[str, Any] | Sequence[Any]) -> Row | None:
    """Run a statement and return its first row. Return None if there are no rows.

    The statement is never prepared: behind a pooler, the name that psycopg gives a prepared statement may already be
    another's.
    """
    return connection.execute(statement, values, prepare=False).fetchone()


def take(connection: Connection, name: str, label: str) -> WritingSession | None:
    """Take an advisory lock, and hold it while the connection is open. Return None if another session holds it.

    Raise `StepRefused` if the session behind this connection holds the lock for another client.
    """
    with connection.transaction():  # during a transaction even a pooler keeps to one session
        before = _row(connection, HELD, {"name": name})
        if before is not None and before["own"] == before["pid"]:  # Postgres lets a session take its own lock again
            raise StepRefused(POOLED)
        row = _row(connection, TAKE, {"name": name, "label": label})
    if row is None or not row["taken"]:
        return None
    return WritingSession(connection, name, row["pid"], row["fence"])


def holder(connection: Connection, name: str) -> Holder | None:
    """Return the session that holds an advisory lock. Return None if nobody holds it."""
    row = _row(connection, HELD, {"name": name})
    if row is None or row["pid"] is None:
        return None
    return Holder(row["pid"], row["who"], str(plain(row["since"])), row["address"] or "the database's own machine")


def end(connection: Connection, pid: int) -> bool:
    """End the session ``pid``, which must hold an advisory lock and have our role. Return whether the session
    existed.
    """
    row = _row(connection, "select pg_terminate_backend(%s) as ended", (pid,))
    return bool(row and row["ended"])


def pooled(session: WritingSession, second: Connection) -> bool:
    """Return whether a pooler lets two connections share a session. An advisory lock would then exclude nobody.

    The second connection is kept in a transaction while the first is asked: a pooler must then give the first another
    session. The first is asked before that, too: many poolers then give its session, the last one freed, to the second.
    """
    lock = {"name": session.name}
    before = _row(session.connection, HELD, lock)
    with second.transaction():
        second_try = _row(second, TRY, lock)
        held = _row(session.connection, HELD, lock)
    if before is None or second_try is None or held is None or second_try["taken"]:
        return True
    return not session.pid == before["own"] == held["own"] == held["pid"]


def give_back(session: WritingSession, second: Connection) -> None:
    """Release an advisory lock that was taken through a pooler.

    This succeeds only if one of the two connections reaches the lock's session again.
    """
    lock = {"name": session.name, "pid": session.pid}
    for _ in range(TURNS):
        if any(_row(connection, GIVE_BACK, lock) for connection in (session.connection, second)):
            return


def shared(session: WritingSession, second: Connection) -> bool:
    """Return whether a pooler lets other connections use the session that holds the advisory lock.

    If there is a pooler, try several times.
    """
    direct = session.connection.info.backend_pid == session.pid
    return any(pooled(session, second) for _ in range(1 if direct else LOOKS))


def exclusive(first: Connection, second: Connection) -> bool:
    """Return whether the second connection is refused an advisory lock that the first one holds.

    Behind a transaction pooler, the lock is not refused.
    """
    try:
        session = take(first, f"launch-runbook trial {uuid.uuid4()}", "launch-runbook")
    except StepRefused:
        return False
    if session is None:
        return False
    alone = not shared(session, second)
    give_back(session, second)
    return alone
