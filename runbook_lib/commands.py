"""Commands and replies as frozen values.

A command says what to send and can be shown, recorded and sent; making one sends nothing.
``{fly.app}`` in a path, a shell line or a JSON text is a name of the profile, ``%(name)s`` in SQL a bound
value, and ``$NAME`` an environment variable that holds a secret: it is shown as its name, never as its value.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from runbook_lib.errors import ConfigError, StepRefused, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Command",
    "Http",
    "Reply",
    "RoundTrip",
    "Shell",
    "Sql",
    "Trial",
    "frozen",
    "http",
    "round_trip",
    "shell",
    "sql",
    "thawed",
    "trial",
]

NAME = re.compile(r"\{([a-z][a-z_]*(?:\.[a-z_]+)*)\}")
VARIABLE = re.compile(r"\$([A-Z][A-Z0-9_]*)")
COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
# Transaction control would escape the transaction a check or trial runs in; NOTIFY is delivered even from a
# read-only one (tried: psycopg 3.3.9).
CONTROL = re.compile(
    r"^(begin|start|commit|end|rollback|abort|savepoint|release|prepare\s+transaction|set\s+transaction"
    r"|set\s+session|notify|listen|unlisten|copy|call|do)\b",
    re.IGNORECASE,
)
NOTIFY = re.compile(r"\bpg_notify\s*\(", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """What came back, as JSON-plain values, so that a recorded reply equals a live one.

    ``rows``: one dict per row; numerics are floats, times ISO 8601 in UTC, UUIDs text.
    ``status``: HTTP status or exit code, None for SQL. ``error``: the service's words when it refused.
    ``at``: epoch seconds (UTC, this machine) half-way between sending and the answer; ``seconds``: between the two.
    """

    rows: tuple[dict[str, Any], ...] = ()
    status: int | None = None
    error: str | None = None
    text: str = ""
    at: float = 0.0
    seconds: float = 0.0

    def value(self, column: str | None = None) -> Any:
        """The first row's ``column``, or its only column; None when there is no row."""
        if not self.rows:
            return None
        row = self.rows[0]
        if column is None:
            return next(iter(row.values()), None)
        if column not in row:
            raise ConfigError(f"the reply has no column {column!r}: {nearest(column, row)}")
        return row[column]

    def column(self, name: str) -> list[Any]:
        """``name`` of every row, null where a row lacks it."""
        return [row.get(name) for row in self.rows]

    def facts(self) -> dict[str, Any]:
        """The reply as the ledger keeps it."""
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
    """One SQL statement with bound values."""

    statement: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def filled(self, names: Callable[[str], str]) -> Sql:
        return replace(self, values={k: fill(v, names) for k, v in self.values.items()})

    def text(self) -> str:
        """The statement with its values written in, as psql takes it."""
        if not self.values:
            return f"{self.statement};"
        written = re.sub(
            r"%\((\w+)\)s|%%",
            lambda m: _literal(self.values[m[1]]) if m[1] else "%",
            self.statement,
        )
        return f"{written};"

    def refuse_control(self) -> None:
        """Raise `StepRefused` on transaction control, NOTIFY, COPY, CALL and DO."""
        bare = COMMENT.sub(" ", self.statement).strip()
        found = CONTROL.match(bare) or NOTIFY.search(bare)
        if found:
            raise StepRefused(f"{found[0].strip()!r} is refused here: a check only looks, a trial is rolled back")


@dataclass(frozen=True)
class Trial:
    """Statements in one transaction that is always rolled back; its reply is the last statement's."""

    statements: tuple[Sql, ...]

    def filled(self, names: Callable[[str], str]) -> Trial:
        return Trial(tuple(s.filled(names) for s in self.statements))

    def text(self) -> str:
        return "\n".join(["begin;", *(s.text() for s in self.statements), "rollback;"])


@dataclass(frozen=True)
class Http:
    """One HTTP request to a service of the profile.

    ``pick`` is the dotted path of the list inside the JSON body whose items become the rows. ``reads`` marks a request
    that changes nothing although its method is not GET.
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
        """Path and query."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    def filled(self, names: Callable[[str], str]) -> Http:
        return replace(
            self,
            path=NAME.sub(lambda m: quote(names(m[1]), safe=""), self.path),
            json=fill(self.json, names),
            query=fill(self.query, names),
            headers=fill(self.headers, names),
        )

    def text(self, url: str = "", authorization: str = "") -> str:
        """The request as a curl command; ``authorization`` is shown with variables, unexpanded."""
        lines = [f"curl -sS -X {self.method} {_quoted(url + self.target)}"]
        shown = {"Authorization": authorization, **self.headers} if authorization else self.headers
        lines += [f'-H "{name}: {value}"' for name, value in shown.items()]
        if self.json is None:
            return " \\\n  ".join(lines)
        # An unquoted here-document: the shell fills in $NAME, as we do.
        return " \\\n  ".join([*lines, "--json @- <<JSON"]) + f"\n{json.dumps(self.json, indent=1)}\nJSON"


@dataclass(frozen=True)
class Shell:
    """One shell line, run by ``sh -eu`` in the platform's repository."""

    line: str
    reads: bool = False
    folder: str = "{repository}"

    @property
    def read_only(self) -> bool:
        return self.reads

    def filled(self, names: Callable[[str], str]) -> Shell:
        return replace(self, line=fill(self.line, names), folder=fill(self.folder, names))

    def text(self) -> str:
        return self.line


@dataclass(frozen=True)
class RoundTrip:
    """LISTEN on one connection, NOTIFY on another, and wait: proof that the command channel can work.

    The reply has one row: delivered, milliseconds, mode (direct or session), host, port.
    """

    channel: str
    within: float = 3.0  # seconds

    def filled(self, names: Callable[[str], str]) -> RoundTrip:
        return replace(self, channel=fill(self.channel, names))

    def text(self) -> str:
        notify = f"select pg_notify({_literal(self.channel)}, 'probe');"
        return f'listen "{self.channel}";\n-- in a second session:\n{notify}'


Command = Sql | Trial | Http | Shell | RoundTrip


def sql(statement: str, **values: Any) -> Sql:
    """One SQL statement; ``%(name)s`` binds a keyword."""
    return Sql(dedent(statement).strip().rstrip(";"), values)


def trial(*statements: Sql) -> Trial:
    """Statements that are tried in one transaction and always rolled back."""
    if not statements:
        raise ConfigError("a trial needs at least one statement")
    return Trial(statements)


def http(service: str, request: str, **options: Any) -> Http:
    """An HTTP request such as ``http("fly", "GET /v1/apps/{fly.app}/secrets", pick="secrets")``."""
    method, _, path = request.partition(" ")
    if not path.startswith("/") or method != method.upper():
        raise ConfigError(f"an http command reads 'METHOD /path', not {request!r}")
    return Http(service, method, path, **options)


def shell(line: str, *, reads: bool = False, folder: str = "{repository}") -> Shell:
    """A shell line; lines of the text are joined as written."""
    return Shell(dedent(line).strip(), reads, folder)


def round_trip(channel: str, within: float = 3.0) -> RoundTrip:
    """A NOTIFY round trip on ``channel``, at most ``within`` seconds."""
    return RoundTrip(channel, within)


def fill(value: Any, names: Callable[[str], str]) -> Any:
    """Replace ``{dotted.name}`` in every text inside ``value``."""
    if isinstance(value, str):
        return NAME.sub(lambda m: names(m[1]), value)
    if isinstance(value, dict):
        return {k: fill(v, names) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [fill(v, names) for v in value]
    return value


def _literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"array[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return _literal(json.dumps(value))
    if VARIABLE.fullmatch(str(value)):
        return f":'{str(value)[1:]}'"
    return "'" + str(value).replace("'", "''") + "'"


def _quoted(url: str) -> str:
    return f'"{url}"' if "$" in url else f"'{url}'"


def frozen(command: Command) -> dict[str, Any]:
    """A command as the ledger keeps it, so that an owed undo outlives this process."""
    if isinstance(command, Trial):
        return {"kind": "Trial", "statements": [asdict(s) for s in command.statements]}
    return {"kind": type(command).__name__, **asdict(command)}


def thawed(facts: Mapping[str, Any]) -> Command:
    """The command that `frozen` kept."""
    kinds: dict[str, Any] = {"Sql": Sql, "Http": Http, "Shell": Shell, "RoundTrip": RoundTrip}
    values = {k: v for k, v in facts.items() if k != "kind"}
    if facts["kind"] == "Trial":
        return Trial(tuple(Sql(**one) for one in values["statements"]))
    made: Command = kinds[facts["kind"]](**values)
    return made
