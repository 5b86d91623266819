"""Write the launch board as an HTML page.

The page shows every phase with its gate, the owed undos, and a timeline of the runs.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.records import alarms, gates, history, ledger
from runbook_lib.steps.display import rendering

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from runbook_lib.records.gates import Gate
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

Row = dict[str, Any]
NEWEST = 200  # runs the timeline shows; `./runbook records` lists all
WIDTH = 98.0  # percent of the timeline that bars may take, so that the last bar is visible however short
# Steps between two marks of the timeline's axis, in seconds; the first that needs no more than MARKS marks is taken.
STEPS = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, *(d * 86400 for d in (1, 2, 7, 14, 30))]
MARKS = 6


def show(settings: Settings, root: Path, lock: str = "not looked at") -> Path:
    """Write a profile's board as an HTML file among its records, and return the file.

    ``lock`` is the text that says who holds the writing lock.
    """
    (root / settings.name).mkdir(parents=True, exist_ok=True)
    shown = {**view(settings, root), "lock": lock}
    return rendering.save(root / settings.name / "board.html", rendering.page("board.html", shown))


def view(settings: Settings, root: Path) -> Row:
    """Return the values that the board's page shows: every phase, its record and its gate.

    Raise `RecordError` if a record cannot be judged, because the gates that rest on it cannot be judged either.
    """
    runs = [_run(record) for record in gates.of(settings, root)[-NEWEST:]]
    owed, judged = list(gates.owed(settings, root)), gates.board(settings, root)
    everywhere = [reason for reason in judged[0].reasons if all(reason in gate.reasons for gate in judged)]
    return {
        "title": f"Launch board: {settings.name}",
        "profile": settings.name,
        "production": settings.kind == "production",
        "project": settings.project,
        "made": datetime.now(UTC).isoformat(),
        "phases": [_phase(gate, everywhere) for gate in judged],
        "everywhere": everywhere,
        "owed": [{"step": event["step"], "record": record.name, "text": event["text"]} for record, event in owed],
        "alarms": [_alarm(alarm, settings.name) for _, alarm in alarms.open_alarms(settings, root)],
        "timeline": _timeline(runs),
    }


def _phase(gate: Gate, everywhere: Sequence[str]) -> Row:
    """Return a phase's row in the table of the board's page.

    Reasons that close every gate (``everywhere``) are left out of the row: the page shows them once, above the table.
    """
    reasons = [reason for reason in gate.reasons if reason not in everywhere]
    latest = gate.latest
    seal = latest.sealed() if latest else None
    return {
        "phase": gate.phase,
        "record": latest.name if latest else "",
        "outcome": gate.outcome,
        "ended": seal["at"] if seal else "",
        "open": gate.open,
        "why": [*reasons, *(f"amber: {reason}" for reason in gate.amber)],
        "amber": bool(gate.amber),
    }


def _alarm(alarm: alarms.Alarm, profile: str) -> Row:
    shown = ("name", "title", "raised", "complaint", "fix", "acked_by")
    return {**{name: getattr(alarm, name) for name in shown}, "acknowledging": alarms.acknowledging(alarm, profile)}


# --- the timeline ---------------------------------------------------------------------------------------------------


def _run(record: Record) -> Row:
    opened, seal = record.opened(), record.sealed()
    events = record.ledger.events()
    counts = history.counts(history.read(record))
    return {
        "record": record.name,
        "folder": record.folder.name,
        "phase": opened["phase"],
        "mode": opened["mode"],
        "operator": opened["operator"],
        "outcome": seal["outcome"] if seal else "not sealed",
        "begun": opened["at"],
        "ended": events[-1]["at"],
        "steps": ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "no steps",
    }


def _timeline(runs: Sequence[Row]) -> Row:
    """Return the board's timeline: a row for each notebook, a bar for each run, and the marks of the time axis.

    Places and widths are in percent of the page's width; times are UTC.
    """
    if not runs:
        return {"rows": [], "marks": [], "begun": "", "ended": ""}
    first = min(ledger.instant(run["begun"]) for run in runs)
    last = max(ledger.instant(run["ended"]) for run in runs)
    span = max((last - first).total_seconds(), 60.0)  # one short run is not stretched over the whole width

    def at(moment: str) -> float:
        return WIDTH * (ledger.instant(moment) - first).total_seconds() / span

    rows: dict[str, list[Row]] = {phase: [] for phase in gates.ORDER}
    for run in runs:
        left = at(run["begun"])
        rows.setdefault(run["phase"], []).append({**run, "left": left, "width": at(run["ended"]) - left})
    shown = [{"phase": phase, "bars": bars} for phase, bars in rows.items() if bars]
    return {"rows": shown, "marks": list(_marks(first, span)), "begun": runs[0]["begun"], "ended": last.isoformat()}


def _marks(first: datetime, span: float) -> Iterator[Row]:
    """Yield at most six marks for the timeline's axis, at round times such as full hours."""
    step = next((size for size in STEPS if span / size <= MARKS), STEPS[-1] * (1 + int(span / STEPS[-1] / MARKS)))
    text = "%m-%d" if step >= 86400 else "%m-%d %H:%M" if span > 86400 else "%H:%M" if step >= 60 else "%H:%M:%S"
    seconds = first.timestamp()
    at = -(-seconds // step) * step
    while at <= seconds + span:
        moment = first + timedelta(seconds=at - seconds)
        yield {"left": WIDTH * (at - seconds) / span, "text": moment.strftime(text)}
        at += step
