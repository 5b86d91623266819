"""Run SQL in Postgres within a time limit: reads in read-only transactions, each change on a new connection."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql as compose
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from runbook_lib.commands.command import Reply, sql
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services import advisory_lock
from runbook_lib.services.advisory_lock import Holder, WritingSession
from runbook_lib.services.refusals import REFUSALS, REFUSED
from runbook_lib.services.variables import expanded
from runbook_lib.settings.addresses import host_of
from runbook_lib.settings.profiles import INCOMING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from runbook_lib.commands.command import Login, RoundTrip, Sql
    from runbook_lib.settings.profiles import Settings
    from runbook_lib.settings.redaction import Redactor


GRACE = 2.0  # seconds after Postgres' own time limit
TEMPORARY = re.compile(r"^08|^57P0[123]|^53300")  # SQLSTATEs of a connection that was lost or refused


class Database:
    """The database that a profile addresses, with its open connections."""

    def __init__(self, settings: Settings, redact: Redactor) -> None:
        self.settings = settings
        self._redact = redact
        self._password = settings.database.password
        self._reading: psycopg.Connection[dict[str, Any]] | None = None
        self.writing: WritingSession | None = None  # the session with the writing lock, while this run holds it

    def close(self) -> None:
        """Close the database connection that is kept for reading."""
        if self._reading is not None:
            self._reading.close()
        self._reading = None

    def connect(self, *, read_only: bool = False, within: float | None = None) -> psycopg.Connection[dict[str, Any]]:
        """Open a database connection in UTC. If ``read_only`` is true and the profile has a read-only role, log in as
        this role.

        If the password is refused, try the new password of a rotation, where the environment holds one: once the
        rotation has reset the password, only the new one is accepted.
        """
        database = self.settings.database
        if read_only and database.read_only_user and database.read_only_password:
            return self._opened(database.read_only_password, within, user=database.read_only_user)
        try:
            return self._opened(self._password, within)
        except ServiceError as error:
            if REFUSED not in str(error) or self._password == INCOMING or not self.settings.has(INCOMING):
                raise
        connection = self._opened(INCOMING, within)
        self._password = INCOMING  # kept, because trying the wrong password again and again would lock us out
        return connection

    def _opened(self, password: str, within: float | None = None, **user: str) -> psycopg.Connection[dict[str, Any]]:
        """Open a database connection with the password from the environment variable named ``password``.

        If the password is refused, it is tried once more, seconds later: a pooler learns of a new password late.
        """
        seconds = within or self.settings.budgets.answer
        log_in = partial(self._logged_in, password, seconds, **user)
        return self._guarded(password, log_in, patience=seconds)

    def _guarded(
        self, password: str, log_in: Callable[[], psycopg.Connection[dict[str, Any]]], patience: float
    ) -> psycopg.Connection[dict[str, Any]]:
        host = host_of(self.settings.database.url)
        return REFUSALS.guarded(host, password, self.settings.variable(password), log_in, patience)

    def _logged_in(self, password: str, seconds: float, **user: str) -> psycopg.Connection[dict[str, Any]]:
        database = self.settings.database
        try:
            connection = psycopg.connect(
                make_conninfo(database.url, **user, **({"sslrootcert": database.ca} if database.ca else {})),
                password=self.settings.variable(password),
                hostaddr="",  # so that PGHOSTADDR cannot lead elsewhere
                options="",
                connect_timeout=max(2, int(seconds)),
                # A machine that is gone sends nothing: after half a minute these count the connection as lost.
                keepalives_idle=15,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=int(1000 * (self.settings.budgets.answer + GRACE)),
                application_name="launch-runbook",
                client_encoding="utf8",
                autocommit=True,
                row_factory=dict_row,
            )
            # These are set after connecting, because poolers refuse startup options, and in one round trip, because a
            # far or slow database takes its time for each. UTC: the month of a cost cap begins at UTC midnight. The
            # styles: values set by a shell or a role (PGDATESTYLE, alter role … set) would make dates unreadable.
            connection.execute(
                "select set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, YMD', false),"
                " set_config('IntervalStyle', 'postgres', false), set_config('bytea_output', 'hex', false),"
                " set_config('statement_timeout', %s, false)",
                (str(int(self.settings.budgets.answer * 1000)),),
            )
        except psycopg.Error as error:
            raise ServiceError(f"database {host_of(database.url)}: {self._said(error)}") from None
        return connection

    def take_lock(self, name: str, label: str) -> WritingSession | Holder | None:
        """Take the advisory lock ``name`` on a new database connection. If another session holds it, return its
        `Holder`.

        Return None if the holder left meanwhile. ``label`` becomes the session's application name, which tells others
        who holds the lock. Raise `StepRefused` if a pooler shares the session among connections, because the lock would
        then keep nobody out.
        """
        connection, kept = self.connect(), False
        try:
            with self.limited(connection):
                session = advisory_lock.take(connection, name, label)
                if session is None:
                    return advisory_lock.holder(connection, name)
                self._refuse_pooled(session)
            kept = True
            return session
        except psycopg.Error as error:
            raise ServiceError(f"the writing lock cannot be taken: {self._said(error)}") from None
        finally:
            if not kept:
                connection.close()

    def _refuse_pooled(self, session: WritingSession) -> None:
        with contextlib.closing(self.connect()) as second, self.limited(second):
            if advisory_lock.shared(session, second):
                advisory_lock.give_back(session, second)
                raise StepRefused(advisory_lock.POOLED)

    def lock_holder(self, name: str) -> Holder | None:
        """Return the session that holds the advisory lock ``name`` in the database. Return None if nobody holds it."""
        try:
            with contextlib.closing(self.connect()) as connection, self.limited(connection):
                return advisory_lock.holder(connection, name)
        except psycopg.Error as error:
            raise ServiceError(f"who holds the writing lock cannot be read: {self._said(error)}") from None

    def end_session(self, pid: int) -> bool:
        """End the session ``pid`` of this database, which must have our role. Return whether it existed."""
        try:
            with contextlib.closing(self.connect()) as connection, self.limited(connection):
                return advisory_lock.end(connection, pid)
        except psycopg.Error as error:
            raise ServiceError(f"session {pid} cannot be ended: {self._said(error)}") from None

    def prove_writing(self) -> None:
        """Raise `ServiceError` if this run took the writing lock and has lost it."""
        if self.writing is not None:
            try:
                with self.limited(self.writing.connection):
                    self.writing.prove()
            except psycopg.Error:
                raise ServiceError(advisory_lock.LOST) from None

    def look(self, statements: Sequence[Sql], within: float | None = None) -> Reply:
        """Run SQL that only reads, on the database connection kept for reading.

        If that connection was lost, run the SQL once more on a new connection.
        """
        if self._reading is not None:
            with contextlib.suppress(ServiceError):
                return self._transact(self._reading, statements, within, read_only=True, keep=False)
            self.close()
        self._reading = self.connect(read_only=True, within=within)
        return self._transact(self._reading, statements, within, read_only=True, keep=False)

    def change(self, statements: Sequence[Sql], within: float | None = None, *, keep: bool) -> Reply:
        """Run SQL that may change something, on a new database connection.

        On an old connection that turns out to be lost, the SQL's effect would be unknown. While this run holds the
        writing lock, the statements run on the lock's connection, in a transaction that first proves the lock.
        """
        if keep and self.writing is not None:
            return self._transact(self.writing.connection, statements, within, read_only=False, keep=True)
        with contextlib.closing(self.connect(within=within)) as connection:
            return self._transact(connection, statements, within, read_only=False, keep=keep)

    def _transact(
        self,
        connection: psycopg.Connection[dict[str, Any]],
        statements: Sequence[Sql],
        within: float | None,
        *,
        read_only: bool,
        keep: bool,
    ) -> Reply:
        """Run statements in one transaction and return the rows of the last statement.

        Roll back unless ``keep`` is true.
        """
        rows: list[dict[str, Any]] = []
        proven = self.writing is None or connection is not self.writing.connection
        try:
            connection.read_only = read_only
            with self.limited(connection, within), connection.transaction(force_rollback=not keep):
                if self.writing is not None and not proven:
                    self.writing.prove()
                    proven = True
                for statement in statements:
                    rows = self._execute(connection, statement)
        except psycopg.Error as error:
            if connection.broken or connection.closed or TEMPORARY.match(error.sqlstate or ""):
                connection.close()
                words = f"database: {self._said(error)}" if proven else advisory_lock.LOST
                raise ServiceError(words, sent=keep and proven) from None
            return Reply(error=self._said(error))
        return Reply(tuple(rows))

    def _said(self, error: psycopg.Error) -> str:
        """Return the database server's error message on one line, without secrets."""
        return self._redact.text(" ".join((error.diag.message_primary or str(error)).split()))

    @contextlib.contextmanager
    def limited(self, connection: psycopg.Connection[dict[str, Any]], within: float | None = None) -> Iterator[None]:
        """Cut the database connection if the ``with`` block takes too long.

        The server may exceed its own time limit, or send its answer one byte at a time.
        """
        seconds = (within or self.settings.budgets.answer) + GRACE
        with _line(connection) as line:
            hung_up = threading.Timer(seconds, _hang_up, (line,))
            hung_up.daemon = True
            hung_up.start()
            try:
                yield
            finally:
                hung_up.cancel()
                hung_up.join()

    def _execute(self, connection: psycopg.Connection[dict[str, Any]], statement: Sql) -> list[dict[str, Any]]:
        values = {name: bound(value, self.settings) for name, value in statement.values.items()}
        # prepare=True parses on the server, which refuses several statements in one. psycopg leaves a literal % alone
        # only when there are no values at all.
        cursor = connection.execute(statement.statement.encode(), values or None, prepare=True)
        return list(cursor) if cursor.description else []

    def round_trip(self, command: RoundTrip) -> Reply:
        """Send a NOTIFY on one database connection, and test whether it arrives on another.

        Test also whether a lock that one holds is refused to the other. A transaction pooler accepts NOTIFY and LISTEN
        without an error, and delivers nothing; it gives two clients one session, and so one lock to both.
        """
        with self.connect() as listener, self.connect() as sender:
            try:
                alone = advisory_lock.exclusive(listener, sender)
                listener.execute(compose.SQL("listen {}").format(compose.Identifier(command.channel)))
                started = time.perf_counter()
                sender.execute("select pg_notify(%s, 'probe')", (command.channel,))
                heard = list(listener.notifies(timeout=command.within, stop_after=1))
            except psycopg.Error as error:
                return Reply(error=self._said(error))
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
        host = urlsplit(self.settings.database.url).hostname or ""
        row = {
            "delivered": bool(heard),
            "lock": "one holder" if alone else "shared",
            "milliseconds": milliseconds if heard else None,
            "mode": "session pooler" if "pooler" in host else "direct",
            "address": host_of(self.settings.database.url),
        }
        return Reply((row,))

    def log_in(self, command: Login) -> Reply:
        """Log in to the database once, with one password.

        If the password is refused, the reply has ``accepted`` false.
        """
        try:
            log_in = partial(self._logged_in, command.variable, self.settings.budgets.answer)
            self._guarded(command.variable, log_in, patience=0.0).close()
        except ServiceError as error:
            if REFUSED not in str(error):
                raise
            return Reply(({"variable": command.variable, "accepted": False},))
        if command.variable == INCOMING:
            self._password = INCOMING
        return Reply(({"variable": command.variable, "accepted": True},))


def bound(value: Any, settings: Settings) -> Any:
    """Return a value in the form in which it is bound into a statement: secrets filled in, objects as JSON."""
    filled = expanded(value, settings)
    return Jsonb(filled) if isinstance(filled, dict) else filled


def _line(connection: psycopg.Connection[dict[str, Any]]) -> socket.socket:
    """Return a duplicate of a connection's socket, by which a timer can cut the connection.

    If the connection has no socket any more, close the connection and raise `psycopg.OperationalError`. Raise
    `ServiceError` if this process may open no more files: nothing was sent then.
    """
    try:
        handle = os.dup(connection.fileno())
    except OSError as error:  # too many open files; the connection is sound, and may hold the writing lock
        raise ServiceError(f"database: its answer could not be timed: {error.strerror}") from None
    try:
        return socket.socket(fileno=handle)
    except OSError as error:
        os.close(handle)
        connection.close()
        raise psycopg.OperationalError(f"the connection leads nowhere: {error.strerror}") from None


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other end may have done it first
        line.shutdown(socket.SHUT_RDWR)


def database_time(settings: Settings) -> datetime:
    """Return the time of the database's clock, the only clock by which ages of records and commands are judged."""
    database = Database(settings, settings.redactor())
    try:
        reply = database.look([sql("select clock_timestamp() as now")])
    finally:
        database.close()
    if reply.error:
        raise ServiceError(reply.error)
    now: datetime = reply.value("now")
    return now
