"""Record a rehearsal's processes, so that only these processes are ended with the rehearsal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock

from runbook_lib.rehearsal.world.folders import write_json

POLITE = {"postgres": signal.SIGQUIT}  # at once, without waiting for clients: its data is thrown away
_recording = Lock()


def started(pid: int) -> str | None:
    """Return the start time of a process as text, to tell it from a later process with the same id.

    A later process with the same id has another start time. Return None if no process has the id.
    """
    if sys.platform == "linux":
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The name between the parentheses may itself hold spaces and parentheses, so the last one counts.
        state, *fields = stat.rpartition(")")[2].split()
        return None if state == "Z" else fields[18]
    listing = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
    )
    return listing.stdout.strip() or None


def record(folder: Path, role: str, pid: int) -> None:
    """Record a process of the rehearsal in the folder's ``pids.json``.

    Only the platform process calls this function.
    """
    with _recording:
        listed = [entry for entry in recorded(folder) if alive(entry)]
        write_json(folder / "pids.json", [*listed, {"role": role, "pid": pid, "started": started(pid)}])


def recorded(folder: Path) -> list[dict[str, object]]:
    """Return the processes that a rehearsal has recorded, oldest first."""
    try:
        entries: list[dict[str, object]] = json.loads((folder / "pids.json").read_text())
    except (OSError, ValueError):
        return []
    return entries


def alive(entry: dict[str, object]) -> bool:
    """Return whether a recorded process of a rehearsal still runs. Another process with the same id does not count."""
    pid = int(str(entry["pid"]))
    return entry["started"] is not None and started(pid) == entry["started"]


def end(entries: list[dict[str, object]], *, grace: float = 3.0) -> None:
    """End a rehearsal's recorded processes, youngest first: with SIGTERM or the like, and later with SIGKILL."""
    for kill in (False, True):
        for entry in reversed(entries):
            if alive(entry):
                polite = POLITE.get(str(entry["role"]), signal.SIGTERM)
                _signal(int(str(entry["pid"])), signal.SIGKILL if kill else polite)
        deadline = time.monotonic() + grace
        while any(alive(entry) for entry in entries) and time.monotonic() < deadline:
            time.sleep(0.02)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
