"""Check that a record's owed undo is the one that its notebook registers. No other command may be sent as an undo.

A ledger is only a file, and its undos are sent with every credential of the operator. So an undo is compared with the
cell that registers it, and that cell is compared with the plan at the beginning of the record.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from runbook_lib.commands.command import Shell, frozen, http, shell, sql
from runbook_lib.errors import ConfigError
from runbook_lib.records import plan, verify
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record

MAKERS: dict[str, Any] = {"sql": sql, "http": http, "shell": shell}
FIXED = ("kind", "service", "method", "reads", "pick")  # of a command: what no value of a run changes
PLACE = r"\{[\w.]+\}"  # of a value of the profile, or of the step's key
FILLED = r"[\w.:@~%-]+"
VALUE = "a value of the run"
HALT_STEP = "switches"  # what a halt owes, which no notebook registers


def unregistered(record: Record, owed: Event, repository: str) -> str | None:
    """Return why an owed undo is not one that the record's notebook registers. Return None if it is.

    ``repository`` is the checkout of the platform, in which shell commands run.
    """
    number, command = str(owed["step"]), owed["command"]
    if record.opened()["phase"] == "halt" and number == HALT_STEP:
        line = f"./runbook unhalt --profile {record.profile} --yes"
        return None if command == frozen(Shell(line, folder=str(ROOT))) else "a halt owes its unhalt, and nothing else"
    registered = [*_registered(record, number)]
    if not registered:
        return f"no cell of its notebook that was planned registers an undo of {number}"
    if not any(_is_made_by(call, command, repository) for call in registered):
        return f"{number} registers another undo than this one"
    return None


def _registered(record: Record, number: str) -> Iterator[ast.Call]:
    """Yield the calls by which planned cells of a record's notebook register an undo for a step.

    A cell that was not planned does not count.
    """
    planned = record.opened().get("plan") or {"cells": []}
    try:
        sources = verify.code_cells(json.loads(record.notebook.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError):
        return
    for source in sources:
        if verify.cell_digest(source) in planned["cells"]:
            for call in plan.calls(source, number):
                yield from (
                    word.value for word in call.keywords if word.arg == "undo" and isinstance(word.value, ast.Call)
                )


def _is_made_by(call: ast.Call, command: Any, repository: str) -> bool:
    """Return whether a call in a cell can have registered this undo.

    If the call's text does not show a value, because only the run knew it, any value of the undo matches.
    """
    maker = MAKERS.get(call.func.id) if isinstance(call.func, ast.Name) else None
    if maker is None or not isinstance(command, dict) or any(word.arg is None for word in call.keywords):
        return False
    try:
        texts = [ast.literal_eval(argument) for argument in call.args]
        made = json.loads(json.dumps(frozen(maker(*texts, **{str(w.arg): _literal(w.value) for w in call.keywords}))))
    except (ConfigError, ValueError, TypeError):
        return False
    if "folder" in made:
        made["folder"] = made["folder"].replace("{repository}", repository)
    return made.keys() == command.keys() and all(_fits(made[name], command[name], name) for name in made)


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal in a cell. Return `VALUE` for an expression that only the run could evaluate."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return VALUE


def _fits(made: Any, part: Any, name: str = "") -> bool:
    """Return whether ``part`` of an undo's command matches ``made``, in which `VALUE` stands for any value."""
    if made == VALUE and name not in FIXED:
        return True
    if isinstance(made, dict) and isinstance(part, dict):
        return made.keys() == part.keys() and all(_fits(made[key], part[key]) for key in made)
    if not isinstance(made, str) or not isinstance(part, str):
        return bool(made == part)
    # What a value fills holds nothing that would lead elsewhere in a path, and nothing that a shell would not quote.
    mark = quote(VALUE) if name == "path" else shlex.quote(VALUE)
    pieces = re.split(rf"({PLACE}|{re.escape(mark)})", made)
    pattern = "".join(FILLED if at % 2 else re.escape(piece) for at, piece in enumerate(pieces))
    return re.fullmatch(pattern, part) is not None
