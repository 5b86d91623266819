"""Write to the ledger every executed cell that is not in the plan. A notebook keeps only each cell's latest source."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from IPython import get_ipython

from runbook_lib.errors import RecordError
from runbook_lib.records import plan, verify

if TYPE_CHECKING:
    from runbook_lib.records.record_folder import Record

SHOWN = 4000  # characters of a cell that the ledger keeps

_listener: _Listener | None = None  # a kernel has one: a phase that is opened again listens for its new record


class _Listener:
    """A callback that the kernel calls with every cell before it runs the cell."""

    def __init__(self, record: Record) -> None:
        self._record = record
        planned = record.opened().get("plan") or {}
        self._known = {*planned.get("cells", ()), *map(verify.cell_digest, _given(record))}

    def __call__(self, info: Any) -> None:
        self.hear(str(info.raw_cell))

    def hear(self, source: str) -> None:
        """Write an executed cell to the ledger, unless it is planned or empty."""
        digest = verify.cell_digest(source)
        if source.strip() and digest not in self._known:
            with suppress(RecordError):  # sealed: nothing that runs now is part of it
                steps, text = plan.declared(source), source[:SHOWN]
                self._record.ledger.append("edited", cell=digest, steps=steps, text=text)


def listen(record: Record) -> None:
    """Write this kernel's unplanned cells to the ledger from now on, including the running cell.

    Without a plan, write nothing.
    """
    global _listener  # noqa: PLW0603 - a kernel has one run at a time
    shell: Any = get_ipython()
    if shell is None or record.opened().get("plan") is None:
        return
    if _listener is not None:
        with suppress(ValueError):
            shell.events.unregister("pre_run_cell", _listener)
    _listener = _Listener(record)
    shell.events.register("pre_run_cell", _listener)
    _listener.hear(_asking(shell))


def _asking(shell: Any) -> str:
    """Return the running cell's source as the front end sent it.

    If the kernel does not provide it, return an empty text.
    """
    try:
        return str(shell.get_parent()["content"]["code"])
    except (AttributeError, LookupError, TypeError):
        return ""


def _given(record: Record) -> list[str]:
    """Return the sources of the cells that set the run's parameters.

    These cells are unplanned, but do not count as edits.
    """
    try:
        cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, LookupError):
        return []
    return [
        "".join(cell["source"]) for cell in cells if "injected-parameters" in cell.get("metadata", {}).get("tags", ())
    ]
