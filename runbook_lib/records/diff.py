"""Compare two records as an operator would: steps, verdicts, values, timings and versions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.records import history

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record

LONGER = 1.5  # times as long that a step took is a difference,
AT_LEAST = 0.25  # of so many seconds
# Identifiers, keys and times are other ones in every run: that they are is no difference.
OWN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-\S+|0x[0-9a-f]{16,}|[0-9a-f]{14,}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*")
NONE = "none"


@dataclass(frozen=True)
class Difference:
    """A value that differs between two records, with its text in each. ``where`` is a step's number or "run"."""

    where: str
    what: str  # the name of the value
    first: str
    second: str


def differences(first: Record, second: Record) -> list[Difference]:
    """Return every difference between two records.

    The differences of the runs as a whole come first, then those of each step in order.
    """
    return [*_of_runs(first, second), *_of_steps(first, second)]


def _of_runs(first: Record, second: Record) -> Iterator[Difference]:
    runs = [_run_facts(record) for record in (first, second)]
    yield from _pairs("run", *runs)


def _run_facts(record: Record) -> dict[str, Any]:
    """Return a run's facts for a comparison, such as its operator, outcome, versions and parameters."""
    opened, seal = record.opened(), record.sealed() or {}
    given = yaml.safe_load((record.folder / "parameters.yaml").read_text(encoding="utf-8")) or {}
    run = {"phase": opened["phase"], "outcome": seal.get("outcome", "not sealed"), "ended": seal.get("ended")}
    run |= {name: opened.get(name) for name in ("profile", "project", "operator", "mode", "override")}
    run |= {"missing steps": seal.get("missing"), "owed undos": seal.get("owed")}
    flat = {"parameter": given.get("parameters"), "profile": given.get("profile"), "version": opened.get("versions")}
    return {**run, **{key: value for name, part in flat.items() for key, value in _flat(name, part)}}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name} {key}" if " " not in name else f"{name}.{key}", inner)
    else:
        yield name, value


def _of_steps(first: Record, second: Record) -> Iterator[Difference]:
    ours, theirs = (_steps(record) for record in (first, second))
    for number in dict.fromkeys([*ours, *theirs]):
        step, other = ours.get(number), theirs.get(number)
        if step is None or other is None:
            yield Difference(number, "step", _verdict(step), _verdict(other))
        else:
            yield from _pairs(number, _facts(step), _facts(other))
            yield from _values(number, step, other)
            yield from _timing(number, step["seconds"], other["seconds"])


def _steps(record: Record) -> dict[str, Event]:
    """Return each step's newest outcome, with the step's commands and duration."""
    sent: dict[str, Event] = {}
    steps = {}
    for event in history.read(record).own:
        if event["event"] == "sending":
            sent[event["step"]] = event
    for number, event in history.read(record).outcomes().items():
        before = sent.get(number)
        seconds = (_moment(event) - _moment(before)).total_seconds() if before else 0.0
        steps[number] = {**event, "seconds": seconds, "commands": before["commands"] if before else []}
    return steps


def _moment(event: Event) -> datetime:
    return datetime.fromisoformat(event["at"])


def _verdict(event: Event | None) -> str:
    return f"{event['outcome']}: {event['title']}" if event else "not reached"


def _facts(event: Event) -> dict[str, Any]:
    kept = {name: event.get(name) for name in ("outcome", "title", "seen", "complaint", "symptom")}
    if event.get("recalled"):
        return {**kept, "sent": f"not again, recalled from {event['recalled']}"}
    return {**kept, "sent": "\n".join(event["commands"])}


def _values(number: str, step: Event, other: Event) -> Iterator[Difference]:
    """Yield the values that differ between a step's replies in two records.

    Rows are compared one by one. If two replies have different numbers of rows, only these numbers are yielded.
    """
    pairs = zip(step.get("replies", ()), other.get("replies", ()), strict=False)
    for index, (ours, theirs) in enumerate(pairs, 1):
        place = f"reply {index}" if len(step["replies"]) > 1 else "reply"
        yield from _pairs(number, {f"{place} status": ours["status"]}, {f"{place} status": theirs["status"]})
        rows = list(zip(ours["rows"], theirs["rows"], strict=False))
        if len(ours["rows"]) != len(theirs["rows"]):
            yield Difference(number, place, f"rows: {len(ours['rows'])}", f"rows: {len(theirs['rows'])}")
            continue
        for line, (mine, yours) in enumerate(rows, 1):
            where = f"{place} row {line}" if len(rows) > 1 else place
            yield from _pairs(number, *(dict(_flat(f"{where} ", row)) for row in (mine, yours)))


def _timing(number: str, seconds: float, other: float) -> Iterator[Difference]:
    shorter, longer = sorted((seconds, other))
    if longer > LONGER * shorter and longer - shorter > AT_LEAST:
        yield Difference(number, "seconds", f"{seconds:.2f}", f"{other:.2f}")


def _pairs(where: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[Difference]:
    for name in dict.fromkeys([*ours, *theirs]):
        text, other = _text(ours.get(name)), _text(theirs.get(name))
        if OWN.sub("…", text) != OWN.sub("…", other):
            yield Difference(where, " ".join(name.replace(" .", " ").split()), text, other)


def _text(value: Any) -> str:
    return NONE if value is None or value in ("", [], {}) else str(value)
