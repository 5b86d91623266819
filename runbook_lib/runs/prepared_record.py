"""Prepare the record of a run with a copy of the notebook in it. After the run, seal the record."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.notebook import prepare, refuse_wrong_parameter
from runbook_lib.engine.outcome import Outcome, Result
from runbook_lib.errors import ConfigError
from runbook_lib.files import write_whole
from runbook_lib.records import gates, plan, record_folder, run_record
from runbook_lib.records.ledger import Event
from runbook_lib.records.record_folder import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook_lib.settings.profiles import Settings


def prepared(
    settings: Settings,
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    parent: Record | None = None,
    override: str | None,
    mode: str,
) -> Record:
    """Prepare a record with a copy of ``notebook`` in it, ready to be run or stepped through.

    Raise, before a record is made, `ConfigError` if a parameter, the profile or a variable is wrong; `StepRefused`
    while the phase's gate is closed and no ``override`` gives a reason for passing it.
    """
    settings.require_variables()
    if "profile" in parameters:
        raise ConfigError(f"profile is no -p parameter: this run goes to {settings.name!r}; choose with --profile")
    phase = plan.phase(notebook)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "notebook.ipynb"
        prepare(notebook, draft, {"profile": settings.name, **parameters})
        opened_by = gates.require(settings, phase, record_folder.records_root(), override)
        record = run_record.begin(
            settings, phase, source=notebook, parameters=parameters, parent=parent, mode=mode, **opened_by
        )
        write_whole(record.notebook, draft.read_bytes())
    return record


def refuse_wrong_parameters(notebook: str, defaults: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a given parameter is not one of the notebook's. No record is prepared then."""
    if {"kind", "project"} <= given.keys():
        raise ConfigError("a profile is chosen by its name, not by its file: -p profile NAME; nothing was sent")
    for name, value in given.items():
        refuse_wrong_parameter(notebook, defaults, name, value)


def unfinished(settings: Settings, phase: str) -> Record | None:
    """Return a phase's newest record if it is an attended run's and not sealed yet. Otherwise return None."""
    newest = gates.latest(settings, record_folder.records_root(), phase)
    if newest is None or newest.sealed() or newest.opened()["mode"] != "attended":
        return None
    return Record(newest.folder, settings.redactor())


def seal(record: Record, result: Result) -> Event:
    """Seal the record of a headless run, with the way in which the run and each cell ended."""
    ended = None if result.outcome is Outcome.PASSED else str(result.outcome)
    if ended and result.reason:
        ended = f"{ended}: {result.reason}"
    cells = [f"{cell.index} {cell.outcome}" for cell in result.cells]
    return run_record.finish(record, ended=ended, cells=cells, seconds=round(result.seconds, 3))
