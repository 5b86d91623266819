"""The queries of steps, as their cells hold them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

from runbook_lib.records import plan


def query(notebook: str, number: str) -> str:
    """The first query of a step, its values still named."""
    path = plan.notebook(notebook)
    [step] = [step for step in plan.steps(path) if step.number == number]
    source = "".join(json.loads(path.read_text())["cells"][step.cell]["source"])
    found = re.search(r'sql\("""(.*?)"""', source, re.DOTALL)
    assert found, source
    return found[1]


def looked_up(notebook: str) -> Iterator[tuple[str, str]]:
    """Number and query of each check's queries that the read-only role asks: all but those in a trial."""
    path = plan.notebook(notebook)
    cells = json.loads(path.read_text())["cells"]
    for step in plan.steps(path):
        tree = ast.parse("".join(cells[step.cell]["source"]))
        tried = [node for call in _calls(tree, "trial") for node in ast.walk(call)]
        for call in _calls(tree, "sql") if step.verb == "check" else ():
            if call not in tried and isinstance(call.args[0], ast.Constant):
                yield step.number, str(call.args[0].value)


def _calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node
