"""Define the outcomes of cells, and write them into the notebook's metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.notebook import runs

if TYPE_CHECKING:
    from pathlib import Path


class Outcome(StrEnum):
    """The outcome of a cell or of a notebook. A notebook has the outcome of its first cell that did not pass."""

    PASSED = "passed"
    FAILED = "failed"
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"
    KERNEL_DIED = "kernel died"
    NOT_RUN = "not run"
    RUNNING = "running"  # only while it runs; no record holds it


@dataclass(frozen=True)
class Cell:
    """A code cell and its outcome. ``index`` counts all cells of the notebook, from 0."""

    index: int
    outcome: Outcome = Outcome.NOT_RUN
    started: datetime | None = None
    seconds: float | None = None
    error: str | None = None  # the exception's name
    message: str | None = None

    def began(self) -> Cell:
        """Return this cell with the outcome "running", started at this moment."""
        return replace(self, outcome=Outcome.RUNNING, started=datetime.now(UTC))

    def ended(self, outcome: Outcome, error: str | None = None, message: str | None = None) -> Cell:
        """Return this cell with its outcome, ended at this moment."""
        assert self.started is not None  # noqa: S101 - for mypy: only a cell that began can end
        seconds = (datetime.now(UTC) - self.started).total_seconds()
        return replace(self, outcome=outcome, seconds=seconds, error=error, message=message)


@dataclass(frozen=True)
class Result:
    """The result of running a notebook: its path, the outcome of each code cell, and the outcome of the notebook."""

    notebook: Path
    outcome: Outcome
    cells: tuple[Cell, ...]
    seconds: float
    signal: str | None = None  # SIGINT or SIGTERM, if one came, be it too late to interrupt a cell
    reason: str | None = None  # why it ended, when no cell says so

    @property
    def stopped_at(self) -> Cell | None:
        """Return the first cell of a result whose outcome is not "passed". Return None if every cell passed."""
        return next((cell for cell in self.cells if cell.outcome is not Outcome.PASSED), None)


def code_cells(notebook: Any) -> list[Cell]:
    """Return the cells that will run and so have an outcome: code cells that are not blank."""
    return [Cell(index) for index, cell in enumerate(notebook.cells) if runs(cell)]


def stamp(notebook: Any, cells: list[Cell], outcome: Outcome, began: datetime, reason: str | None) -> None:
    """Write the outcomes of a notebook and its cells into the metadata, both under our key and under papermill's.

    papermill marks cells that never ran as completed; here its key gets what really happened.
    """
    ended = datetime.now(UTC)
    spent = {
        "start_time": began.isoformat(),
        "end_time": ended.isoformat(),
        "duration": (ended - began).total_seconds(),
    }
    passed = outcome is Outcome.PASSED
    notebook.metadata["runbook"] = {"outcome": str(outcome), **spent, **({"reason": reason} if reason else {})}
    notebook.metadata.setdefault("papermill", {}).update({**spent, "exception": None if passed else True})
    known = {cell.index: cell for cell in cells}
    reached = True
    for index, node in enumerate(notebook.cells):
        if index in known:
            cell = known[index]
            reached = cell.outcome is Outcome.PASSED
            node.metadata["runbook"] = _ours(cell)
            node.metadata["papermill"] = _papermills(cell)
            if cell.outcome is Outcome.NOT_RUN:
                node.execution_count, node.outputs = None, []
        else:
            node.metadata["papermill"] = {**NEVER, "status": "completed" if reached else "pending"}


NEVER = {"exception": None, "start_time": None, "end_time": None, "duration": None, "status": "pending"}


def _ours(cell: Cell) -> dict[str, Any]:
    said = {"outcome": str(cell.outcome), "seconds": cell.seconds, "error": cell.error, "message": cell.message}
    return {name: value for name, value in said.items() if value is not None}


def _papermills(cell: Cell) -> dict[str, Any]:
    """Return a cell's metadata as papermill writes it, with the status pending, completed or failed.

    A cell that was cut short counts as failed.
    """
    if cell.started is None or cell.seconds is None:
        return NEVER
    passed = cell.outcome is Outcome.PASSED
    return {
        "exception": not passed,
        "start_time": cell.started.isoformat(),
        "end_time": datetime.fromtimestamp(cell.started.timestamp() + cell.seconds, UTC).isoformat(),
        "duration": cell.seconds,
        "status": "completed" if passed else "failed",
    }
