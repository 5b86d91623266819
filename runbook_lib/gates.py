"""What must be true before a phase may open, told from records alone, and the lock of the one who writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook_lib import history, records
from runbook_lib.errors import StepRefused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook_lib.records import Record
    from runbook_lib.settings import Settings

__all__ = ["ORDER", "Gate", "board", "evidence", "gate", "owed", "require"]

# Each phase rests on the one before. Every other notebook only looks, or undoes, or stops: it has no gate.
ORDER = (
    "phase_0_platform_prep",
    "phase_1_paper",
    "phase_2_first_mainnet",
    "phase_3_dry_runs",
    "phase_4_first_day",
    "phase_5_follow_up",
)


@dataclass(frozen=True)
class Gate:
    """Whether a phase may open, and every reason why not. ``amber``: it rests on an override somewhere below."""

    phase: str
    reasons: tuple[str, ...] = ()
    rests_on: Record | None = None
    amber: tuple[str, ...] = ()
    latest: Record | None = field(default=None, compare=False)

    @property
    def open(self) -> bool:
        return not self.reasons


def gate(settings: Settings, phase: str, root: Path) -> Gate:
    """Judge a phase's gate from the records of its profile."""
    latest = _latest(root, settings.name, phase)
    if phase not in ORDER or phase == ORDER[0]:
        return Gate(phase, tuple(_owed_reasons(settings, root)) if phase in ORDER else (), latest=latest)
    before = ORDER[ORDER.index(phase) - 1]
    found = _latest(root, settings.name, before)
    reasons = [*_record_reasons(settings, before, found), *_owed_reasons(settings, root)]
    return Gate(phase, tuple(reasons), found, tuple(_amber(found)) if found else (), latest)


def require(settings: Settings, phase: str, root: Path, override: str | None = None) -> Gate:
    """Raise `StepRefused` with every reason while the gate is closed; ``override`` is the break-glass reason."""
    judged = gate(settings, phase, root)
    if not judged.open and not override:
        reasons = "".join(f"\n  {reason}" for reason in judged.reasons)
        raise StepRefused(f"the gate of {phase} is closed:{reasons}\n./runbook status shows the board")
    return judged


def board(settings: Settings, root: Path) -> list[Gate]:
    """Every phase's gate, in order: what ``./runbook status`` prints and what each phase asks."""
    return [gate(settings, phase, root) for phase in ORDER]


def owed(settings: Settings, root: Path) -> Iterator[tuple[Record, records.Event]]:
    """Every undo that is owed in the records of a profile, with the newest record that owes it."""
    newest: dict[str, tuple[Record, dict[str, records.Event]]] = {}
    for record in _of(root, settings.name):
        found = history.read(record)
        newest[found.root["id"]] = (record, found.owed())
    for record, events in newest.values():
        for event in events.values():
            yield record, event


def evidence(settings: Settings, root: Path, phase: str) -> Record | None:
    """The newest record of a phase that passed, for what later phases read from it."""
    passed = [r for r in _of(root, settings.name) if _is(r, phase) and (r.sealed() or {}).get("outcome") == "passed"]
    return passed[-1] if passed else None


def _of(root: Path, profile: str) -> list[Record]:
    """Every record of a profile that has a ledger, oldest first."""
    found = (record for record in records.every(root) if record.name.startswith(f"{profile}/"))
    return [record for record in found if record.ledger.events()]


def _latest(root: Path, profile: str, phase: str) -> Record | None:
    found = [record for record in _of(root, profile) if _is(record, phase)]
    return found[-1] if found else None


def _is(record: Record, phase: str) -> bool:
    opened = record.opened()
    return bool(opened["phase"] == phase and opened["mode"] != "confirm")


def _record_reasons(settings: Settings, phase: str, record: Record | None) -> Iterator[str]:
    """Why a phase's newest record does not carry the next phase."""
    if record is None:
        yield f"{phase} has no record on profile {settings.name}: run it first"
        return
    seal = record.sealed()
    if seal is None:
        yield f"{record.name} is not sealed: it runs still, or was cut off (./runbook resume {record.name})"
        return
    if seal["outcome"] != "passed":
        yield f"{record.name} is {seal['outcome']}: resume it, or run {phase} again"
    yield from (f"{record.name} does not verify: {problem}" for problem in records.verify(record.folder))
    if seal["project"] != settings.project:
        yield f"{record.name} is of project {seal['project']}, the profile names {settings.project}"
    age = (datetime.now(UTC) - datetime.fromisoformat(seal["at"])).total_seconds() / 3600
    limit = settings.gates.hours(phase)
    if age > limit:
        yield f"{record.name} is {age:.0f} h old, at most {limit:.0f} h are allowed: run {phase} again"


def _owed_reasons(settings: Settings, root: Path) -> Iterator[str]:
    for record, event in owed(settings, root):
        yield f"{event['step']} of {record.name} owes an undo: ./runbook undo {record.name}"


def _amber(record: Record) -> Iterator[str]:
    """Overrides that this record, or one below it, was opened with."""
    for one in history.chain(record):
        opened = one.opened()
        if opened.get("override"):
            yield f"{one.name}: {opened['override']}"
        yield from opened.get("amber", ())
