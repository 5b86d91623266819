"""The steps of a notebook, read from its cells without running them: the cell is the declaration."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.settings import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NOTEBOOKS", "Step", "notebook", "notebooks", "steps"]

NOTEBOOKS = ROOT / "notebooks"
VERBS = {"check": 1, "act": 1, "confirm": 1}  # verb -> position of its title


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
    """Path of a notebook by its name, its unambiguous beginning (``phase_0``) or its file."""
    wanted = name.removesuffix(".ipynb").rpartition("/")[2]
    known = notebooks(folder)
    matching = [n for n in known if n == wanted] or [n for n in known if n.startswith(f"{wanted}_")]
    if len(matching) != 1:
        raise ConfigError(f"no notebook {name!r}: {nearest(wanted, known)}")
    return (folder or NOTEBOOKS) / f"{matching[0]}.ipynb"


def steps(path: Path) -> list[Step]:
    """Every ``phase.check``, ``phase.act`` and ``phase.confirm`` call of a notebook, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
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
    return [
        (_text(node.args[0]), node.func.attr, _text(node.args[VERBS[node.func.attr]]))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in VERBS
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "phase"
        and len(node.args) > VERBS[node.func.attr]
    ]


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
