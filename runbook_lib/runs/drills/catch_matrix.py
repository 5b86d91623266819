"""Keep the results of many drills as a sealed record with a page, the catch matrix: which step noticed which fault."""

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
    from runbook_lib.runs.drills.mutation import Judged
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
    """Write one drill's row to the catch matrix's ledger. If the fault was not caught, keep the drill's own record
    too.
    """
    event = record.ledger.append("drilled", **{**asdict(row), "record": ""})
    if row.verdict != "caught" and row.record:
        shutil.copytree(row.record, record.folder / "not_caught" / f"{event['n']:03}")


def keep_mutants(record: Record, result: Judged) -> None:
    """Write the result of a notebook's mutants (steps changed by one mistake) to the catch matrix's ledger."""
    kinds = Counter(fate.killed for fate in result.fates if fate.killed)
    survivors = [asdict(fate) for fate in result.fates if not fate.killed]
    record.ledger.append(
        "mutated",
        notebook=result.notebook,
        made=len(result.fates),
        killed=dict(kinds),
        survivors=survivors,
        values=result.values,
        unseen=[asdict(value) for value in result.unseen],
        idle=list(result.idle),
    )


def finish(record: Record, seconds: float) -> Event:
    """Write the catch matrix as a page and seal its record.

    It passes if every fault was caught, no alarm was false, every mutant was killed or has a reason to survive, and
    every expected value was seen red.
    """
    events = record.ledger.events()
    rows = [event for event in events if event["event"] == "drilled"]
    mutated = [event for event in events if event["event"] == "mutated"]
    tally = counts(row["verdict"] for row in rows)
    bad = len(rows) - tally["caught"]
    unnoticed = sum(len(_unreasoned(event)) + len(event["unseen"]) + len(event["idle"]) for event in mutated)
    if (rows or mutated) and not bad + unnoticed:
        record.ledger.append("closed", steps=len(rows) + len(mutated))
    rendering.save(record.folder / PAGE, rendering.page("matrix.html", _view(record, rows, seconds)))
    ended = ", ".join(f"{n} {words}" for n, words in ((bad, "not caught"), (unnoticed, "not noticed or idle")) if n)
    return run_record.finish(record, ended=ended or None, drills=tally, seconds=round(seconds, 1))


def _unreasoned(event: Event) -> list[dict[str, Any]]:
    return [survivor for survivor in event["survivors"] if not survivor["reason"]]


def counts(verdicts: Iterable[str]) -> dict[str, int]:
    """Count how often each possible verdict occurs in the catch matrix. The count may be 0."""
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
        "mutated": (mutated := [event for event in record.ledger.events() if event["event"] == "mutated"]),
        "unreasoned": [survivor for event in mutated for survivor in _unreasoned(event)],
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
