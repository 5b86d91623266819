"""Judge from verified records, and from the writing lock, whether a phase may open.

The chain of seals tells which record is the newest, and the database's clock tells how old it is: neither a folder's
name nor this computer's clock opens a gate.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, SWEEP_PATH, longest_gap
from runbook_lib.errors import ConfigError, RecordError, ServiceError, StepRefused
from runbook_lib.records import history, ledger, plan, record_folder, seal_chain, signing, verify
from runbook_lib.services import write_lock
from runbook_lib.services.database import database_time
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings


# Each phase rests on the one before. Every other notebook only looks, or undoes, or stops: it has no gate.
HALT_STEP = "1.8"  # phase 1's proof of the halt, any letter
SWEEP_STEP = "1.9b"  # phase 1's look at the schedule of the sweep
# What running a phase again costs, where that must not be asked for lightly.
COSTLY = {"phase_2_first_mainnet": "needs another wallet", "phase_4_first_day": "would deploy again"}
OVERRIDE = "--override REASON opens the next phase on it, on the record"
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
    """The gate of a phase. The gate is open if there are no ``reasons`` against opening it.

    ``rests_on`` is the record of the phase before. ``amber``: the reasons given for passing closed gates, in that
    record and in those it rests on.
    """

    phase: str
    reasons: tuple[str, ...] = ()
    rests_on: Record | None = None
    amber: tuple[str, ...] = ()
    latest: Record | None = field(default=None, compare=False)
    gone: bool = False  # the latest record is of a rehearsal that has ended

    @property
    def open(self) -> bool:
        return not self.reasons

    @property
    def outcome(self) -> str:
        """Describe the outcome of the phase's latest record. Return an empty text if the phase has no record."""
        seal = self.latest.sealed() if self.latest else None
        outcome = str(seal["outcome"]) if seal else "not sealed" if self.latest else ""
        return f"{outcome}, platform gone" if self.gone else outcome


def gate(settings: Settings, phase: str, root: Path, now: datetime | None = None) -> Gate:
    """Judge a phase's gate from the records of its profile. A notebook that is no phase has an open gate.

    ``now`` is the database's time; without it, records are dated by this computer's clock.
    """
    if phase not in ORDER:
        return Gate(phase)
    reasons = [*_owed_reasons(settings, root), *_unreadable(settings, root), *_broken_chain(settings, root)]
    newest = latest(settings, root, phase)
    gone = newest is not None and platform_gone(settings, newest)
    if phase == ORDER[0]:
        return Gate(phase, tuple(reasons), latest=newest, gone=gone)
    before = ORDER[ORDER.index(phase) - 1]
    record = latest(settings, root, before)
    own = OWN_RULES.get(phase, _no_more)
    judged = _record_reasons(settings, before, record, now or datetime.now(UTC))
    reasons = [
        *judged,
        *(_claims_due(phase, record) if record else ()),
        *(own(settings, record) if record else ()),
        *reasons,
    ]
    return Gate(phase, tuple(reasons), record, tuple(_amber(record)) if record else (), newest, gone)


def require(settings: Settings, phase: str, root: Path, override: str | None = None) -> dict[str, Any]:
    """Raise unless a phase's gate is open. Return what the run's first ledger line must say of the gate.

    ``override`` is an operator's reason for passing a closed gate. Raise `StepRefused` with every reason if the gate is
    closed and there is no ``override``. Raise it too while somebody else holds the writing lock, even with an
    ``override``.
    """
    _refuse_second_writer(settings, phase)
    now = _database_time(settings) if phase in ORDER else None
    judged = gate(settings, phase, root, now)
    reasons = [*judged.reasons, *(signing.unable(settings) if phase in ORDER else ())]
    if judged.rests_on and now is None and settings.kind == "production":
        reasons.append(f"the database does not tell its time: how old {judged.rests_on.name} is cannot be judged")
    if reasons and not override:
        said = "".join(f"\n  {reason}" for reason in reasons)
        board = addressed("./runbook status shows the board", settings.name)
        raise StepRefused(f"the gate of {phase} is closed:{said}\n{board}")
    broken = {"override": override, "closed": reasons} if override and reasons else {}
    seal = judged.rests_on.sealed() if judged.rests_on else None
    rests_on = {"record": judged.rests_on.name, "seal": seal["hash"]} if judged.rests_on and seal else None
    return {"rests_on": rests_on, "amber": list(judged.amber), **broken}


def _refuse_second_writer(settings: Settings, phase: str) -> None:
    with suppress(ServiceError, ConfigError):  # a database that does not answer is for the phase's own checks to tell
        if phase in ORDER and (other := write_lock.holder(settings)):
            raise StepRefused(f"the gate of {phase} is closed:\n  {write_lock.told(other, settings.name)}")


def _database_time(settings: Settings) -> datetime | None:
    """Return the time by the database's clock. Return None if the database does not answer."""
    with suppress(ServiceError, ConfigError):
        return database_time(settings)
    return None


def board(settings: Settings, root: Path, now: datetime | None = None) -> list[Gate]:
    """Return every phase's gate, in the order of the phases."""
    return [gate(settings, phase, root, now) for phase in ORDER]


def owed(settings: Settings, root: Path) -> Iterator[tuple[Record, ledger.Event]]:
    """Yield every undo that a profile's records owe, with the newest record that owes the undo.

    Owed undos keep gates closed. A record may say that an undo was carried out; it is believed only if it verifies.
    Nothing is owed to a rehearsal that has ended.
    """
    newest: dict[str, tuple[Record, dict[str, ledger.Event]]] = {}
    for record in of(settings, root):
        if platform_gone(settings, record):
            continue
        run = history.read(record)
        before, after = newest.get(run.root["id"], (record, {}))[1], run.owed()
        if before.keys() - after.keys() and verify.verify(record.folder, signing.signers(settings)):
            after = before | after
        newest[run.root["id"]] = (record, after)
    for record, events in newest.values():
        for event in events.values():
            yield record, event


def evidence(settings: Settings, root: Path, phase: str) -> Record | None:
    """Return a phase's newest record that passed and verifies. The gates of later phases rest on it."""
    passed = [r for r in of(settings, root) if _is(r, phase) and (r.sealed() or {}).get("outcome") == "passed"]
    return next((r for r in reversed(passed) if not verify.verify(r.folder, signing.signers(settings))), None)


def of(settings: Settings, root: Path) -> list[Record]:
    """Return the records by which a profile's gates are judged, oldest first.

    In a rehearsal, only records that were made in the same rehearsal count. Without one, the board shows those of
    rehearsals that have ended, and marks them as such.
    """
    readable = [record for record in _all(settings, root) if _read(record) is None]
    ours = [record for record in readable if not settings.platform or not platform_gone(settings, record)]
    return seal_chain.in_order(ours, readable)


def _all(settings: Settings, root: Path) -> list[Record]:
    of_profile = (record for record in record_folder.every(root) if record.profile == settings.name)
    return [record for record in of_profile if record.ledger.path.exists()]


def _read(record: Record) -> str | None:
    """Return why a record cannot be read. Return None if it can be read."""
    try:
        record.opened()
        record.ledger.events()
    except (RecordError, OSError) as error:
        return str(error)
    return None


def platform_gone(settings: Settings, record: Record) -> bool:
    """Return whether a record was made in a rehearsal other than the one in use now: each is a platform of its own."""
    return settings.kind == "rehearsal" and record.opened().get("platform", "") != settings.platform


def _no_more(_: Settings, __: Record) -> Iterator[str]:
    """Yield nothing: this phase's gate has no further rules."""
    yield from ()


def _before_mainnet(settings: Settings, paper: Record) -> Iterator[str]:
    """Yield a reason to keep mainnet closed for each proof that the paper phase's record lacks.

    The proofs are that the halt works, and that a sweep notices a dead machine in time (C9).
    """
    run = history.read(paper)
    passed = {number for number, event in run.outcomes().items() if event["outcome"] == "passed"}
    if not any(number.startswith(HALT_STEP) for number in passed):
        yield f"{paper.name} does not prove the halt on the paper deployment ({HALT_STEP})"
    sweep = run.reply(SWEEP_STEP) if settings.web.sweep == "vercel" else None
    if settings.web.sweep == "vercel":
        schedules = [row["schedule"] for row in (sweep.rows if sweep else ()) if row.get("path") == SWEEP_PATH]
        gaps = [longest_gap(schedule, datetime.now(UTC)) for schedule in schedules]
        if not gaps or max(gaps) > SWEEP_LIMIT:
            known = schedules[0] if schedules else "unknown"
            yield f"the heartbeat sweep's schedule is {known}: at most {SWEEP_LIMIT // 60} minutes apart are allowed"


OWN_RULES = {"phase_2_first_mainnet": _before_mainnet}


def latest(settings: Settings, root: Path, phase: str) -> Record | None:
    """Return a phase's newest record on this platform, by which its gate is judged. Return None if there is none."""
    runs = [record for record in of(settings, root) if _is(record, phase)]
    return seal_chain.in_order(runs, of(settings, root))[-1] if runs else None


def _is(record: Record, phase: str) -> bool:
    opened = record.opened()
    return bool(opened["phase"] == phase and opened["mode"] in verify.RUNS)


def _record_reasons(settings: Settings, phase: str, record: Record | None, now: datetime) -> Iterator[str]:
    """Yield the reasons why a phase's newest record does not open the next phase's gate."""
    if record is None:
        yield f"{phase} has no record on profile {settings.name}: run it first"
        return
    opened, seal = record.opened(), record.sealed()
    if seal is None:
        goes_on = f"./runbook {'open ' + phase if opened['mode'] == 'attended' else 'resume ' + record.name}"
        yield f"{record.name} is not sealed: it runs still, or was cut off ({addressed(goes_on, settings.name)})"
        return
    if seal["outcome"] != "passed":
        yield f"{record.name} is {seal['outcome']}: {_or_again(phase, 'resume it', cheap='resume it, or ')}"
    for earlier in history.chain(record):
        problems = verify.verify(earlier.folder, signing.signers(settings))
        yield from (f"{earlier.name} does not verify: {problem}" for problem in problems)
    if platform_gone(settings, record):
        yield f"{record.name} is of a rehearsal that has ended, and its platform with it: run {phase} again"
    if opened["profile"] != settings.name:
        yield f"{record.name} was made on profile {opened['profile']}, not {settings.name}"
    if opened.get("project") != settings.project:
        yield f"{record.name} is of project {opened.get('project')}, the profile names {settings.project}"
    yield from _plan_reasons(phase, record)
    yield from _age_reasons(settings, phase, record, seal, now)


def _plan_reasons(phase: str, record: Record) -> Iterator[str]:
    """Yield a reason against a gate if a record did not follow its phase's accepted plan, or ran edited cells."""
    planned = record.opened().get("plan")
    if planned is None or planned != plan.accepted(phase):
        again = _or_again(phase, OVERRIDE)
        yield f"{record.name} did not follow the plan of {phase} that {plan.ACCEPTED} holds: {again}"
    if edited := (record.sealed() or {}).get("edited"):
        yield f"{record.name} ran cells that were edited: {', '.join(edited)}"


def _age_reasons(settings: Settings, phase: str, record: Record, seal: ledger.Event, now: datetime) -> Iterator[str]:
    age = (now - datetime.fromisoformat(seal["at"])).total_seconds()
    limit = settings.gates.hours(phase)
    if age > limit * 3600:
        again = _or_again(phase, f"raise gates.ages.{phase} in parameters/{settings.name}.yaml")
        yield f"{record.name} is {_age(age / 3600)} old, at most {_age(limit)} are allowed: {again}"
    if -age > settings.budgets.clock_skew:
        again = _or_again(phase, "wait until then, or correct that clock")
        yield f"{record.name} was sealed {-age:.0f} s from now, by the clock that is asked here: {again}"


def _or_again(phase: str, otherwise: str, cheap: str = "") -> str:
    """Return the advice to run a phase again. If that costs too much, advise ``otherwise`` and name the cost."""
    if phase in COSTLY:
        return f"{otherwise}; running it again {COSTLY[phase]}"
    return f"{cheap}run {phase} again"


def _age(hours: float) -> str:
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"


def _claims_due(phase: str, record: Record) -> Iterator[str]:
    """Yield a reason for each claim that a record left unproven and that should have been proven before this phase."""
    for claim in (record.sealed() or {}).get("unproven", ()):
        if claim["due"].partition(".")[0] < phase.removeprefix("phase_")[:1]:
            words = f"{claim['step']} could not prove that {claim['claim']} ({claim['why']}), nor did {claim['due']}"
            own = claim["due"].partition(".")[0] == record.opened()["phase"].removeprefix("phase_")[:1]
            yield f"{words}; ./runbook resume {record.name} looks again" if own else words


def _unreadable(settings: Settings, root: Path) -> Iterator[str]:
    for record in _all(settings, root):
        if (problem := _read(record)) is not None:
            yield f"{problem} (move {record.name} out of the records if it is none)"


def _broken_chain(settings: Settings, root: Path) -> Iterator[str]:
    """Yield a reason for each sign, in the chain of seals, that a production record was removed or inserted."""
    if settings.kind == "production":
        readable = [record for record in _all(settings, root) if _read(record) is None]
        sealed = [(record, seal) for record in readable if (seal := record.sealed())]
        yield from verify.chain([(record.folder, verify.linked(record.opened(), seal)) for record, seal in sealed])


def _owed_reasons(settings: Settings, root: Path) -> Iterator[str]:
    for record, event in owed(settings, root):
        yield f"{event['step']} of {record.name} owes an undo: ./runbook undo {record.name}"


def _amber(record: Record) -> Iterator[str]:
    """Yield the reasons that operators gave for overriding closed gates.

    They were given in this record, in the records that this record resumes, or in earlier phases.
    """
    for earlier in history.chain(record):
        opened = earlier.opened()
        if opened.get("override"):
            yield f"{earlier.name}: {opened['override']}"
        yield from opened.get("amber", ())
