"""The steps of a notebook, read from its cells without running them: the cell is the declaration."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.settings.profiles import ROOT

NOTEBOOKS = ROOT / "notebooks"
OPENING = re.compile(r"""open_phase\(\s*["']([^"']+)["']""")
VERBS = {"check": ("number", "title"), "act": ("number", "title"), "confirm": ("number", "statement")}


@dataclass(frozen=True)
class Step:
    """One numbered call in a notebook."""

    number: str
    verb: str
    title: str
    cell: int  # index in the notebook, markdown included
    tags: tuple[str, ...] = ()


def notebooks(folder: Path | None = None) -> list[str]:
    """Names of the notebooks there are, in order."""
    return sorted(path.stem for path in (folder or NOTEBOOKS).glob("*.ipynb"))


def notebook(name: str, folder: Path | None = None) -> Path:
    """Path of a notebook by its name or its unambiguous beginning (``phase_0``); a path is that very file."""
    if "/" in name or name.endswith(".ipynb"):
        if not (path := Path(name).absolute()).is_file():
            raise ConfigError(f"there is no file {path}; by name: {', '.join(notebooks(folder))}")
        return path
    wanted = name
    known = notebooks(folder)
    matching = [n for n in known if n == wanted] or [n for n in known if n.startswith(f"{wanted}_")]
    if len(matching) > 1:
        raise ConfigError(f"{name!r} may be any of {', '.join(matching)}: write more of its name")
    if not matching:
        raise ConfigError(f"no notebook {name!r}: {nearest(wanted, known)}")
    return (folder or NOTEBOOKS) / f"{matching[0]}.ipynb"


def phase(path: Path) -> str:
    """The phase a notebook opens, as its ``open_phase`` call names it; else the file's own name."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and (opened := OPENING.search("".join(cell["source"]))):
            return opened[1]
    return path.stem


def start(path: Path) -> str:
    """The starting state a notebook is rehearsed from when it runs alone: its metadata's ``rehearsal.start``."""
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    return str(metadata.get("rehearsal", {}).get("start", "clean"))


def steps(path: Path) -> list[Step]:
    """Every ``phase.check``, ``phase.act`` and ``phase.confirm`` call of a notebook, in order."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (ValueError, LookupError, TypeError):
        raise ConfigError(f"{path.name} is not a notebook: expected JSON with cells") from None
    found: list[Step] = []
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            tags = tuple(cell.get("metadata", {}).get("tags", ()))
            found += [Step(*call, index, tags) for call in _calls("".join(cell["source"]))]
    return found


def _calls(source: str) -> list[tuple[str, str, str]]:
    """Number, verb and title of each step call in a cell."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []  # the run will say so, in the cell
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _verb(node)]
    # The walk goes level by level; the steps count in the order they are written.
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    found = [(_argument(node, 0), _verb(node), _argument(node, 1)) for node in calls]
    return [(number, verb, title) for number, verb, title in found if number is not None and title is not None]


def _verb(node: ast.Call) -> str:
    """The step verb a call is of; empty if it is of none."""
    called = node.func
    if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name) or called.value.id != "phase":
        return ""
    return called.attr if called.attr in VERBS else ""


def _argument(node: ast.Call, position: int) -> str | None:
    """The number (0) or the title (1) of a step call, given by position or by name."""
    if position < len(node.args):
        return _text(node.args[position])
    name = VERBS[_verb(node)][position]
    return next((_text(word.value) for word in node.keywords if word.arg == name), None)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
