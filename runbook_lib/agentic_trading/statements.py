"""Find every SQL statement that this checkout sends to the platform's database, with its place in the checkout."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Rooms whose SQL reaches the platform. The rehearsal's SQL is that of the stand-ins, and is never adapted.
ROOMS = ("agentic_trading", "checklist", "console", "halt", "services", "steps")
SQL = re.compile(r"\s*\(?(select|with|insert into|update|delete from|explain)\s")  # prose begins with a capital
STEP = re.compile(r"""phase\.(?:check|act|confirm)\(\s*["']([0-9A-Z]+\.[0-9]+[a-z]+)["']""")


@dataclass(frozen=True)
class Statement:
    """One SQL statement: its text, its place, and its offset in the source of its cell or module.

    ``place`` is a step ("4.3b"), a notebook, or a module ("halt/runners.py").
    """

    text: str
    place: str
    offset: int


@dataclass(frozen=True)
class Source:
    """The source text of a module or a code cell, which may contain SQL statements.

    ``cell`` is the cell's index in its notebook.
    """

    path: Path
    text: str
    place: str
    cell: int | None = None

    def statements(self) -> Iterator[Statement]:
        """Yield the SQL statements among the string literals of a notebook cell or module."""
        for start, value in self.texts():
            if SQL.match(value):
                yield Statement(value, self.place, start)

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield each string literal of a cell or module, with its offset. Leave out literals that contain escapes.

        Some of these literals are SQL statements.
        """
        yield from _literals(self.text)


@lru_cache(maxsize=512)
def _literals(text: str) -> tuple[tuple[int, str], ...]:
    lines = _line_starts(text)
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            begin = lines[node.lineno - 1] + _characters(text, lines, node.lineno, node.col_offset)
            offset = text.find(node.value, begin) if node.value else -1
            if 0 <= offset - begin <= len('r"""'):
                found.append((offset, node.value))
    return tuple(found)


def sources(root: Path = ROOT) -> Iterator[Source]:
    """Yield every code cell and module of the checkout at ``root`` that may hold SQL for the platform's database."""
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        for index, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            if cell["cell_type"] == "code":
                text = _joined(cell["source"])
                step = STEP.search(text)
                yield Source(path, text, step[1] if step else path.stem, index)
    for room in ROOMS:
        folder = root / "runbook_lib" / room
        for path in sorted(folder.rglob("*.py")):
            yield Source(path, path.read_text(encoding="utf-8"), f"{room}/{path.relative_to(folder)}")


@lru_cache(maxsize=4)
def statements(root: Path = ROOT) -> list[Statement]:
    """Return the SQL statements in this checkout's notebooks and modules, in order."""
    return [statement for source in sources(root) for statement in source.statements()]


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)


def _line_starts(text: str) -> list[int]:
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _characters(text: str, lines: list[int], line: int, column: int) -> int:
    """Return how many characters of a line precede byte ``column``. `ast` counts columns in bytes."""
    start = lines[line - 1]
    return len(text[start:].encode()[:column].decode())
