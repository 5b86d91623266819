"""The database session that holds the writing lock: proven where it is held, and told of to those who want it.

A lock that is looked at on another connection than the one that changes something protects nothing: the server may have
ended the session in between, and somebody else may hold it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from runbook_lib.errors import ServiceError
from runbook_lib.services.plain_rows import plain

Connection = psycopg.Connection[dict[str, Any]]

LOST = "the writing lock was lost, and may be somebody else's now: nothing was sent; run the step again to take it anew"
POOLED = (
    "this connection is pooled by transaction: it shares one session among several clients, and a lock on it holds "
    "nobody back; use port 5432, direct or the session pooler"
)
# Whose session holds a lock, beside the one that asks. A lock's number is the two halves of the hash of its name, and
# belongs to one database of the server.
HELD = """
    select own.pid as own, l.pid, a.application_name as who, a.backend_start as since, host(a.client_addr) as address
    from (select pg_backend_pid() as pid) own
    left join pg_locks l on l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and l.database = (select oid from pg_database where datname = current_database())
      and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%s, 0)
    left join pg_stat_activity a on a.pid = l.pid
"""
# The transaction's number only grows: whoever takes the lock later has a larger one. The keepalives end the session
# within half a minute when the machine at its other end is gone, and the check of the connection ends a statement that
# still runs for a process that was killed: without it the lock stays as long as the statement takes.
TAKE = """
    select pg_try_advisory_lock(hashtextextended(%(name)s, 0)) as taken, pg_backend_pid() as pid,
           pg_current_xact_id()::text::bigint as fence,
           set_config('application_name', %(label)s, false), set_config('tcp_keepalives_idle', '15', false),
           set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false),
           (select set_config(name, '500', false) from pg_settings where name = 'client_connection_check_interval')
"""


TRY = "select pg_try_advisory_lock(hashtextextended(%s, 0)) as taken"


@dataclass(frozen=True)
class Holder:
    """Whose session holds a lock."""

    pid: int
    who: str
    since: str
    address: str

    def __str__(self) -> str:
        return f"{self.who}, since {self.since}"


@dataclass(frozen=True)
class WritingSession:
    """A session that holds a lock. ``fence`` grows with every taking: of two writers the later has the larger one."""

    connection: Connection
    name: str
    pid: int
    fence: int

    def prove(self) -> None:
        """Raise `ServiceError` unless this very session holds the lock now.

        In a transaction, the proof lasts until its end: the lock goes with the session, and the session with both.
        """
        try:
            row = self.connection.execute(HELD, (self.name,)).fetchone()
        except psycopg.Error:
            row = None
        if row is None or not row["own"] == row["pid"] == self.pid:
            raise ServiceError(LOST)


def take(connection: Connection, name: str, label: str) -> WritingSession | None:
    """Take a lock on a connection that is kept for it; None if it is somebody else's."""
    row = connection.execute(TAKE, {"name": name, "label": label}).fetchone()
    if row is None or not row["taken"]:
        return None
    return WritingSession(connection, name, row["pid"], row["fence"])


def holder(connection: Connection, name: str) -> Holder | None:
    """Whose session holds a lock; None if nobody's does."""
    row = connection.execute(HELD, (name,)).fetchone()
    if row is None or row["pid"] is None:
        return None
    return Holder(row["pid"], row["who"], str(plain(row["since"])), row["address"] or "the database's own machine")


def end(connection: Connection, pid: int) -> bool:
    """End a session of the same role; whether there was one."""
    row = connection.execute("select pg_terminate_backend(%s) as ended", (pid,)).fetchone()
    return bool(row and row["ended"])


def pooled(session: WritingSession, second: Connection) -> bool:
    """Whether two connections share sessions, so that a lock on one of them holds nobody back.

    The second one is kept busy while the first is asked: a pooler then has to give the first another session.
    """
    with second.transaction():
        other = second.execute("select pg_backend_pid() as pid").fetchone()
        again = second.execute(TRY, (session.name,)).fetchone()
        own = session.connection.execute(HELD, (session.name,)).fetchone()
    if other is None or again is None or own is None:
        return True
    shared = other["pid"] == session.pid or not own["own"] == own["pid"] == session.pid
    return bool(again["taken"] or shared)
