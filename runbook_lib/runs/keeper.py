"""Watch a headless kernel from another process, the keeper. If the kernel is killed, the keeper seals the run's record.

A kernel that is not killed seals its record when it ends, and then there is nothing to do here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runbook_lib.records import run_record
from runbook_lib.records.record_folder import Record
from runbook_lib.runs import static_outputs
from runbook_lib.settings import profiles


def start(record: Record) -> subprocess.Popen[bytes]:
    """Start the keeper of a record, a process whose stdin closes when this kernel ends."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(record.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what interrupts the kernel must not end its keeper
    )


def _keep(folder: Path) -> None:
    # Loaded without its platform, which may be gone by then: all that is needed is what no file may hold.
    record = Record(folder, profiles.redactor_of_all())
    sys.stdin.buffer.read()
    if record.sealed() is None:
        static_outputs.rewrite(record, production=record.opened()["kind"] == "production")
        run_record.finish(record, ended="cut off: the kernel ended before its notebook")


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))
