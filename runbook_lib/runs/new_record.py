"""Begin the record of a run: what a headless, an attended and a plainly opened notebook have in common."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.notebook import prepare
from runbook_lib.errors import ConfigError
from runbook_lib.files import write_whole
from runbook_lib.records import gates, plan, run_record
from runbook_lib.records.ledger import Record

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
    """A new record that holds a copy of ``notebook``, ready to be run or stepped through.

    Raise `ConfigError`, before a record is made, if a parameter, the profile or a variable is wrong; `StepRefused`
    while the phase's gate is closed and no ``override`` gives a reason to break the glass.
    """
    settings.require_variables()
    if "profile" in parameters:
        raise ConfigError(f"profile is no -p parameter: this run goes to {settings.name!r}; choose with --profile")
    phase = plan.phase(notebook)
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "notebook.ipynb"
        prepare(notebook, draft, {"profile": settings.name, **parameters})
        opened_by = gates.require(settings, phase, run_record.records_root(), override)
        record = run_record.begin(
            settings, phase, source=notebook, parameters=parameters, parent=parent, mode=mode, **opened_by
        )
        write_whole(record.notebook, draft.read_bytes())
    return record


def unfinished(settings: Settings, phase: str) -> Record | None:
    """The newest record of a phase that is stepped through and not sealed yet: it is gone on with."""
    newest = gates.latest(settings, run_record.records_root(), phase)
    if newest is None or newest.sealed() or newest.opened()["mode"] != "attended":
        return None
    return Record(newest.folder, settings.redactor())
