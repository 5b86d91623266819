"""Find this checkout's rehearsal or start one, and set this process's environment variables for it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal import lifecycle

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from runbook_lib.records.record_folder import Record
    from runbook_lib.rehearsal.lifecycle import Running

PROFILE = "rehearsal"  # the profile whose platform is brought up where it is not there
KNOCK = 2.0  # seconds that a stand-in on this machine is given to accept a connection
FOLDER = "RUNBOOK_REHEARSAL"  # environment variable: the rehearsal whose environment this is


def starting_state(path: Path) -> str:
    """Return the starting state for a rehearsal of a notebook.

    The notebook's metadata names it: ``rehearsal.start``.
    """
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    return str(metadata.get("rehearsal", {}).get("start", "clean"))


def join(running: Running) -> None:
    """Set this process's environment for a rehearsal: the secrets, and the stand-in executables first on the PATH."""
    os.environ.update(running.environment)
    os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def joined() -> bool:
    """Join the newest rehearsal that is kept up for this checkout, unless this process has already joined one.

    Return whether a rehearsal is joined now. Every command calls this, so that all of them choose the same rehearsal.
    """
    if FOLDER not in os.environ and (kept := lifecycle.find(kept=True)):
        join(kept[-1])
    return FOLDER in os.environ


def is_gone(record: Record) -> bool:
    """Return whether a record was made in a rehearsal that is no longer running.

    Raise `ConfigError` if the rehearsal cannot be found but something still answers at its address.
    """
    opened, up = record.opened(), lifecycle.find(everywhere=True)
    if opened["kind"] != PROFILE or opened["platform"] in {running.folder.name for running in up}:
        return False
    _refuse_out_of_sight(record, {running.addresses["person"] for running in up})
    return True


def _refuse_out_of_sight(record: Record, known: Collection[str]) -> None:
    """Raise `ConfigError` if something answers at the address of a record's rehearsal, and no rehearsal in sight does.

    Rehearsals are found in the folder for temporary files: one that was started with another TMPDIR may be running.
    """
    ran_with = yaml.safe_load((record.folder / "parameters.yaml").read_text(encoding="utf-8")) or {}
    address = ((ran_with.get("profile") or {}).get("person") or {}).get("url")
    if address is None or address in known or not _answers(address):
        return
    raise ConfigError(
        f"{record.name}: its rehearsal {record.opened()['platform']} is not found, but something answers at {address}: "
        "set TMPDIR as it was when the rehearsal was started, or end what answers there"
    )


def _answers(address: str) -> bool:
    place = urlsplit(address)
    try:
        socket.create_connection((place.hostname or "", place.port or 80), timeout=KNOCK).close()
    except OSError:
        return False
    return True


def rejoin(record: Record) -> None:
    """Join the rehearsal in which a record was made, unless this process has already joined one.

    Raise `ConfigError` if that rehearsal is gone or if another one is joined: what the record's run has done was done
    on its own platform, and on no other.
    """
    own = record.opened()["platform"]
    up = {running.folder.name: running for running in lifecycle.find(everywhere=True)}
    if own in up and FOLDER not in os.environ:
        join(up[own])
    addressed = Path(os.environ[FOLDER]).name if joined() else None
    if addressed == own:
        return
    other = f"; commands would go to {addressed}" if addressed else ""
    if own in up:
        raise ConfigError(f"{record.name} was made in rehearsal {own}{other}: unset {FOLDER}, and try again")
    again = f"./runbook run {record.opened()['phase']}"
    raise ConfigError(f"{record.name} was made in rehearsal {own}, which is gone{other}: begin anew with {again}")


def alone(state: str) -> str | None:
    """Return the reason for overriding closed gates in a rehearsal that starts in ``state``, or None for ``clean``."""
    return f"rehearsed alone, from {state}" if state != "clean" else None


def join_or_keep(state: str, *, named: str | None = None, faults: Sequence[str] = ()) -> str | None:
    """Join this checkout's kept rehearsal. If there is none, start one in ``state`` and keep it up.

    Return the reason for overriding its gates, None if there is none. ``named`` is a state that the user asked for: if
    it or ``faults`` are given, a new rehearsal is started in any case.
    """
    if named is None and not faults and joined():
        return None
    join(lifecycle.keep(state=named or state, faults=faults))
    return alone(named or state)


def join_or_begin(state: str) -> str | None:
    """Join this checkout's kept rehearsal, or `begin` one. Return the reason for overriding closed gates, or None."""
    return None if joined() else begin(state)


def begin(state: str) -> str | None:
    """Start a rehearsal that ends with this process, and join it.

    Return the reason for overriding its gates, or None.
    """
    join(lifecycle.begin(state=state))
    return alone(state)
