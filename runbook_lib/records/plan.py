"""Read a notebook's plan, which is its steps and the hash of each cell, without running the notebook.

A record begins with the plan of the notebook from which it was prepared. ``notebooks/plans.json`` holds the accepted
plan of each notebook: gates refuse a record that followed another plan.
"""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import ConfigError, cited, nearest
from runbook_lib.files import is_there, write_whole
from runbook_lib.records import verify
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from runbook_lib.records.record_folder import Record

NOTEBOOKS = ROOT / "notebooks"
ACCEPTED = "plans.json"  # beside the notebooks
OPENING = re.compile(r"""open_phase\(\s*["']([^"']+)["']""")
VERBS = {"check": ("number", "title"), "act": ("number", "title"), "confirm": ("number", "statement")}


@dataclass(frozen=True)
class Step:
    """A planned step: one numbered call in a cell of a notebook."""

    number: str
    verb: str
    title: str
    cell: int  # index in the notebook, markdown included
    tags: tuple[str, ...] = ()


def notebooks(folder: Path | None = None) -> list[str]:
    """Return the names of all notebooks that have an accepted plan, in alphabetical order.

    Other notebooks in the folder, such as the output of papermill or nbconvert, are run only by their path. In a folder
    without ``plans.json``, every notebook counts.
    """
    folder = folder or NOTEBOOKS
    there = {path.stem for path in folder.glob("*.ipynb")}
    return sorted(there & _all_accepted(folder).keys() if is_there(folder / ACCEPTED) else there)


def notebook(name: str, folder: Path | None = None) -> Path:
    """Return the path of a notebook that has a plan. ``name`` is a path, a name or the beginning of a name."""
    if "/" in name or name.endswith(".ipynb"):
        path = Path(name).absolute()
        if not (is_there(path) and path.is_file()):
            raise ConfigError(f"there is no file {cited(str(path))}; by name: {', '.join(notebooks(folder))}")
        return path
    wanted = name
    known = notebooks(folder)
    matching = [n for n in known if n == wanted] or [n for n in known if n.startswith(f"{wanted}_")]
    if len(matching) > 1:
        raise ConfigError(f"{cited(name)} may be any of {', '.join(matching)}: write more of its name")
    if not matching:
        raise ConfigError(f"no notebook {cited(name)}: {nearest(wanted, known)}")
    return (folder or NOTEBOOKS) / f"{matching[0]}.ipynb"


def phase(path: Path) -> str:
    """Return the phase that a notebook's ``open_phase`` call names. Without such a call, return the file's name."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code" and (opened := OPENING.search("".join(cell["source"]))):
            return opened[1]
    return path.stem


def written_down(path: Path) -> dict[str, Any]:
    """Return the plan of a notebook in the form in which a record keeps it."""
    notebook = _read(path)
    sources = verify.code_cells(notebook)
    declared = [[*call, cell] for cell, source in enumerate(sources) for call in _calls(source)]
    return {"notebook": phase(path), "cells": [verify.cell_digest(source) for source in sources], "steps": declared}


def accepted(name: str, folder: Path | None = None) -> dict[str, Any] | None:
    """Return a notebook's accepted plan, or None. Raise `ConfigError` if ``plans.json`` is damaged."""
    return _all_accepted(folder or NOTEBOOKS).get(name)


def accept(path: Path) -> None:
    """Write a notebook's present plan to ``plans.json``, as its accepted plan."""
    plans = {**_all_accepted(path.parent), path.stem: written_down(path)}
    lines = ",\n".join(f"{json.dumps(name)}: {_laid_out(plans[name])}" for name in sorted(plans))
    write_whole(path.parent / ACCEPTED, f"{{\n{lines}\n}}\n".encode())


def _all_accepted(folder: Path) -> dict[str, Any]:
    path = folder / ACCEPTED
    try:
        plans = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise ConfigError(f"{path} is not JSON: take it from the repository again") from None
    return dict(plans)


def _laid_out(plan: dict[str, Any]) -> str:
    """Format a plan as JSON with one cell or step per line, so that a line comparison shows what changed."""
    parts = [f'"notebook": {json.dumps(plan["notebook"])}']
    for name in ("cells", "steps"):
        inner = ",\n".join(f"  {json.dumps(item, ensure_ascii=False)}" for item in plan[name])
        parts.append(f'"{name}": [\n{inner}\n ]' if inner else f'"{name}": []')
    return "{\n " + ",\n ".join(parts) + "\n}"


def of(record: Record) -> list[Step]:
    """Return the steps of the plan with which a record began.

    If that line holds no plan, return the steps of the record's notebook.
    """
    planned = record.opened().get("plan")
    if planned is None:
        return steps(record.notebook) if record.notebook.exists() else []
    return [Step(*declared) for declared in planned["steps"]]


def steps(path: Path) -> list[Step]:
    """Return the steps of a notebook's plan: every ``phase.check``, ``phase.act`` and ``phase.confirm``, in order."""
    declared: list[Step] = []
    for index, cell in enumerate(_read(path)["cells"]):
        if cell["cell_type"] == "code":
            tags = tuple(cell.get("metadata", {}).get("tags", ()))
            declared += [Step(*call, index, tags) for call in _calls("".join(cell["source"]))]
    return declared


def _read(path: Path) -> dict[str, Any]:
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(notebook["cells"], list):
            return notebook
    except (ValueError, LookupError, TypeError):
        pass
    raise ConfigError(f"{path.name} is not a notebook: expected JSON with cells")


def declared(source: str) -> list[str]:
    """Return the numbers of the planned steps that a cell's source declares."""
    return [number for number, _, _ in _calls(source)]


def calls(source: str, number: str) -> list[ast.Call]:
    """Return the calls in a cell's source that declare the planned step ``number``."""
    return [call for call in _step_calls(source) if _argument(call, 0) == number]


def _calls(source: str) -> list[tuple[str, str, str]]:
    """Return number, verb and title of each step that a cell's source declares."""
    described = [(_argument(call, 0), _verb(call), _argument(call, 1)) for call in _step_calls(source)]
    return [(number, verb, title) for number, verb, title in described if number is not None and title is not None]


def _step_calls(source: str) -> list[ast.Call]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []  # the run will say so, in the cell
    # The walk goes level by level; the steps count in the order they are written.
    step_calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _verb(node)]
    return sorted(step_calls, key=lambda node: (node.lineno, node.col_offset))


def _verb(node: ast.Call) -> str:
    """Return the verb of a step call: check, act or confirm. Return an empty text for any other call."""
    called = node.func
    if not isinstance(called, ast.Attribute) or not isinstance(called.value, ast.Name) or called.value.id != "phase":
        return ""
    return called.attr if called.attr in VERBS else ""


def _argument(node: ast.Call, position: int) -> str | None:
    """Return an argument of a step call, which may be given by position or by name.

    Position 0 is the step's number, position 1 its title.
    """
    if position < len(node.args):
        return _text(node.args[position])
    name = VERBS[_verb(node)][position]
    return next((_text(word.value) for word in node.keywords if word.arg == name), None)


def _text(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)
