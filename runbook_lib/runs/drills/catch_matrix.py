"""Keep the catch matrix as a sealed record with a page inside.

The matrix has a row per drill, which says which step noticed which fault.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.records import plan, run_record
from runbook_lib.steps.display import rendering

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.runs.drills.parallel import Row
    from runbook_lib.settings.profiles import Settings

PAGE = "matrix.html"
THE_HALT = "halt"  # in the place of a notebook: the cells of bad answers, each named by who was asked
VERDICTS = ("caught", "missed", "false alarm")


def begin(settings: Settings, names: Sequence[str], at_once: int) -> Record:
    """Begin the record of a catch matrix.

    ``names`` are the notebooks and cases to drill; without names, all are drilled.
    """
    return run_record.begin(settings, "drill", parameters={"names": list(names), "at_once": at_once}, mode="drill")


def keep(record: Record, row: Row) -> None:
    """Write a row of the catch matrix to its ledger. If the fault was not caught, also keep the drill's own record."""
    event = record.ledger.append("drilled", **{**asdict(row), "record": ""})
    if row.verdict != "caught" and row.record:
        shutil.copytree(row.record, record.folder / "not_caught" / f"{event['n']:03}")


def finish(record: Record, seconds: float) -> Event:
    """Write the catch matrix as a page and seal its record.

    The record passes if every fault was caught and no step gave a false alarm.
    """
    rows = [event for event in record.ledger.events() if event["event"] == "drilled"]
    tally = counts(row["verdict"] for row in rows)
    bad = len(rows) - tally["caught"]
    if rows and not bad:
        record.ledger.append("closed", steps=len(rows))
    rendering.save(record.folder / PAGE, rendering.page("matrix.html", _view(record, rows, seconds)))
    return run_record.finish(
        record, ended=f"{bad} not caught" if bad else None, drills=tally, seconds=round(seconds, 1)
    )


def counts(verdicts: Iterable[str]) -> dict[str, int]:
    """Count how often each verdict occurs in the catch matrix. A verdict that does not occur has the count 0."""
    tally = Counter(verdicts)
    return {word: tally[word] for word in VERDICTS}


def _view(record: Record, rows: Sequence[Event], seconds: float) -> dict[str, Any]:
    notebooks = sorted({row["notebook"] for row in rows})
    return {
        "title": "Catch matrix",
        "record": record.name,
        "made": datetime.now(UTC).isoformat(),
        "counts": counts(row["verdict"] for row in rows),
        "total": len(rows),
        "seconds": seconds,
        "bad": [row for row in rows if row["verdict"] != "caught"],
        "notebooks": [_notebook(name, [row for row in rows if row["notebook"] == name]) for name in notebooks],
    }


def _notebook(name: str, rows: Sequence[Event]) -> dict[str, Any]:
    """Return a notebook's rows of the catch matrix in the order of its steps.

    Each row has the title of the step that should notice.
    """
    drilled = {row["expected"]: row["says"] for row in rows}  # who is asked, where there is no notebook
    titles = drilled if name == THE_HALT else {s.number: s.title for s in plan.steps(plan.notebook(name))}
    order = ["", *titles]
    inside = sorted(rows, key=lambda row: (order.index(row["expected"]), row["fault"]))
    return {
        "name": name,
        "rows": [{**row, "title": titles.get(row["expected"], "every step passes")} for row in inside],
    }
