"""A notebook as the rules see it: cells, the calls of a step's verb in them, and literal texts."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

STEPS = ("check", "act", "confirm")  # the verbs whose first argument is the number of the step
VERBS = (*STEPS, "show", "undo", "close")
NUMBER = re.compile(r"([0-9]+|[A-Z])\.([0-9]+)([a-z]{0,2})")


@dataclass(frozen=True)
class Cell:
    """One cell: its place in the notebook (from 1), kind, text, and the rest as stored."""

    place: int
    kind: str
    source: str
    raw: dict[str, Any]

    @cached_property
    def tree(self) -> ast.Module:
        """The cell's syntax; empty if it is not plain Python, which a rule of its own says."""
        try:
            return ast.parse(self.source)
        except SyntaxError:
            return ast.Module(body=[], type_ignores=[])

    @property
    def tags(self) -> list[str]:
        return list(self.raw.get("metadata", {}).get("tags", []))

    @cached_property
    def calls(self) -> list[Call]:
        """Every call of a verb of `phase`, in order."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return [Call(node, node.func.attr) for node in found if isinstance(node.func, ast.Attribute) and is_verb(node)]

    @property
    def steps(self) -> list[Call]:
        return [call for call in self.calls if call.verb in STEPS]

    @property
    def lines(self) -> int:
        return len(self.source.rstrip().splitlines())


@dataclass(frozen=True)
class Call:
    """One call of a verb."""

    node: ast.Call
    verb: str

    @property
    def number(self) -> str | None:
        """The first argument, if it is a literal text."""
        return text_of(self.node.args[0]) if self.node.args else None

    def keyword(self, name: str) -> ast.expr | None:
        return next((k.value for k in self.node.keywords if k.arg == name), None)


@dataclass(frozen=True)
class Notebook:
    """A notebook by its name, as stored."""

    name: str
    raw: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Notebook:
        return cls(path.stem, json.loads(path.read_text(encoding="utf-8")))

    @cached_property
    def cells(self) -> list[Cell]:
        stored = enumerate(self.raw["cells"], 1)
        return [Cell(place, raw["cell_type"], "".join(raw["source"]), raw) for place, raw in stored]

    @cached_property
    def code(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.kind == "code"]

    @property
    def steps(self) -> list[tuple[Cell, Call]]:
        return [(cell, call) for cell in self.code for call in cell.steps]


def is_verb(node: ast.Call) -> bool:
    func = node.func
    on_phase = isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "phase"
    return on_phase and isinstance(func, ast.Attribute) and func.attr in VERBS


def text_of(node: ast.expr | None) -> str | None:
    """The value of a literal text; None for everything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(node: ast.AST) -> Iterator[str]:
    """Every literal text inside ``node``."""
    yield from (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def rank(number: str) -> tuple[str, int, str] | None:
    """Where a number stands among others of its notebook: 0.9 before 0.10, 1.5h before 1.5ha before 1.5i."""
    found = NUMBER.fullmatch(number)
    return (found[1].zfill(3), int(found[2]), found[3]) if found else None


Rule = Callable[[Notebook], Iterator[str]]
