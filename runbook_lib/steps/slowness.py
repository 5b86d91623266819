"""Explain a missed time budget: which profile line sets it, what raising it costs, and how to continue."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

BUDGET = re.compile(r"budgets\.([a-z_]+(?:\.[a-z_]+)?)")
WAITS = re.compile(r"within=([^\n]*)")
# Complaints about a number above its bound, as reply() and each() make them. No later look makes the number smaller.
LATE = (
    re.compile(r"expected \S+ to (?P<bound>[\d.e+-]+), found (?P<found>[\d.e+-]+)"),
    re.compile(r"=(?P<found>[\d.e+-]+) \(expected \S+ to (?P<bound>[\d.e+-]+)\)"),
)
# Services and halts say within how many seconds there was no answer, and not which line of the profile says so.
WITHIN = re.compile(r" within ([\d.]+) s\b")
SAID = ("answer", "build", "redeploy", "halt.answer", "halt.pause", "halt.flat", "halt.stop")
# What is given up by waiting longer, by the budget's line.
COSTS = {
    "answer": "a service that hangs is told so much later",
    "clock_skew": "orders are signed, and freshness is judged, by a clock that is so much off",
    "redeploy": "a redeploy that hangs is told so much later",
    "build": "a build that hangs is told so much later",
    "backtest": "a backtest that hangs is told so much later",
    "provisioning": "a runner that does not come up is told so much later",
    "acknowledge": "a Pause may take so long when it counts",
    "machine_gone": "a machine that stays, and can start again, is told so much later",
    "marks": "a runner that does not see the venue is told so much later",
    "heartbeat": "a dead runner may hold its position for so long before anybody is told",
    "revoked": "an agent whose key was stolen may trade for so long",
    "check_age": "a gesture that can cost money may rest on what was seen so long before",
    "halt.answer": "a service that hangs takes so much of a halt's time",
    "halt.pause": "a runner that does not pause may trade for so long after the press",
    "halt.flat": "positions may stay open for so long after the press",
    "halt.stop": "a machine that is not stopped is told so much later",
}


def advice(settings: Settings, record: Record, complaint: str, cell: str = "", *, waited: bool = False) -> list[str]:
    """Return a line of advice for each time budget that the platform missed in a slow step.

    If the platform was on time, there are no lines. ``cell`` is the source of a check's cell; ``waited`` says that the
    check looked for the whole of its ``within``.
    """
    bounds = [float(match["bound"]) for form in LATE for match in form.finditer(complaint) if _above(match)]
    missed = [line for bound in bounds for line in _judged_by(settings, cell, bound)]
    # What is late is late however long one waits; only what was not there at all may still come.
    if waited and len(bounds) < 1 + complaint.partition("\n")[0].count("; "):
        missed += [line for words in WAITS.findall(cell) for line in _lines(words)]
    unanswered = WITHIN.findall(complaint)
    missed += [line for line in SAID if f"{_seconds(settings, line):g}" in unanswered]
    goes_on = "open " + record.opened()["phase"] if record.opened()["mode"] == "attended" else "resume " + record.name
    return [
        f"if the platform was only slow: raise budgets.{line} ({_seconds(settings, line):g} s) in "
        f"parameters/{settings.name}.yaml, which means that {COSTS[line]}; "
        f"then {addressed('./runbook ' + goes_on, settings.name)}"
        for line in dict.fromkeys(missed)
    ]


def cell(notebook: Path, number: str) -> str:
    """Return the source of the cell that makes check ``number``. Return an empty text if no cell makes the check."""
    with suppress(OSError, ValueError, LookupError):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        sources = ("".join(each["source"]) for each in cells if each["cell_type"] == "code")
        declares = re.compile(rf"""phase\.check\(\s*["']{re.escape(number)}["']""")
        return next((source for source in sources if declares.search(source)), "")
    return ""


def _above(late: re.Match[str]) -> bool:
    with suppress(ValueError):
        return float(late["found"]) > float(late["bound"])
    return False


def _judged_by(settings: Settings, cell: str, bound: float) -> list[str]:
    """Return the profile's lines from which a check's cell takes the time limit ``bound``.

    That is the line with this value. If no line has this value, the cell adds several lines up, and all are returned.
    """
    lines = [line for line in _lines(WAITS.sub("", cell)) if _seconds(settings, line) <= bound]
    return [line for line in lines if f"{_seconds(settings, line):g}" == f"{bound:g}"] or lines


def _lines(words: str) -> Iterable[str]:
    return (line for line in BUDGET.findall(words) if line in COSTS)


def _seconds(settings: Settings, line: str) -> float:
    outer, _, inner = line.partition(".")
    budget = getattr(settings.budgets, outer)
    return float(getattr(budget, inner) if inner else budget)
