"""Change one thing in a notebook's step, as somebody might by mistake. Each changed step is called a mutant."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.records import plan
from runbook_lib.runs.drills import sql_mutants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Evaluate = Callable[[ast.expr], Any]

LISTS = ("boot_lines", "scheduled", "production_variables", "one_of", "entries")  # their texts are names
EXPECTING = ("reply", "each", "entries", "never", "limits", "production_variables")  # their keywords are columns
OPTIONS = ("minimum", "within", "than", "name")  # keywords that are no columns
IDENTITY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|0x[0-9a-fA-F]{40}")
ANOTHER = {True: "0x" + "0" * 39 + "1", False: "00000000-0000-4000-8000-000000000001"}  # address, or id


@dataclass(frozen=True)
class Mutant:
    """A mutant, a step with one thing changed: the step's number, words for the change, and the cell's new source."""

    step: str
    change: str
    source: str


def of_step(source: str, number: str, evaluate: Evaluate) -> list[Mutant]:
    """Return the mutants of a cell's step. ``evaluate`` returns the value of an expression in the cell.

    An act is changed in what it expects only, because what it sends is proven by the checks after it.
    """
    [call] = plan.calls(source, number)
    text = _Text(source)
    changes = [*_expectations(call, text, evaluate)]
    if isinstance(call.func, ast.Attribute) and call.func.attr == "check":
        changes += [*_statements(call, text), *_identities(call, text, evaluate), *_budget(call, text)]
    seen: Counter[str] = Counter()
    made = []
    for change, changed in changes:
        seen[change] += 1
        again = f" ({seen[change]})" if seen[change] > 1 else ""
        if changed != source:
            made.append(Mutant(number, change + again, changed))
    return made


class _Text:
    """The source of a cell, in which the text of a syntax node can be replaced."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._bytes = source.encode()
        self._lines = [0]
        for line in self._bytes.splitlines(keepends=True):
            self._lines.append(self._lines[-1] + len(line))

    def span(self, node: ast.expr | ast.keyword) -> tuple[int, int]:
        end_line, end_column = node.end_lineno or 0, node.end_col_offset or 0
        return self._lines[node.lineno - 1] + node.col_offset, self._lines[end_line - 1] + end_column

    def of(self, node: ast.expr | ast.keyword) -> str:
        start, end = self.span(node)
        return self._bytes[start:end].decode()

    def replaced(self, node: ast.expr | ast.keyword, text: str) -> str:
        start, end = self.span(node)
        return (self._bytes[:start] + text.encode() + self._bytes[end:]).decode()

    def without(self, node: ast.expr | ast.keyword) -> str:
        """Return the cell's source without one argument and its comma."""
        start, end = self.span(node)
        before, after = self._bytes[:start].decode(), self._bytes[end:].decode()
        if follows := re.match(r"\s*,\s*", after):
            return before + after[follows.end() :]
        return re.sub(r",\s*$", "", before) + after


def _expectations(call: ast.Call, text: _Text, evaluate: Evaluate) -> Iterator[tuple[str, str]]:
    expect = next((keyword.value for keyword in call.keywords if keyword.arg == "expect"), None)
    if expect is None:
        return
    if isinstance(expect, ast.Tuple):
        for place, part in enumerate(expect.elts, 1):
            yield f"expectation {place} gone", text.replaced(part, "reply()")
    for node in ast.walk(expect):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
            yield f"without {_short(text.of(node.left))}", text.replaced(node, text.of(node.right))
            yield f"without {_short(text.of(node.right))}", text.replaced(node, text.of(node.left))
        elif isinstance(node, ast.Call):
            yield from _columns(node, text)
            yield from _names(node, text)
            yield from _bounds(node, text, evaluate)


def _columns(node: ast.Call, text: _Text) -> Iterator[tuple[str, str]]:
    """Yield mutants with an expected column dropped, or with its value widened to anything that is not null."""
    called = ast.unparse(node.func)
    columns = [keyword for keyword in node.keywords if keyword.arg not in (None, *OPTIONS)]
    for keyword in columns if called in EXPECTING else ():
        yield f"{called}: {keyword.arg} dropped", text.without(keyword)
        if called not in ("never", "limits", "production_variables") and text.of(keyword.value) != "not_null":
            yield f"{called}: {keyword.arg} widened", text.replaced(keyword.value, "not_null")
    if called == "value" and node.args and text.of(node.args[0]) != "not_null":
        yield "value widened", text.replaced(node.args[0], "not_null")
    if called in ("text", "matches") and node.args:
        yield f"{called} widened: {_short(text.of(node.args[0]))}", text.replaced(node.args[0], '""')


def _names(node: ast.Call, text: _Text) -> Iterator[tuple[str, str]]:
    """Yield mutants with a name in a list dropped or misspelt."""
    called = ast.unparse(node.func)
    listed = node.args[2:] if called == "entries" else node.args if called in LISTS else []
    for argument in listed:
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            if len(node.args) + len(node.keywords) > 1:
                yield f"{called}: {argument.value!r} dropped", text.without(argument)
            misspelt = re.sub(r"\w+", lambda match: f"{match[0]}x", argument.value, count=1)
            yield f"{called}: {argument.value!r} misspelt", text.replaced(argument, repr(misspelt))


def _bounds(node: ast.Call, text: _Text, evaluate: Evaluate) -> Iterator[tuple[str, str]]:
    """Yield mutants with a number made ten times larger or smaller, or with a bound reversed or removed."""
    called = ast.unparse(node.func)
    arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
    for argument in arguments:
        value = evaluate(argument)
        if isinstance(value, int | float) and not isinstance(value, bool) and value:
            yield (
                f"{called}: {_short(text.of(argument))} tenfold",
                text.replaced(
                    argument, repr(10 * value) if isinstance(argument, ast.Constant) else f"10 * ({text.of(argument)})"
                ),
            )
            if called in ("between", "at_least"):
                yield (
                    f"{called}: {_short(text.of(argument))} a tenth",
                    text.replaced(argument, f"0.1 * ({text.of(argument)})"),
                )
    if called == "between":
        low, high = node.args
        yield f"between: no lower end, up to {_short(text.of(high))}", text.replaced(low, "-1e12")
        yield f"between: no upper end, from {_short(text.of(low))}", text.replaced(high, "1e12")
    if called == "at_least":
        yield (
            f"at_least: {_short(text.of(node.args[0]))} turned",
            text.replaced(node, f"between(-1e12, {text.of(node.args[0])})"),
        )


def _statements(call: ast.Call, text: _Text) -> Iterator[tuple[str, str]]:
    """Yield mutants with one thing changed in a SQL statement of a check."""
    for node in ast.walk(call):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "sql" and isinstance(node.args[0], ast.Constant):
            statement = str(node.args[0].value)
            for change, changed in sql_mutants.mutants(statement):
                if changed == statement:
                    continue
                source = text.replaced(node.args[0], repr(changed))
                lost = [word for word in node.keywords if word.arg and f"%({word.arg})s" not in changed]
                yield f"sql {change}", _unbound(source, lost)


def _unbound(source: str, lost: list[ast.keyword]) -> str:
    """Return the source without the arguments of ``sql`` that the changed statement no longer uses."""
    for word in lost:
        tree = ast.parse(source)
        keyword = next(
            keyword
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "sql"
            for keyword in node.keywords
            if keyword.arg == word.arg and f"%({word.arg})s" not in ast.unparse(node.args[0])
        )
        source = _Text(source).without(keyword)
    return source


def _identities(call: ast.Call, text: _Text, evaluate: Evaluate) -> Iterator[tuple[str, str]]:
    """Yield mutants in which a check asks for another deployment, Skill, agent or wallet."""
    outer = [*call.args[2:], *(k.value for k in call.keywords if k.arg != "fix")]
    for node in outer:
        for part in _asked(node, evaluate):
            value = evaluate(part)
            yield f"another id: {_short(text.of(part))}", text.replaced(part, repr(ANOTHER[value.startswith("0x")]))


def _asked(node: ast.expr, evaluate: Evaluate) -> Iterator[ast.expr]:
    """Yield the expressions inside a node that evaluate to an id or an address, but no parts of such an expression."""
    value = evaluate(node) if isinstance(node, ast.Call | ast.Subscript | ast.Name | ast.BoolOp) else None
    if isinstance(value, str) and IDENTITY.fullmatch(value):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        inner = child.value if isinstance(child, ast.keyword) else child
        if isinstance(inner, ast.expr):
            yield from _asked(inner, evaluate)


def _budget(call: ast.Call, text: _Text) -> Iterator[tuple[str, str]]:
    for keyword in call.keywords:
        if keyword.arg == "within":
            yield "within removed", text.without(keyword)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= sql_mutants.SHOWN else words[: sql_mutants.SHOWN - 1] + "…"
