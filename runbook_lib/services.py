"""Send commands and return plain rows: the only module that touches the outside.

Every command has a time limit. A service that answers with an error gives a `Reply` with ``error``; one that does not
answer raises `ServiceError`, whose ``sent`` tells whether the command may have taken effect. Secrets are redacted here,
before anything is cut to length, for half a secret would not be recognised any more; fields that may carry secrets this
process does not know are dropped.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg import sql as compose
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from runbook_lib import sockets
from runbook_lib.commands import VARIABLE, Command, Http, Login, Reply, RoundTrip, Series, Shell, Sql, Subscribe, Trial
from runbook_lib.door import drop, drop_text
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.settings import INCOMING, host_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook_lib.settings import Service, Settings

__all__ = ["Services"]

OUTPUT = 20_000  # characters of a shell command's output that are kept
LAST = 600  # characters of it, or of an answer, that an error message holds
GRACE = 2.0  # seconds after Postgres' own time limit
QUIET = 1.0  # seconds without a new line after which a stream has said what it had to say
STREAMS = ("application/stream+json", "application/x-ndjson")  # answers without an end, one JSON object a line
REFUSED = "password authentication failed"
TEMPORARY = re.compile(r"^08|^57P0[123]|^53300")  # SQLSTATEs of a connection that is gone or refused
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.LocalProtocolError)


# The session that holds an advisory lock: who, since when.
LOCK_HOLDER = """
    select a.application_name as who, a.backend_start as since
    from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted
      and ((l.classid::bigint << 32) | l.objid::bigint) = hashtextextended(%s, 0)
"""
Lock = psycopg.Connection[dict[str, Any]]


class Services:
    """The outside, as a profile addresses it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._redact = settings.redactor()
        self._password = settings.database.password
        self._reading: psycopg.Connection[dict[str, Any]] | None = None
        self._http: dict[str, httpx.Client] = {}

    def close(self) -> None:
        """Close every connection."""
        if self._reading is not None:
            self._reading.close()
        for client in self._http.values():
            client.close()
        self._reading = None
        self._http.clear()

    def look(self, command: Command) -> Reply:
        """Send a command that changes nothing; raise `StepRefused` before sending if it might."""
        self.refuse_change(command)
        return self._send(command, read_only=True)

    def refuse_change(self, command: Command) -> None:
        """Raise `StepRefused` for what a look must not send. Of SQL, Postgres itself refuses the rest."""
        for one in command.commands if isinstance(command, Series) else ():
            self.refuse_change(one)
        if isinstance(command, Http | Shell) and not command.read_only:
            raise StepRefused(
                f"a check only looks: {command.text().splitlines()[0]!r} may change something; "
                "make it an act, or declare reads=True if it really changes nothing"
            )
        self.refuse_control(command)

    def refuse_control(self, command: Command, *, changes: bool = False) -> None:
        """Raise `StepRefused` for SQL that would leave its transaction."""
        for statement in _parts(command):
            if isinstance(statement, Sql):
                statement.refuse_control(changes=changes)

    def change(self, command: Command) -> Reply:
        """Send a command that may change something, once."""
        self.refuse_control(command, changes=True)
        return self._send(command, read_only=False)

    def shown(self, command: Command) -> str:
        """The command as text that can be pasted into psql or a shell."""
        if isinstance(command, Http):
            service = self.settings.service(command.service)
            return command.text(service.url, _authorization(service))
        if isinstance(command, Series) and command.commands:
            return "\n".join(self.shown(one) for one in command.commands)
        return command.text()

    def _send(self, command: Command, *, read_only: bool) -> Reply:
        started, clock = time.time(), time.perf_counter()
        match command:
            case Sql():
                reply = self._look([command]) if read_only else self._change([command], keep=True)
            case Trial():
                reply = self._change(command.statements, keep=False)
            case Subscribe():
                url = self.settings.service(command.service).url
                reply = Reply(tuple(sockets.subscribe(url, command.subscriptions, command.within)))
            case Http():
                reply = self._request(command)
            case Shell():
                reply = self._shell(command)
            case RoundTrip():
                reply = self._round_trip(command)
            case Login():
                reply = self._log_in(command)
            case Series():
                reply = self._each(command, read_only=read_only)
        seconds = time.perf_counter() - clock
        return Reply(
            tuple(self._redact.value(drop(_plain(row))) for row in reply.rows),
            reply.status,
            reply.error,
            reply.text,
            started + seconds / 2,
            seconds,
        )

    def _each(self, command: Series, *, read_only: bool) -> Reply:
        """Send one after another, until one is refused; nobody knows what became of those before a lost answer."""
        found: list[dict[str, Any]] = []
        status = None
        for number, one in enumerate(command.commands, 1):
            place = f"{number} of {len(command.commands)}"
            try:
                reply = self._send(one, read_only=read_only)
            except ServiceError as error:
                raise ServiceError(f"{place}: {error}", sent=error.sent or number > 1) from None
            found += reply.rows
            status = reply.status
            if reply.error is not None:
                return Reply(tuple(found), status, f"{place}: {reply.error}")
        return Reply(tuple(found), status)

    # --- Postgres ------------------------------------------------------------------------------------------------

    def connect(self, *, read_only: bool = False) -> psycopg.Connection[dict[str, Any]]:
        """A new connection in UTC; the profile's read-only role when it names one and only looking is wanted.

        Once a rotation has reset the password, it is the new one that lets us in.
        """
        database = self.settings.database
        if read_only and database.read_only_user and database.read_only_password:
            return self._opened(database.read_only_password, user=database.read_only_user)
        try:
            return self._opened(self._password)
        except ServiceError as error:
            if REFUSED not in str(error) or self._password == INCOMING or not self.settings.has(INCOMING):
                raise
        connection = self._opened(INCOMING)
        self._password = INCOMING  # remembered: who tries wrong passwords again and again is locked out
        return connection

    def _opened(self, password: str, **user: str) -> psycopg.Connection[dict[str, Any]]:
        """A new connection with the password that the variable called ``password`` holds."""
        database = self.settings.database
        try:
            connection = psycopg.connect(
                make_conninfo(database.url, **user),
                password=self.settings.variable(password),
                hostaddr="",  # not even PGHOSTADDR leads elsewhere
                options="",
                connect_timeout=max(2, int(self.settings.budgets.answer)),
                application_name="launch-runbook",
                autocommit=True,
                row_factory=dict_row,
            )
            # Set after connecting: poolers refuse startup options. The month of a cost cap begins at UTC midnight.
            connection.execute("set time zone 'UTC'")
            limit = int(self.settings.budgets.answer * 1000)
            connection.execute(compose.SQL("set statement_timeout = {}").format(limit))
        except psycopg.Error as error:
            raise ServiceError(f"database {host_of(database.url)}: {self._said(error)}") from None
        return connection

    def lock(self, name: str, label: str) -> tuple[Lock | None, str]:
        """Take the advisory lock ``name`` on a connection of its own; else None, and who holds it since when.

        ``label`` becomes the session's application name, by which others learn who holds it.
        """
        connection = self.connect()
        try:
            connection.execute("select set_config('application_name', %s, false)", (label,))
            row = connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 0)) as mine", (name,)).fetchone()
            if row and row["mine"]:
                return connection, label
            holder = connection.execute(LOCK_HOLDER, (name,)).fetchone()
        except psycopg.Error as error:
            connection.close()
            raise ServiceError(f"the writing lock cannot be taken: {self._said(error)}") from None
        connection.close()
        return None, f"{holder['who']}, since {_plain(holder['since'])}" if holder else "somebody who just left"

    @staticmethod
    def holds(lock: Lock) -> bool:
        """Whether the session that holds a lock still lives; the database forgets a lock with its session."""
        try:
            lock.execute("select 1")
        except psycopg.Error:
            return False
        return True

    def _look(self, statements: Sequence[Sql]) -> Reply:
        """Run on the connection kept for reading; once more on a new one if that was lost since it was last used."""
        if self._reading is not None:
            with contextlib.suppress(ServiceError):
                return self._transact(self._reading, statements, read_only=True, keep=False)
        self._reading = self.connect(read_only=True)
        return self._transact(self._reading, statements, read_only=True, keep=False)

    def _change(self, statements: Sequence[Sql], *, keep: bool) -> Reply:
        """Run on a new connection: an old one may be gone, and then nobody knew whether the change was made."""
        with contextlib.closing(self.connect()) as connection:
            return self._transact(connection, statements, read_only=False, keep=keep)

    def _transact(
        self,
        connection: psycopg.Connection[dict[str, Any]],
        statements: Sequence[Sql],
        *,
        read_only: bool,
        keep: bool,
    ) -> Reply:
        """Run statements in one transaction; roll it back unless ``keep``."""
        found: list[dict[str, Any]] = []
        try:
            connection.read_only = read_only
            with self._limited(connection), connection.transaction(force_rollback=not keep):
                for statement in statements:
                    found = self._execute(connection, statement)
        except psycopg.Error as error:
            if connection.broken or connection.closed or TEMPORARY.match(error.sqlstate or ""):
                connection.close()
                raise ServiceError(f"database: {self._said(error)}", sent=keep) from None
            return Reply(error=self._said(error))
        return Reply(tuple(found))

    def _said(self, error: psycopg.Error) -> str:
        """The server's own words, in one line."""
        return self._redact.text(" ".join((error.diag.message_primary or str(error)).split()))

    @contextlib.contextmanager
    def _limited(self, connection: psycopg.Connection[dict[str, Any]]) -> Iterator[None]:
        """Hang up on a server that does not even keep its own time limit."""
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            hung_up = threading.Timer(self.settings.budgets.answer + GRACE, line.shutdown, (socket.SHUT_RDWR,))
            hung_up.start()
            try:
                yield
            finally:
                hung_up.cancel()
                hung_up.join()

    def _execute(self, connection: psycopg.Connection[dict[str, Any]], statement: Sql) -> list[dict[str, Any]]:
        values = {name: self._value(value) for name, value in statement.values.items()}
        # prepare=True parses on the server, which refuses several statements in one. A literal % is left alone
        # only when there are no values at all.
        cursor = connection.execute(statement.statement.encode(), values or None, prepare=True)
        return list(cursor) if cursor.description else []

    def _value(self, value: Any) -> Any:
        filled = self._expanded(value)
        return Jsonb(filled) if isinstance(filled, dict) else filled

    def _round_trip(self, command: RoundTrip) -> Reply:
        """LISTEN and NOTIFY on two connections; a transaction pooler accepts both and delivers nothing."""
        with self.connect() as listener, self.connect() as sender:
            try:
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
            "milliseconds": milliseconds if heard else None,
            "mode": "session pooler" if "pooler" in host else "direct",
            "address": host_of(self.settings.database.url),
        }
        return Reply((row,))

    def _log_in(self, command: Login) -> Reply:
        try:
            self._opened(command.variable).close()
        except ServiceError as error:
            if REFUSED not in str(error):
                raise
            return Reply(({"variable": command.variable, "accepted": False},))
        if command.variable == INCOMING:
            self._password = INCOMING
        return Reply(({"variable": command.variable, "accepted": True},))

    # --- HTTP ----------------------------------------------------------------------------------------------------

    def _request(self, command: Http) -> Reply:
        service = self.settings.service(command.service)
        client = self._client(command.service, service)
        body = self._expanded(command.json)
        try:
            request = client.build_request(
                command.method,
                command.target,
                json=body if command.json is not None else None,
                headers={k: self._expanded(v) for k, v in command.headers.items()},
            )
            answer = client.send(request, stream=True)
            with contextlib.closing(answer):
                if _kind(answer) in STREAMS:
                    return self._streamed(answer)
                answer.read()
        except NOT_SENT as error:
            raise ServiceError(
                f"{command.service} {service.url}: cannot connect: {self._redact.text(_words(error))}"
            ) from None
        except httpx.HTTPError as error:
            raise ServiceError(
                f"{command.service} {service.url}: no answer: {self._redact.text(_words(error))}", sent=True
            ) from None
        return _answer(answer, self._redact.text(answer.text), command.pick)

    def _streamed(self, answer: httpx.Response) -> Reply:
        """What a stream without an end says, one row a line: until it is quiet, or as long as an answer may take."""
        until, lines = time.monotonic() + self.settings.budgets.answer, b""
        answer.request.extensions["timeout"]["read"] = QUIET  # looked at anew before each piece
        with contextlib.suppress(httpx.ReadTimeout):
            for piece in answer.iter_bytes():
                lines += piece
                if time.monotonic() > until:
                    break
        whole = self._redact.text(lines.decode(errors="replace")).splitlines(keepends=True)
        return _answer_of_lines(answer, [line for line in whole if line.endswith("\n")])

    def _client(self, name: str, service: Service) -> httpx.Client:
        if name not in self._http:
            self._http[name] = httpx.Client(
                base_url=service.url,
                headers={"Authorization": value} if (value := self._credential(service)) else {},
                timeout=self.settings.budgets.answer,
                trust_env=False,
            )
        return self._http[name]

    def _credential(self, service: Service) -> str | None:
        if service.token is None:
            return None
        # Tokens are often pasted with the scheme in front.
        token = re.sub(r"^(Bearer|FlyV1)\s+", "", self.settings.variable(service.token))
        if service.scheme == "Basic":
            return "Basic " + base64.b64encode(f"x:{token}".encode()).decode()
        return f"{service.scheme} {token}"

    def _expanded(self, value: Any) -> Any:
        """``value`` with every ``$NAME`` of the profile's variables filled in from the environment."""
        if isinstance(value, str):
            known = self.settings.variables
            return VARIABLE.sub(lambda m: self.settings.variable(m[1]) if m[1] in known else m[0], value)
        if isinstance(value, dict):
            return {k: self._expanded(v) for k, v in value.items()}
        return [self._expanded(v) for v in value] if isinstance(value, list) else value

    # --- shell ---------------------------------------------------------------------------------------------------

    def _shell(self, command: Shell) -> Reply:
        """Run the line in a process group of its own, which is ended as a whole with the line or at the time limit.

        Its output goes to files: a pipe would stay open as long as anything it left behind.
        """
        limit = self.settings.budgets.build
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(
                    ["sh", "-euc", command.line],
                    cwd=command.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )
            except OSError as error:
                return Reply(status=126, error=f"cannot run in {command.folder}: {error.strerror}")
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                last = self._written(errors).strip() or self._written(output).strip() or "no output"
                words = f"shell: {command.line.splitlines()[0]!r}: no end within {limit:g} s: {last[-LAST:]}"
                raise ServiceError(words, sent=True) from None
            finally:
                _end_group(process.pid)
                process.wait()
            return _shell_reply(code, self._written(output), self._written(errors))

    def _written(self, file: IO[bytes]) -> str:
        file.seek(0)
        return self._redact.text(file.read().decode(errors="replace"))


def _shell_reply(code: int, output: str, errors: str) -> Reply:
    parsed: Any = None
    with contextlib.suppress(ValueError):
        parsed = json.loads(output)
    structured = isinstance(parsed, dict | list)
    # What is dropped from the rows must not come in as text.
    kept = ((drop_text(parsed) if structured else output) + errors)[-OUTPUT:]
    if code == 0:
        return Reply(_rows(parsed, None) if structured else (), code, text=kept)
    last = (errors.strip() or kept.strip() or "no output")[-LAST:]
    return Reply((), code, f"exit {code}: {last}", kept)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _answer(answer: httpx.Response, text: str, pick: str | None) -> Reply:
    try:
        body: Any = json.loads(text) if text else None
    except ValueError:
        body = text
    headers = {k.lower().replace("-", "_"): v for k, v in answer.headers.items() if k.lower() in KEPT_HEADERS}
    rows = _rows(body, pick) if not isinstance(body, str) else ()
    if headers:
        rows = rows or ({},)
        rows = ({**rows[0], **headers}, *rows[1:])
    error = None
    if not answer.is_success:
        error = f"HTTP {answer.status_code} {answer.reason_phrase}: {drop_text(body)}"[:LAST]
    elif pick is not None and _picked(body, pick) is None:
        error = f"the answer has no {pick!r}: {drop_text(body)}"[:LAST]
    return Reply(rows, answer.status_code, error, text[:OUTPUT] if isinstance(body, str) else "")


def _answer_of_lines(answer: httpx.Response, lines: list[str]) -> Reply:
    """One row a line; lines that hold no JSON object are passed over."""
    rows: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            rows += [found] if isinstance(found, dict) else []
    error = None if answer.is_success else f"HTTP {answer.status_code} {answer.reason_phrase}"
    return Reply(tuple(rows), answer.status_code, error)


def _kind(answer: httpx.Response) -> str:
    return str(answer.headers.get("content-type", "")).partition(";")[0].strip().lower()


def _parts(command: Command) -> Sequence[Command]:
    """The statements and requests a command is made of."""
    match command:
        case Trial():
            return command.statements
        case Series():
            return command.commands
    return (command,)


KEPT_HEADERS = {"docker-content-digest", "x-ratelimit-limit", "x-ratelimit-remaining"}


def _rows(body: Any, pick: str | None) -> tuple[dict[str, Any], ...]:
    found = _picked(body, pick) if pick else body
    items = found if isinstance(found, list) else [] if found is None else [found]
    return tuple(item if isinstance(item, dict) else {"value": item} for item in items)


def _picked(body: Any, pick: str) -> Any:
    """What stands at a dotted path inside an object; None if nothing does."""
    for key in pick.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _authorization(service: Service) -> str:
    if service.token is None:
        return ""
    if service.scheme == "Basic":
        return f"Basic $(printf %s x:${service.token} | base64 -w0)"
    return f"{service.scheme} ${service.token}"


def _plain(value: Any) -> Any:
    """A value as JSON knows it: numerics as floats, times in UTC as ISO 8601, everything else as text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, bool | int | None) else _plain_scalar(value)


def _plain_scalar(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="replace").decode()  # half a surrogate pair is no text anywhere else
        case float() | Decimal():
            return float(value) if math.isfinite(value) else str(value)
        case datetime():
            return (value.astimezone(UTC) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.hex()
    return str(value)
