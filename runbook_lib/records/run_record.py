"""The life of a run: its record is begun, filled by the verbs, and finished with a seal."""

from __future__ import annotations

import os
import platform
import uuid
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import RecordError
from runbook_lib.files import write_whole
from runbook_lib.records import archive, history, ledger, plan, verify
from runbook_lib.records.signing import operator
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook_lib.records.ledger import Event, Record
    from runbook_lib.settings.profiles import Settings

RECORD = "RUNBOOK_RECORD"  # environment variable: the record a kernel writes to
MODE = "RUNBOOK_MODE"  # environment variable: headless, or attended (the default)
OVERRIDE = "RUNBOOK_OVERRIDE"  # environment variable: why a closed gate is passed, for a notebook opened by hand
VERSIONS = ("launch-runbook", "ipykernel", "nbclient", "papermill", "psycopg", "httpx", "pandas")


def records_root() -> Path:
    """The folder of all records; RUNBOOK_RECORDS puts it elsewhere."""
    return Path(os.environ.get("RUNBOOK_RECORDS") or ROOT / "records").absolute()


def begin(
    settings: Settings,
    phase: str,
    *,
    root: Path | None = None,
    parameters: Mapping[str, Any] | None = None,
    parent: Record | None = None,
    mode: str = "headless",
    **facts: Any,
) -> Record:
    """Open a new record. Raise `RecordError` if it cannot be written: then nothing is sent."""
    ran_with = {"phase": phase, "parameters": dict(parameters or {}), "profile": settings.model_dump()}
    seal = _sound_seal(parent) if parent else None
    return ledger.create(
        root or records_root(),
        settings.name,
        phase,
        yaml.safe_dump(ran_with, sort_keys=False, allow_unicode=True),
        settings.redactor(),
        id=str(uuid.uuid4()),
        kind=settings.kind,
        project=settings.project,
        platform=settings.platform,
        operator=operator(),
        mode=mode,
        parent={"record": parent.name, "seal": seal["hash"]} if parent and seal else None,
        versions=versions(),
        **facts,
    )


@cache
def versions() -> dict[str, str]:
    """Python's version and those of the packages that matter; looked up once, for it takes as long as all the rest."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}}


def _sound_seal(parent: Record) -> Event:
    """The seal a new run rests on; raise `RecordError` if the record is open or damaged."""
    seal, problems = parent.sealed(), verify.verify(parent.folder)
    if seal is None or problems:
        raise RecordError(f"nothing can rest on {parent.name}: {'; '.join(problems)}")
    return seal


def latest(record: Record) -> Record:
    """The newest record that rests on this one, directly or through others; itself if none does."""
    resting = [r for r in ledger.every(record.root) if r.profile == record.profile and _parent(r) == record.name]
    return latest(resting[-1]) if resting else record


def _parent(record: Record) -> str | None:
    try:
        return (record.opened().get("parent") or {}).get("record")
    except RecordError:
        return None


def finish(record: Record, *, ended: str | None = None, **facts: Any) -> Event:
    """Seal a record with the outcome its ledger shows; ``ended`` says how a run ended that did not end by itself.

    Raise `RecordError` if a file of the record holds a secret.
    """
    found = history.read(record)
    opened = record.opened()
    planned = plan.steps(record.notebook) if record.notebook.exists() else []
    outcome = "waiting" if opened["mode"] == "confirm" else history.outcome(found, planned)
    if ended is not None and outcome != "unknown" and ended.startswith("interrupted"):
        outcome = "interrupted"
    elif ended is not None and outcome == "passed":
        outcome = "failed"
    return archive.close(
        record,
        outcome,
        phase=opened["phase"],
        profile=opened["profile"],
        project=opened["project"],
        operator=opened["operator"],
        parent=opened["parent"],
        versions=opened["versions"],
        steps=history.counts(found),
        missing=[s.number for s in planned if s.number not in found.outcomes()],
        owed=list(found.owed()),
        **({"recalled": taken} if (taken := history.taken_over(found)) else {}),
        **({"ended": ended} if ended else {}),
        **facts,
    )


def vouch(settings: Settings, parent: Record, waiting: Event, name: str) -> Record:
    """A sealed record of its own that says who vouched for what a sealed record waits for; it waits to be resumed."""
    answer = begin(settings, parent.opened()["phase"], root=parent.root, parent=parent, mode="confirm", by=name)
    for file in ("notebook.ipynb", "parameters.yaml"):
        write_whole(answer.folder / file, (parent.folder / file).read_bytes())
    answer.ledger.append("vouched", step=waiting["step"], statement=waiting["title"], by=name)
    finish(answer)
    return answer
