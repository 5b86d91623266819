"""Open a phase from its notebook, in the record that its kernel was started for, or in a new record."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import display

from runbook_lib.errors import ConfigError
from runbook_lib.records import alarms
from runbook_lib.records.record_folder import Record
from runbook_lib.records.run_record import MODE, RECORD
from runbook_lib.records.verify import LEDGER
from runbook_lib.runs import unplanned_cells
from runbook_lib.runs.watched_phase import Lookout
from runbook_lib.settings import profiles
from runbook_lib.steps.display import charts
from runbook_lib.steps.phase import Phase

if TYPE_CHECKING:
    from runbook_lib.runs.plain_front_end import PlainRun

_plain: PlainRun | None = None


def open_phase(name: str, *, profile: str) -> Phase | Lookout:
    """Open this notebook's phase in the record that the kernel was started for. In a watch, return a `Lookout` instead.

    A kernel that was not started by one of our commands (but by papermill, say) begins a record, or continues its own.
    Raise `ConfigError` if the profile, a variable, a parameter or the notebook's name is wrong, or if the record is of
    another phase or another profile.
    """
    plain = _plain_run(name, profile)
    settings = profiles.load(profile)
    settings.require_variables()
    charts.redact(settings.redactor().text)
    mode, record = os.environ.get(MODE, "attended"), _record(name, settings)
    if mode == alarms.MODE:
        return Lookout(name, settings, record)
    shown = partial(display, display_id=True) if mode == "attended" else display  # a place that can be shown anew
    phase = Phase(name, settings, record, mode=mode, display=shown, when_closed=plain.close if plain else None)
    phase.head()
    unplanned_cells.listen(record)
    if plain:
        plain.warn(shown)
    return phase


def _plain_run(name: str, profile: str) -> PlainRun | None:
    """Return the run of a kernel that none of our commands started. Begin or continue this run.

    Return None if one of our commands started the kernel for a record.
    """
    global _plain  # noqa: PLW0603 - a kernel has one run at a time
    if _plain or not (RECORD in os.environ or (Path.cwd() / LEDGER).exists()):
        from runbook_lib.runs import plain_front_end  # noqa: PLC0415 - only where no command of ours started the kernel

        _plain = plain_front_end.enter(name, profile, _plain)
    return _plain


def _record(name: str, settings: profiles.Settings) -> Record:
    record = Record(Path(os.environ.get(RECORD) or Path.cwd()), settings.redactor())
    opened = record.opened()
    if (opened["phase"], opened["profile"]) != (name, settings.name):
        raise ConfigError(
            f"this notebook is {name} on {settings.name}; its record is of {opened['phase']} on {opened['profile']}"
        )
    return record
