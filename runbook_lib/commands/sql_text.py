"""Handle SQL as text: write bound values into it, and find statements that would leave their transaction.

Nothing here decides what is safe: checks run in a transaction that Postgres itself keeps read-only.
"""

from __future__ import annotations

import json
import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


PLACE = re.compile(r"%(?:\((\w+)\)[sbt]|%)?")  # %(name)s, %%, or a % that stands alone
# Comments, texts and quoted names, which Postgres reads as one piece. A line comment ends at a carriage return too.
PIECE = re.compile(
    r"""(?P<comment>--[^\r\n]*|/\*)
    |(?P<text>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
    |(?P<name>"(?:[^"]|"")*")""",
    re.DOTALL | re.VERBOSE,
)
EDGE = re.compile(r"/\*|\*/")  # start or end of a comment: comments nest
# Transaction control would escape the transaction a check or trial runs in; NOTIFY is delivered even from a
# read-only one (tried: psycopg 3.3.9).
CONTROL = re.compile(
    r"^(begin|start|commit|end|rollback|abort|savepoint|release|prepare\s+transaction"
    r"|set\s+(local\s+)?(transaction|(default_)?transaction_\w+)|set\s+session|notify|listen|unlisten|copy|call|do)\b",
    re.IGNORECASE,
)
# This is searched inside texts too: query_to_xml('select pg_notify(...)') would run the call.
NOTIFY = re.compile(r'\bpg_notify"?\s*\(', re.IGNORECASE)


def statements(text: str) -> list[str]:
    """Return the statements in a SQL text. Leave out empty ones.

    Comments, texts and quoted names are replaced by blanks.
    """
    pieces = (piece.strip() for piece in _without(text, "comment", "text", "name").split(";"))
    return [piece for piece in pieces if piece]


def control(text: str) -> str | None:
    """Return the words with which a SQL text would leave its transaction, such as COMMIT. Return None if there are
    none.

    They are transaction control, NOTIFY, COPY, CALL and DO.
    """
    starts = (CONTROL.match(statement.lstrip("( \t\r\n")) for statement in statements(text))
    match = next(filter(None, starts), None)
    return match[0].strip() if match else None


def notifies(text: str) -> bool:
    """Return whether a SQL text calls ``pg_notify``, whose message is sent even from a read-only transaction."""
    return NOTIFY.search(_without(text, "comment")) is not None


def literal(value: Any) -> str:
    """Return the SQL text that can replace the bound ``value`` in a statement."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, list | tuple):
        return _array(list(value))
    if isinstance(value, dict):
        return f"{_text(json.dumps(value))}::jsonb"
    return f"'\\x{value.hex()}'" if isinstance(value, bytes) else _with_variables(str(value))


def _number(value: float) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return f"'{value}'::float8"
    # In parentheses: 1 -%(x)s must not become a comment, and -32768::int2 is out of range.
    return f"({value})" if str(value).startswith("-") else str(value)


def _array(values: list[Any]) -> str:
    """Return a list as SQL text of the type that binding would give it.

    Numbers make an array. Any other list makes a text, whose type the server infers.
    """
    if values and all(isinstance(v, int | float) for v in values):
        return f"array[{', '.join(map(literal, values))}]"
    return _text(_items(values))


def _items(values: Sequence[Any]) -> str:
    return "{" + ", ".join(_items(v) if isinstance(v, list | tuple) else _item(v) for v in values) + "}"


def _item(value: Any) -> str:
    if value is None:
        return "null"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _with_variables(value: str) -> str:
    """Return a text as SQL with a psql variable in place of each $NAME, as ``psql -v NAME="$NAME"`` sets it."""
    pieces = re.split(r"\$([A-Z][A-Z0-9_]*)", value)
    if len(pieces) == 1:
        return _text(value)
    written = [f":'{piece}'" if place % 2 else _text(piece) for place, piece in enumerate(pieces) if piece]
    return written[0] if len(written) == 1 else f"({' || '.join(written)})"


@lru_cache(256)
def _without(statement: str, *kinds: str) -> str:
    """Return a SQL statement with all pieces of these ``kinds`` blanked: "comment", "text" or "name" (a quoted
    name).
    """
    kept: list[str] = []
    at = 0
    while match := PIECE.search(statement, at):
        kind = str(match.lastgroup) if match.lastgroup != "tag" else "text"
        end = _comment_end(statement, match.end()) if match[0] == "/*" else match.end()
        kept += [statement[at : match.start()], " " if kind in kinds else statement[match.start() : end]]
        at = end
    return "".join([*kept, statement[at:]])


def _comment_end(statement: str, at: int) -> int:
    depth = 1
    for edge in EDGE.finditer(statement, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)
