"""Opening a phase from its notebook: which record it writes to, and how it shows its cards."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from IPython.display import display

from runbook_lib.errors import ConfigError
from runbook_lib.records import alarms, gates, plan
from runbook_lib.records.ledger import Record
from runbook_lib.records.run_record import MODE, OVERRIDE, RECORD, begin, records_root
from runbook_lib.records.verify import LEDGER
from runbook_lib.runs.watched_phase import Lookout
from runbook_lib.settings import profiles
from runbook_lib.steps.display import charts
from runbook_lib.steps.phase import Phase


def open_phase(name: str, *, profile: str) -> Phase | Lookout:
    """The phase of this notebook, in the record this kernel was started for; for a watch, what it sees of it.

    Without one (the notebook was opened by hand) a new record is begun. Raise `ConfigError` if the profile, a
    variable or the notebook's name is wrong, or if the record is another phase's or another profile's.
    """
    chosen = profiles.load(profile)
    chosen.require_variables()
    charts.redact(chosen.redactor().text)
    mode = os.environ.get(MODE, "attended")
    found = _record(name, chosen)
    if found and mode == alarms.MODE:
        return Lookout(name, chosen, found)
    record = found or _begun(plan.notebook(name).stem, chosen, mode)
    shown = partial(display, display_id=True) if mode == "attended" else display  # a place that can be shown anew
    phase = Phase(name, chosen, record, mode=mode, display=shown)
    phase.head()
    return phase


def _begun(name: str, chosen: profiles.Settings, mode: str) -> Record:
    """A new record, if the phase's gate is open or RUNBOOK_OVERRIDE gives a reason to break the glass."""
    opened_by = gates.require(chosen, name, records_root(), os.environ.get(OVERRIDE))
    return begin(chosen, name, source=plan.notebook(name), mode=mode, **opened_by)


def _record(name: str, chosen: profiles.Settings) -> Record | None:
    named = os.environ.get(RECORD)
    folder = Path(named) if named else Path.cwd()
    if not named and not (folder / LEDGER).exists():
        return None
    record = Record(folder, chosen.redactor())
    opened = record.opened()
    if (opened["phase"], opened["profile"]) != (name, chosen.name):
        raise ConfigError(
            f"this notebook is {name} on {chosen.name}; its record is of {opened['phase']} on {opened['profile']}"
        )
    return record
