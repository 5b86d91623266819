"""Define commands and replies as frozen values.

A command says what to send and can be shown, recorded and sent; making a command sends nothing. In a path, a shell line
or a JSON text, ``{fly.app}`` stands for a setting of the profile; in SQL, ``%(name)s`` stands for a bound value.
``$NAME`` stands for an environment variable that holds a secret: the variable's name is shown, never its value.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import asdict, dataclass, field, replace
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from runbook_lib.commands.sql_text import PLACE, control, literal, notifies, statements
from runbook_lib.errors import ConfigError, RecordError, StepRefused, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


NAME = re.compile(r"(?<!\$)\{([a-z][a-z_]*(?:\.[a-z_]+)*)\}")  # ${name} belongs to the shell and is left alone
VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")
LINE = 100  # characters of a JSON body that is shown on one line
FOR_NOW = (409, 412, 429)  # HTTP: a lease is held, something is under way, too many requests
BROKEN = 500  # HTTP statuses from here up: the service is in trouble
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Replied(str):
    """A service's text inside a command. Nothing in the text is replaced.

    This text is no template: ``$NAME`` and ``{name}`` in it stay as they are.
    """

    __slots__ = ()


def _replied(value: Any) -> Any:
    if isinstance(value, str):
        return Replied(value)
    if isinstance(value, dict):
        return {key: _replied(inner) for key, inner in value.items()}
    return [_replied(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Reply:
    """The reply to a command as plain JSON values, so that a reply is still the same when it is read from a record.

    ``rows`` holds one dict per row; numerics are floats, times ISO 8601 in UTC, UUIDs text. ``status`` is the HTTP
    status or the exit code, None for SQL. ``error`` holds the service's words if it refused. ``at`` is the moment
    half-way between sending and the answer, in epoch seconds of this machine; ``seconds`` is the time between the two.
    ``again`` is the number of seconds after which a service that refused for now wants to be asked again.
    """

    rows: tuple[dict[str, Any], ...] = ()
    status: int | None = None
    error: str | None = None
    text: str = ""
    at: float = 0.0
    seconds: float = 0.0
    again: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple(_replied(row) for row in self.rows))

    def value(self, column: str | None = None) -> Any:
        """Return one value from the first row of a command's reply.

        The value is the one in ``column``, or in the row's only column. Return None if there is no row.
        """
        if not self.rows:
            return None
        row = self.rows[0]
        if column is None:
            return next(iter(row.values()), None)
        if column not in row:
            raise ConfigError(f"the reply has no column {column!r}: {nearest(column, row)}")
        return row[column]

    def column(self, name: str) -> list[Any]:
        """Return the value in column ``name`` of every row of a command's reply.

        A row without the column gives None.
        """
        return [row.get(name) for row in self.rows]

    @property
    def refused_for_now(self) -> bool:
        """Return whether the service refused the command for now only, for example because of a rate limit.

        The service did nothing, and a later try may succeed.
        """
        return self.status in FOR_NOW

    @property
    def in_trouble(self) -> bool:
        """Return whether the service failed: it answered the command with a status of 500 or above.

        The command may have taken effect.
        """
        return self.error is not None and self.status is not None and self.status >= BROKEN

    def facts(self) -> dict[str, Any]:
        """Return the reply as the plain values that the ledger keeps."""
        return {
            "rows": list(self.rows),
            "status": self.status,
            "error": self.error,
            "text": self.text,
            "at": self.at,
            "seconds": round(self.seconds, 4),
        }

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Reply:
        return cls(**{**facts, "rows": tuple(facts["rows"])})


@dataclass(frozen=True)
class Sql:
    """A command of one SQL statement with bound values."""

    statement: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def filled(self, names: Callable[[str], str]) -> Sql:
        return replace(self, values={k: fill(v, names) for k, v in self.values.items()})

    def text(self) -> str:
        """Return the SQL command as text for psql, with its values in place of each ``%(name)s``."""
        if not self.values:
            return f"{self.statement};"
        written = PLACE.sub(lambda m: literal(self.values[m[1]]) if m[1] else "%", self.statement)
        return f"{written};"

    def refuse_control(self, *, changes: bool = False) -> None:
        """Raise `StepRefused` if a SQL command has several statements, transaction control, NOTIFY, COPY, CALL or DO.

        If ``changes``, the statement may call pg_notify: the message then leaves with the commit.
        """
        word = control(self.statement) or ("pg_notify(" if notifies(self.statement) and not changes else None)
        if word:
            raise StepRefused(f"{word!r} is refused here: a check only looks, a trial is rolled back")
        if (number := len(statements(self.statement))) != 1:
            raise StepRefused(f"expected one statement, found {number}: write one sql(...) each")


@dataclass(frozen=True)
class Trial:
    """A command of SQL statements in one transaction that is always rolled back.

    The last statement gives the reply.
    """

    statements: tuple[Sql, ...]

    def filled(self, names: Callable[[str], str]) -> Trial:
        return Trial(tuple(s.filled(names) for s in self.statements))

    def text(self) -> str:
        return "\n".join(["begin;", *(s.text() for s in self.statements), "rollback;"])


@dataclass(frozen=True)
class Http:
    """A command of one HTTP request to a service of the profile.

    ``pick`` is the dotted path of a list inside the answer's JSON: the items of the list become the rows. ``reads``
    marks a request that changes nothing although its method is not GET.
    """

    service: str
    method: str
    path: str
    json: Any = None
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    pick: str | None = None
    reads: bool = False

    @property
    def read_only(self) -> bool:
        return self.reads or self.method in ("GET", "HEAD")

    @property
    def target(self) -> str:
        """Return the HTTP command's path with its query string, in which true and false are written as in JSON."""
        words = {k: str(v).lower() if isinstance(v, bool) else v for k, v in self.query.items()}
        return self.path + (f"?{urlencode(words, doseq=True)}" if words else "")

    def filled(self, names: Callable[[str], str]) -> Http:
        return replace(
            self,
            path=NAME.sub(lambda m: quote(names(m[1]), safe=""), self.path),
            json=fill(self.json, names),
            query=fill(self.query, names),
            headers=fill(self.headers, names),
        )

    def text(self, url: str = "", authorization: str = "") -> str:
        """Return the HTTP command as a command line for curl.

        ``authorization`` holds a variable's name in place of the secret.
        """
        # curl -X HEAD waits for a body that never comes.
        verb = "-I" if self.method == "HEAD" else f"-X {self.method}"
        lines = [f"curl -sS {verb} {_quoted(url + self.target)}"]
        if authorization and not any(name.lower() == "authorization" for name in self.headers):
            lines.append(f'-H "Authorization: {authorization}"')
        lines += [f'-H "{_expandable(f"{name}: {value}", quotes=True)}"' for name, value in self.headers.items()]
        if self.json is None:
            return " \\\n  ".join(lines)
        # An unquoted here-document: the shell fills in $NAME, as we do.
        line = json.dumps(self.json)
        body = _expandable(line if len(line) <= LINE else json.dumps(self.json, indent=1))
        return " \\\n  ".join([*lines, "--json @- <<JSON"]) + f"\n{body}\nJSON"


@dataclass(frozen=True)
class Shell:
    """A command of one shell line, which ``sh -eu`` runs in the platform's repository."""

    line: str
    reads: bool = False
    folder: str = "{repository}"

    @property
    def read_only(self) -> bool:
        return self.reads

    def filled(self, names: Callable[[str], str]) -> Shell:
        return replace(self, line=fill(self.line, lambda n: shlex.quote(names(n))), folder=fill(self.folder, names))

    def text(self) -> str:
        return self.line


@dataclass(frozen=True)
class RoundTrip:
    """A command that sends a NOTIFY on one connection and waits for it on another. Commands reach a runner in this way.

    A lock that one of them takes and the other is refused proves that one operator at a time can write. The reply has
    one row with the columns delivered, lock (one holder or shared), milliseconds, mode (direct or session pooler) and
    address.
    """

    channel: str
    within: float = 3.0  # seconds

    def filled(self, names: Callable[[str], str]) -> RoundTrip:
        return replace(self, channel=fill(self.channel, names))

    def text(self) -> str:
        notify = f"select pg_notify({literal(self.channel)}, 'probe');"
        name = self.channel.replace('"', '""')
        lock = f"select pg_try_advisory_lock(hashtextextended({literal('launch-runbook trial …')}, 0));"
        return f'listen "{name}";\n{lock}\n-- in a second session, which is refused the lock:\n{notify}\n{lock}'


@dataclass(frozen=True)
class Login:
    """A command that logs in to the database with the password in the environment variable ``variable``.

    The reply has one row: the variable's name, and whether the password was accepted.
    """

    variable: str
    url: str = "{database.url}"

    def filled(self, names: Callable[[str], str]) -> Login:
        return replace(self, url=fill(self.url, names))

    def text(self) -> str:
        return f'PGPASSWORD="${self.variable}" psql {shlex.quote(self.url)} -c "select current_user"'


@dataclass(frozen=True)
class Series:
    """A command made of several commands, such as one for each machine. They are sent in order until a service refuses
    one.

    The rows of all replies make one reply. An empty series sends nothing.
    """

    commands: tuple[Sql | Http, ...] = ()

    def filled(self, names: Callable[[str], str]) -> Series:
        return Series(tuple(command.filled(names) for command in self.commands))

    def text(self) -> str:
        return "\n".join(command.text() for command in self.commands) or "# nothing to send"


@dataclass(frozen=True)
class Subscribe:
    """A command that tries subscriptions on a service's WebSocket.

    The reply has a row for each subscription, which says whether the service accepted the subscription.
    """

    service: str
    subscriptions: tuple[Mapping[str, Any], ...]
    within: float = 5.0  # seconds

    def filled(self, names: Callable[[str], str]) -> Subscribe:
        return replace(
            self, subscriptions=tuple(fill(dict(subscription), names) for subscription in self.subscriptions)
        )

    def text(self) -> str:
        frames = (
            json.dumps({"method": "subscribe", "subscription": dict(subscription)})
            for subscription in self.subscriptions
        )
        return "\n".join([f"# on the WebSocket of {self.service}, path /ws:", *frames])


Command = Subscribe | Sql | Trial | Http | Shell | RoundTrip | Login | Series


def sql(statement: str, **values: Any) -> Sql:
    """Make the command for one SQL statement. Each ``%(name)s`` in the statement stands for the argument ``name``.

    A literal ``%`` is written as it is, or as ``%%`` if the statement binds values. Raise `ConfigError` if a name in
    the statement has no value, or a value has no name in the statement.
    """
    bound = {m[1]: m[0] for m in PLACE.finditer(statement)}
    if values and "%" in bound.values():
        raise ConfigError("a statement that binds values doubles every other %: write like 'smoke_test_%%'")
    unknown = [name for name in bound if name and name not in values]
    if unknown:
        raise ConfigError(f"the statement binds %({unknown[0]})s, which has no value: {nearest(unknown[0], values)}")
    unused = [name for name in values if name not in bound]
    if unused:
        raise ConfigError(f"the statement never uses the value {unused[0]!r}: write %({unused[0]})s where it belongs")
    return Sql(dedent(statement).strip().rstrip("; \n"), values)


def trial(*statements: Sql) -> Trial:
    """Make a trial, a command of SQL statements in one transaction that is always rolled back."""
    if not statements:
        raise ConfigError("a trial needs at least one statement")
    return Trial(statements)


def series(*commands: Sql | Http) -> Series:
    """Make a series: several commands that are sent one after another, and whose rows come in one reply."""
    return Series(commands)


def http(service: str, request: str, **options: Any) -> Http:
    """Make the command for an HTTP request: ``http("fly", "GET /v1/apps/{fly.app}/machines/{id}", id="148e")``.

    A keyword argument that is a field of `Http` sets that field; any other replaces its ``{name}`` in the path.
    """
    method, _, path = request.partition(" ")
    if not path.startswith("/") or method not in METHODS:
        raise ConfigError(f"an http command reads 'METHOD /path', not {request!r}")
    values = {name: options.pop(name) for name in list(options) if name not in Http.__dataclass_fields__}
    return Http(service, method, _placed(path, values, lambda v: quote(v, safe="")), **options)


def shell(line: str, *, reads: bool = False, folder: str = "{repository}", **values: Any) -> Shell:
    """Make the command for a shell line. Each ``{name}`` in it is replaced by an argument, quoted for the shell."""
    return Shell(_placed(dedent(line).strip(), values, shlex.quote), reads, folder)


def _placed(text: str, values: Mapping[str, Any], quoted: Callable[[str], str]) -> str:
    """Return ``text`` with each ``{name}`` replaced by its value in ``values``.

    Names of profile settings are left for `fill`.
    """
    for name in values:
        if f"{{{name}}}" not in text:
            raise ConfigError(f"{name!r} has no place in {text!r}: {nearest(name, NAME.findall(text) or ['no name'])}")
    return NAME.sub(lambda m: quoted(str(values[m[1]])) if m[1] in values else m[0], text)


def round_trip(channel: str, within: float = 3.0) -> RoundTrip:
    """Make a command that sends a NOTIFY on ``channel`` and waits at most ``within`` seconds for it to arrive."""
    return RoundTrip(channel, within)


def subscribe(service: str, *subscriptions: Mapping[str, Any], within: float = 5.0) -> Subscribe:
    """Make a command that tries subscriptions, such as ``{"type": "allMids"}``, on a service's WebSocket."""
    if not subscriptions:
        raise ConfigError("name at least one subscription")
    return Subscribe(service, subscriptions, within)


def fill(value: Any, names: Callable[[str], str]) -> Any:
    """Replace each ``{dotted.name}`` in a command by the profile's setting. Leave text that a service sent
    unchanged.
    """
    if isinstance(value, Replied):
        return value
    if isinstance(value, str):
        return NAME.sub(lambda m: names(m[1]), value)
    if isinstance(value, dict):
        return {k: fill(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [fill(v, names) for v in value]
    return value


def _quoted(url: str) -> str:
    return "'" + url.replace("'", "'\\''") + "'"


def _expandable(text: str, *, quotes: bool = False) -> str:
    """Return ``text`` escaped for the shell, so that the shell replaces each $NAME and nothing else."""
    special = r"""[\\`"]""" if quotes else r"[\\`]"
    return re.sub(special + r"|\$(?![A-Z])", lambda m: "\\" + m[0], text)


def frozen(command: Command) -> dict[str, Any]:
    """Return a command as plain values, which the ledger can hold.

    A later process can then still carry out the command as an undo.
    """
    if isinstance(command, Trial):
        return {"kind": "Trial", "statements": [asdict(s) for s in command.statements]}
    if isinstance(command, Series):
        return {"kind": "Series", "commands": [frozen(part) for part in command.commands]}
    return {"kind": type(command).__name__, **asdict(command)}


def thawed(facts: Mapping[str, Any]) -> Command:
    """Return the command that `frozen` has turned into plain values."""
    kinds = {kind.__name__: kind for kind in (Sql, Trial, Http, Shell, RoundTrip, Login, Series, Subscribe)}
    if facts.get("kind") not in kinds:
        raise RecordError(f"the record holds a command of an unknown kind: {facts.get('kind')!r}")
    values = {k: v for k, v in facts.items() if k != "kind"}
    if facts["kind"] == "Trial":
        return Trial(tuple(Sql(**statement) for statement in values["statements"]))
    if facts["kind"] == "Series":
        return Series(tuple(thawed(part) for part in values["commands"]))  # type: ignore[misc]
    if facts["kind"] == "Subscribe":
        values["subscriptions"] = tuple(values["subscriptions"])
    made: Command = kinds[facts["kind"]](**values)
    return made
