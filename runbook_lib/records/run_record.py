"""Begin the record of a run, and finish it with a seal when the run has ended."""

from __future__ import annotations

import platform
import uuid
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import ConfigError, RecordError
from runbook_lib.files import FOLDER, make_folder, write_new, write_whole
from runbook_lib.records import archive, plan, record_folder, signing, verify
from runbook_lib.records.record_folder import Record, records_root
from runbook_lib.records.seal_chain import head
from runbook_lib.records.signing import operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from runbook_lib.records.ledger import Event
    from runbook_lib.settings.profiles import Settings
    from runbook_lib.settings.redaction import Redactor

RECORD = "RUNBOOK_RECORD"  # environment variable: the record a kernel writes to
MODE = "RUNBOOK_MODE"  # environment variable: headless, or attended (the default)
OVERRIDE = "RUNBOOK_OVERRIDE"  # environment variable: why a closed gate is passed, for a notebook opened by hand
VERSIONS = ("launch-runbook", "ipykernel", "nbclient", "papermill", "psycopg", "httpx", "pandas")


def create(
    root: Path,
    profile: str,
    phase: str,
    parameters: str,
    redact: Redactor | None = None,
    *,
    kind: str = "rehearsal",
    mode: str = "headless",
    operator: str = "",
    id: str | None = None,
    parent: Event | None = None,
    **facts: Any,
) -> Record:
    """Create a run's record: its dated folder, the parameters, and the ledger's ``opened`` line."""
    now = datetime.now(UTC)
    day = root / profile / now.strftime("%Y-%m-%d")
    folder = day / f"{now:%H%M%S}Z_{phase}"
    number = 1
    try:
        make_folder(day)
        while True:
            try:
                folder.mkdir(FOLDER)
                break
            except FileExistsError:
                number += 1
                folder = day / f"{now:%H%M%S}Z_{phase}-{number}"
        write_new(folder / "parameters.yaml", (redact.text(parameters) if redact else parameters).encode())
    except OSError as error:
        raise RecordError(f"{folder}: cannot make the record: {error.strerror}") from error
    record = Record(folder, redact)
    run = {"phase": phase, "profile": profile, "record": record.name, "kind": kind, "operator": operator, "mode": mode}
    record.ledger.append(
        "opened", **run, id=id or str(uuid.uuid4()), parent=parent, after=head(root / profile), **facts
    )
    return record


def begin(
    settings: Settings,
    phase: str,
    *,
    root: Path | None = None,
    source: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    parent: Record | None = None,
    mode: str = "headless",
    **facts: Any,
) -> Record:
    """Begin a run's record. The run follows the plan of notebook ``source`` and may resume the record ``parent``.

    Raise `RecordError` if the record cannot be written: then the run must not send anything.
    """
    root = root or records_root()
    ran_with = {"phase": phase, "parameters": dict(parameters or {}), "profile": settings.model_dump()}
    seal = _sound_seal(parent, settings) if parent else None
    before = [seal, _seal_below(root, facts.get("rests_on"))]
    return create(
        root,
        settings.name,
        phase,
        yaml.safe_dump(ran_with, sort_keys=False, allow_unicode=True),
        settings.redactor(),
        kind=settings.kind,
        project=settings.project,
        platform=settings.platform,
        operator=operator(),
        mode=mode,
        parent={"record": parent.name, "seal": seal["hash"]} if parent and seal else None,
        versions=versions(),
        plan=plan.written_down(source) if source else None,
        owes=list(seal["owed"]) if seal else [],
        carried=_merged(claim for earlier in before if earlier for claim in earlier["unproven"]),
        **facts,
    )


def _seal_below(root: Path, rests_on: Event | None) -> Event | None:
    """Return the seal of the record that opened this run's gate. Return None if no record did."""
    return Record(root / rests_on["record"]).sealed() if rests_on else None


def _merged(claims: Iterable[Event]) -> list[Event]:
    """Return the unproven claims in order, each once."""
    merged: list[Event] = []
    for claim in claims:
        if claim not in merged:
            merged.append(claim)
    return merged


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a run's record states.

    They are cached, because finding them is slow.
    """
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}}


def _sound_seal(parent: Record, settings: Settings) -> Event:
    """Return the seal of the record that a new run resumes.

    Raise `RecordError` if that record, or one that it resumes, is not sealed, is damaged, or is not signed by an
    allowed signer.
    """
    following: Event | None = None
    for record in reversed((*parent.parents, parent)):
        problems = verify.verify(record.folder, signing.signers(settings))
        seal = record.sealed() if not problems else None
        if seal is None or (following and following["seal"] != seal["hash"]):
            why = "; ".join(problems) or "it is not the one that was gone on from"
            raise RecordError(f"nothing can rest on {record.name}: {why}")
        following = record.opened()["parent"]
    return parent.ledger.events()[-1]


def refuse_unadoptable(record: Record, settings: Settings) -> None:
    """Raise `RecordError` unless a killed run's record is undamaged and of this profile, so that it may be sealed.

    In production the run must also be this operator's and must have followed the accepted plan.
    """
    record.ledger.mend()
    lines, problem = verify.read(record.ledger.path)
    opened = lines.opened
    if problem is None and opened["profile"] != settings.name:
        problem = f"it is of profile {opened['profile']}"
    if problem is None and settings.kind == "production" and opened["operator"] != operator():
        problem = f"it is {opened['operator']}'s, and you are {operator()}"
    planned = opened.get("plan")
    if problem is None and settings.kind == "production" and planned != plan.accepted(opened["phase"]):
        problem = f"it did not follow the plan of {opened['phase']} that {plan.ACCEPTED} holds"
    if problem is not None:
        raise RecordError(f"{record.name} cannot be adopted: {problem}")


def latest(record: Record) -> Record:
    """Return the newest record that resumes this record, directly or through other records.

    If no record resumes the run, return this record.
    """
    resting = [r for r in record_folder.every(record.root) if r.profile == record.profile and _parent(r) == record.name]
    return latest(resting[-1]) if resting else record


def _parent(record: Record) -> str | None:
    try:
        return (record.opened().get("parent") or {}).get("record")
    except RecordError:
        return None


def finish(record: Record, *, ended: str | None = None, **facts: Any) -> Event:
    """Finish a run's record: seal it with the outcome that its ledger shows. ``ended`` says why a run ended early.

    Raise `RecordError` if a file of the record holds a secret.
    """
    return archive.close(record, **({"ended": ended} if ended else {}), **facts)


def vouch(settings: Settings, parent: Record, waiting: Event, name: str) -> Record:
    """Make a sealed record that says who vouched for the statement on which ``parent`` waits.

    A run can then resume that record. Raise `ConfigError` in production if ``name`` is not the operator, who signs.
    """
    if settings.kind == "production" and name != operator():
        raise ConfigError(f"who vouches is who signs, and that is {operator()!r} here, not {name!r}")
    answer = begin(settings, parent.opened()["phase"], root=parent.root, parent=parent, mode="confirm", by=name)
    write_whole(answer.folder / "parameters.yaml", (parent.folder / "parameters.yaml").read_bytes())
    answer.ledger.append("vouched", step=waiting["step"], statement=waiting["title"], by=name)
    finish(answer)
    return answer
