"""The queries of steps, as their cells hold them."""

from __future__ import annotations

import json
import re

from runbook_lib.records import plan


def query(notebook: str, number: str) -> str:
    """The first query of a step, its values still named."""
    path = plan.notebook(notebook)
    [step] = [step for step in plan.steps(path) if step.number == number]
    source = "".join(json.loads(path.read_text())["cells"][step.cell]["source"])
    found = re.search(r'sql\("""(.*?)"""', source, re.DOTALL)
    assert found, source
    return found[1]
