"""Find the rehearsal that belongs to this checkout, bring one up where none is, and take on its environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from runbook_lib.rehearsal import lifecycle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.records.ledger import Record
    from runbook_lib.rehearsal.lifecycle import Running

PROFILE = "rehearsal"  # the profile whose platform is brought up where it is not there
FOLDER = "RUNBOOK_REHEARSAL"  # environment variable: the rehearsal whose environment this is


def join(running: Running) -> None:
    """Take on the environment of a rehearsal: its secrets, and its stand-in executables first on the PATH."""
    os.environ.update(running.environment)
    os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def joined() -> bool:
    """Whether this process goes to a rehearsal: it has joined one, or joins now the newest kept up for this checkout.

    Every command asks here, so that no two of them answer differently.
    """
    if FOLDER not in os.environ and (kept := lifecycle.find(kept=True)):
        join(kept[-1])
    return FOLDER in os.environ


def is_gone(record: Record) -> bool:
    """Whether a record is of a rehearsal that no longer runs."""
    opened = record.opened()
    up = {running.folder.name for running in lifecycle.find(everywhere=True)}
    return opened["kind"] == PROFILE and opened["platform"] not in up


def alone(state: str) -> str | None:
    """Why a phase's gate is passed on a rehearsal that began in ``state``; None where nothing comes before it."""
    return f"rehearsed alone, from {state}" if state != "clean" else None


def join_or_keep(state: str, *, named: str | None = None, faults: Sequence[str] = ()) -> str | None:
    """Join the rehearsal that is kept up, else keep one up from ``state``; why its gates may be passed.

    ``named`` is the state somebody asked for: in it, or with ``faults``, a new one is kept up in any case.
    """
    if named is None and not faults and joined():
        return None
    join(lifecycle.keep(state=named or state, faults=faults))
    return alone(named or state)


def join_or_begin(state: str) -> str | None:
    """Join the rehearsal that is kept up, else bring one up that ends with this process; why its gate may be passed."""
    return None if joined() else begin(state)


def begin(state: str) -> str | None:
    """Bring up a rehearsal that ends with this process, and join it; why its gates may be passed."""
    join(lifecycle.begin(state=state))
    return alone(state)
