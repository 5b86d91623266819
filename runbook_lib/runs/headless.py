"""Run notebooks headless: prepare a copy and a record, execute the cells, and seal the record."""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.kernel_pool import Kernels
from runbook_lib.engine.run import run as execute
from runbook_lib.errors import StepFailed
from runbook_lib.files import write_whole
from runbook_lib.records import plan, run_record
from runbook_lib.records.ledger import Event
from runbook_lib.records.record_folder import Record
from runbook_lib.runs.prepared_record import prepared, seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from runbook_lib.engine.outcome import Cell, Result
    from runbook_lib.settings.profiles import Settings

EXIT = {"passed": 0, "failed": 1, "waiting": 3, "unknown": 4, "interrupted": 130}
ROTATION = ("rotate_secret",)  # of the database's password, under the deployment that the last phase left running
LOOK = 0.05  # seconds between two looks at the ledger for live lines


@dataclass(frozen=True)
class Run:
    """A finished headless run: its record, its seal, and the engine's result."""

    record: Record
    seal: Event
    result: Result

    @property
    def outcome(self) -> str:
        return str(self.seal["outcome"])


def run(
    settings: Settings,
    notebook: Path,
    parameters: Mapping[str, Any],
    *,
    parent: Record | None = None,
    override: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    timeout: float | None = None,
    cell_timeout: float | None = None,
    cwd: Path | None = None,
    on_cell: Callable[[Cell], None] | None = None,
    kernels: Kernels | None = None,
) -> Run:
    """Execute a copy of ``notebook`` headless in a new record, and seal the record.

    ``on_event`` gets every ledger line as soon as it is written. ``timeout`` (for the whole run) and ``cell_timeout``
    (for each cell) are in seconds. `prepared` lists what is refused before the start.
    """
    record = prepared(settings, notebook, parameters, parent=parent, override=override, mode="headless")
    with _followed(record, on_event):
        result = execute(
            record.notebook,
            env={**os.environ, run_record.RECORD: str(record.folder), run_record.MODE: "headless"},
            cwd=cwd or record.folder,
            redact=settings.redactor().text,
            timeout=timeout,
            cell_timeout=cell_timeout,
            on_cell=on_cell,
            kernels=kernels,
        )
        sealed = seal(record, result)
    return Run(record, sealed, result)


@contextmanager
def _followed(record: Record, on_event: Callable[[Event], None] | None) -> Iterator[None]:
    """Pass each new ledger line to ``on_event`` while the block runs, and the remaining lines when it ends."""
    if on_event is None:
        yield
        return
    ended = threading.Event()

    def follow() -> None:
        start = 0
        while True:
            last = ended.wait(LOOK)
            events, start = record.ledger.follow(start)
            for event in events:
                on_event(event)
            if last:
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


def phases(names: tuple[str, ...] = ()) -> list[Path]:
    """Return the notebooks that ``names`` select, to run them headless.

    Without names, these are all phases in order and the rotation of a secret.
    """
    known = plan.notebooks()
    chosen = names or tuple(name for name in known if name.startswith("phase_")) + ROTATION
    return [plan.notebook(name) for name in chosen]


def accept(passed: Run, source: Path) -> None:
    """Copy the closing cell's output of a passed run into the source notebook.

    nbval compares later runs with this output.
    """
    if passed.outcome != "passed":
        raise StepFailed(f"{source.stem} is {passed.outcome}: its closing output is accepted only when it has passed")
    ran = json.loads(passed.record.notebook.read_text(encoding="utf-8"))
    kept = json.loads(source.read_text(encoding="utf-8"))
    outputs = [{"output_type": "display_data", "data": o["data"], "metadata": {}} for o in ran["cells"][-1]["outputs"]]
    kept["cells"][-1] |= {"outputs": outputs, "execution_count": 1}  # nbval compares cells that have been counted
    write_whole(source, (json.dumps(kept, indent=1, ensure_ascii=False) + "\n").encode())
