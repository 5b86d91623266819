"""What must be true before a phase may open, told from records alone, and the lock of the one who writes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, SWEEP_PATH, longest_gap
from runbook_lib.errors import ConfigError, ServiceError, StepRefused
from runbook_lib.records import history, ledger, signing, verify
from runbook_lib.services import write_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook_lib.records.ledger import Record
    from runbook_lib.settings.profiles import Settings


# Each phase rests on the one before. Every other notebook only looks, or undoes, or stops: it has no gate.
HALT_STEP = "1.8"  # phase 1's proof of the halt, any letter
SWEEP_STEP = "1.9b"  # phase 1's look at the schedule of the sweep
RUNS = ("headless", "attended")  # modes of records that are runs of a phase, and not answers or undos
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
    """Judge a phase's gate from the records of its profile. A notebook that is no phase has no gate."""
    if phase not in ORDER:
        return Gate(phase)
    newest, reasons = latest(settings, root, phase), list(_owed_reasons(settings, root))
    if phase == ORDER[0]:
        return Gate(phase, tuple(reasons), latest=newest)
    before = ORDER[ORDER.index(phase) - 1]
    found = latest(settings, root, before)
    own = OWN_RULES.get(phase, _no_more)
    reasons = [*_record_reasons(settings, before, found), *(own(settings, found) if found else ()), *reasons]
    return Gate(phase, tuple(reasons), found, tuple(_amber(found)) if found else (), newest)


def require(settings: Settings, phase: str, root: Path, override: str | None = None) -> dict[str, Any]:
    """What a run's first event says of its gate; ``override`` is the break-glass reason.

    Raise `StepRefused` with every reason while the gate is closed and nobody breaks the glass, and while somebody
    else holds the writing lock: no reason breaks that.
    """
    _refuse_second_writer(settings, phase)
    judged = gate(settings, phase, root)
    reasons = [*judged.reasons, *(signing.unable(settings) if phase in ORDER else ())]
    if reasons and not override:
        said = "".join(f"\n  {reason}" for reason in reasons)
        raise StepRefused(f"the gate of {phase} is closed:{said}\n./runbook status shows the board")
    broken = {"override": override, "closed": reasons} if override and reasons else {}
    seal = judged.rests_on.sealed() if judged.rests_on else None
    rests_on = {"record": judged.rests_on.name, "seal": seal["hash"]} if judged.rests_on and seal else None
    return {"rests_on": rests_on, "amber": list(judged.amber), **broken}


def _refuse_second_writer(settings: Settings, phase: str) -> None:
    with suppress(ServiceError, ConfigError):  # a database that does not answer is for the phase's own checks to tell
        if phase in ORDER and (other := write_lock.holder(settings)):
            raise StepRefused(f"the gate of {phase} is closed:\n  {write_lock.told(other)}")


def board(settings: Settings, root: Path) -> list[Gate]:
    """Every phase's gate, in order: what ``./runbook status`` prints and what each phase asks."""
    return [gate(settings, phase, root) for phase in ORDER]


def owed(settings: Settings, root: Path) -> Iterator[tuple[Record, ledger.Event]]:
    """Every undo that is owed in the records of a profile, with the newest record that owes it."""
    newest: dict[str, tuple[Record, dict[str, ledger.Event]]] = {}
    for record in of(settings, root):
        found = history.read(record)
        newest[found.root["id"]] = (record, found.owed())
    for record, events in newest.values():
        for event in events.values():
            yield record, event


def evidence(settings: Settings, root: Path, phase: str) -> Record | None:
    """The newest record of a phase that passed and is sound, for what later phases read from it."""
    passed = [r for r in of(settings, root) if _is(r, phase) and (r.sealed() or {}).get("outcome") == "passed"]
    return next((r for r in reversed(passed) if not verify.verify(r.folder, signing.signers(settings))), None)


def of(settings: Settings, root: Path) -> list[Record]:
    """Every record of a profile that has a ledger, oldest first; of a rehearsal that is up, only its own."""
    found = (record for record in ledger.every(root) if record.name.startswith(f"{settings.name}/"))
    return [record for record in found if record.ledger.events() and _same_platform(settings, record)]


def _same_platform(settings: Settings, record: Record) -> bool:
    """Each rehearsal is a platform of its own: what another one owed, or passed, is gone with it."""
    return not settings.platform or record.opened().get("platform") == settings.platform


def _no_more(_: Settings, __: Record) -> Iterator[str]:
    """A phase without rules of its own."""
    yield from ()


def _before_mainnet(settings: Settings, paper: Record) -> Iterator[str]:
    """Real money needs a sweep that notices a dead machine in time (C9), and a stop that was seen to stop."""
    found = history.read(paper)
    passed = {number for number, event in found.outcomes().items() if event["outcome"] == "passed"}
    if not any(number.startswith(HALT_STEP) for number in passed):
        yield f"{paper.name} does not prove the halt on the paper deployment ({HALT_STEP})"
    sweep = found.reply(SWEEP_STEP) if settings.web.sweep == "vercel" else None
    if settings.web.sweep == "vercel":
        schedules = [row["schedule"] for row in (sweep.rows if sweep else ()) if row.get("path") == SWEEP_PATH]
        gaps = [longest_gap(schedule, datetime.now(UTC)) for schedule in schedules]
        if not gaps or max(gaps) > SWEEP_LIMIT:
            known = schedules[0] if schedules else "unknown"
            yield f"the heartbeat sweep's schedule is {known}: at most {SWEEP_LIMIT // 60} minutes apart are allowed"


OWN_RULES = {"phase_2_first_mainnet": _before_mainnet}


def latest(settings: Settings, root: Path, phase: str) -> Record | None:
    """The newest record of a phase on this profile and platform."""
    found = [record for record in of(settings, root) if _is(record, phase)]
    return found[-1] if found else None


def _is(record: Record, phase: str) -> bool:
    opened = record.opened()
    return bool(opened["phase"] == phase and opened["mode"] in RUNS)


def _record_reasons(settings: Settings, phase: str, record: Record | None) -> Iterator[str]:
    """Why a phase's newest record does not carry the next phase."""
    if record is None:
        yield f"{phase} has no record on profile {settings.name}: run it first"
        return
    seal = record.sealed()
    if seal is None:
        goes_on = f"./runbook {'open ' + phase if record.opened()['mode'] == 'attended' else 'resume ' + record.name}"
        yield f"{record.name} is not sealed: it runs still, or was cut off ({goes_on})"
        return
    if seal["outcome"] != "passed":
        yield f"{record.name} is {seal['outcome']}: resume it, or run {phase} again"
    for one in history.chain(record):
        problems = verify.verify(one.folder, signing.signers(settings))
        yield from (f"{one.name} does not verify: {problem}" for problem in problems)
    if record.opened()["profile"] != settings.name:
        yield f"{record.name} was made on profile {record.opened()['profile']}, not {settings.name}"
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
