"""Change one thing in a SQL statement: drop a condition or a text, reverse a comparison, misspell a text, multiply a
number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = re.compile(
    r"""(?P<text>'(?:[^']|'')*')|(?P<place>%\(\w+\)s)|(?P<number>(?<![\w.])\d+(?:\.\d+)?(?![\w.]))|(?P<word>\w+)
    |(?P<operator>->>|->|\#>>|\#>|::|<>|<=|>=|=>|!~|~\*|[<>=~?@()\[\],.])""",
    re.VERBOSE,
)
TURNED = {"=": "<>", "<>": "=", "<": ">", ">": "<", "<=": ">", ">=": "<"}
BEGINS = ("where", "on")
ENDS = ("group", "order", "limit", "union", "returning", "left", "join", "cross", "where", "inner", "window")
UNITS = ("interval", "utc", "month", "day")  # texts that follow or are these say no name
SHOWN = 46  # characters of a condition in the name of a mutant


@dataclass(frozen=True)
class Token:
    """A piece of a SQL statement: its kind, text and position, and how many brackets enclose it."""

    kind: str
    text: str
    start: int
    end: int
    depth: int


def tokens(statement: str) -> list[Token]:
    """Split a SQL statement into its pieces. The ``depth`` of a bracket does not count the bracket itself."""
    depth, read = 0, []
    for match in TOKEN.finditer(statement):
        text = match[0] if match.lastgroup == "text" else match[0].lower()
        depth -= text in ")]"
        read.append(Token(str(match.lastgroup), text, match.start(), match.end(), depth))
        depth += text in "(["
    return read


def mutants(statement: str) -> Iterator[tuple[str, str]]:
    """Yield each changed statement with a name for the change."""
    read = tokens(statement)
    yield from _conditions(statement, read)
    for place, token in enumerate(read):
        if token.text in TURNED:
            around = _shown(statement[read[max(0, place - 3)].start : read[min(len(read) - 1, place + 1)].end])
            yield f"turned: {around}", _spliced(statement, token.start, token.end, TURNED[token.text])
        elif token.kind == "number" and float(token.text) and not _subscript(read, place):
            moved = str(10 * int(token.text)) if token.text.isdigit() else str(10 * float(token.text))
            before = statement[read[max(0, place - 2)].start : token.end]
            yield f"tenfold: {_shown(before)}", _spliced(statement, token.start, token.end, moved)
        elif token.kind == "text" and _is_name(read, place):
            yield f"misspelt: {token.text}", _spliced(statement, token.start, token.end, _misspelt(token.text))
    yield from _listed(statement, read)


def _conditions(statement: str, read: list[Token]) -> Iterator[tuple[str, str]]:
    """Yield the statement with one condition of a WHERE or ON dropped. A single condition becomes ``true``."""
    for place, token in enumerate(read):
        if token.kind == "word" and token.text in BEGINS:
            parts = _parts(read, place)
            for number, (start, end) in enumerate(parts):
                name = f"dropped: {_shown(statement[start:end])}"
                if len(parts) == 1:
                    yield name, _spliced(statement, start, end, "true")
                elif number:
                    yield name, _spliced(statement, parts[number - 1][1], end, "")
                else:
                    yield name, _spliced(statement, start, parts[1][0], "")


def _parts(read: list[Token], begin: int) -> list[tuple[int, int]]:
    """Return start and end of each condition after a WHERE or ON. The AND of a BETWEEN separates no conditions."""
    depth, betweens = read[begin].depth, 0
    parts: list[tuple[int, int]] = []
    current: list[Token] = []
    for token in read[begin + 1 :]:
        if token.depth < depth or (token.depth == depth and token.kind == "word" and token.text in ENDS):
            break
        if token.depth == depth and token.text == "and" and not betweens:
            parts.append((current[0].start, current[-1].end))
            current = []
            continue
        betweens += (token.text == "between") - (token.text == "and" and token.depth == depth)
        current.append(token)
    return [*parts, (current[0].start, current[-1].end)] if current else parts


def _listed(statement: str, read: list[Token]) -> Iterator[tuple[str, str]]:
    """Yield the statement with one text dropped from a list of texts."""
    for place, token in enumerate(read[:-1]):
        before, after = read[place - 1], read[place + 1]
        if token.kind == "text" and before.text in "([," and after.text in ")]," and _in_list(read, place):
            if after.text == ",":
                yield f"delisted: {token.text}", _spliced(statement, token.start, read[place + 2].start, "")
            elif before.text == ",":
                yield f"delisted: {token.text}", _spliced(statement, before.start, token.end, "")


def _in_list(read: list[Token], place: int) -> bool:
    """Return whether a text stands in a list, rather than among a function's arguments."""
    opens = max(at for at in range(place) if read[at].text in "([" and read[at].depth < read[place].depth)
    return opens > 0 and read[opens - 1].text in ("in", "array")


def _is_name(read: list[Token], place: int) -> bool:
    token, before = read[place], read[place - 1] if place else None
    empty = not re.search(r"\w", token.text)
    return not empty and token.text.strip("'").lower() not in UNITS and (before is None or before.text != "interval")


def _misspelt(text: str) -> str:
    """Misspell a quoted text: add an x to its first word."""
    return re.sub(r"\w+", lambda match: f"{match[0]}x", text, count=1)


def _subscript(read: list[Token], place: int) -> bool:
    return place > 0 and read[place - 1].text == "["


def _spliced(statement: str, start: int, end: int, text: str) -> str:
    return statement[:start] + text + statement[end:]


def _shown(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN else words[: SHOWN - 1] + "…"
