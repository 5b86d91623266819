"""Write executed cells into the record's notebook, because a front end such as nbconvert saves only its own file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nbformat.v4 import new_code_cell, new_output

from runbook_lib.engine.notebook import merge_streams, read, redacted, write
from runbook_lib.engine.outcome import Cell, Outcome, Result, code_cells, stamp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.records.record_folder import Record

RESULT = {"execute_result": ("data", "metadata", "execution_count"), "display_data": ("data", "metadata")}


@dataclass
class Executed:
    """One execution of a cell: its source, times, outputs and outcome."""

    source: str
    count: int
    started: datetime
    outputs: list[Any] = field(default_factory=list)
    outcome: Outcome = Outcome.RUNNING
    error: str | None = None
    message: str | None = None
    seconds: float | None = None

    def end(self, error: BaseException | None = None) -> None:
        """Set an execution's outcome, error and duration when the cell has ended."""
        self.seconds = (datetime.now(UTC) - self.started).total_seconds()
        self.outcome = Outcome.PASSED
        if error is not None:
            self.outcome = Outcome.INTERRUPTED if isinstance(error, KeyboardInterrupt) else Outcome.FAILED
            self.error, self.message = type(error).__name__, str(error)
            shown = {"ename": self.error, "evalue": self.message, "traceback": [f"{self.error}: {self.message}"]}
            self.outputs.append(new_output("error", **shown))  # type: ignore[no-untyped-call]

    def as_cell(self, index: int) -> Cell:
        """Return an execution from the transcript as one of the engine's cells. ``index`` is the cell's position in the
        notebook.
        """
        return Cell(index, self.outcome, self.started, self.seconds, self.error, self.message)


class Transcript:
    """The transcript of a kernel that a front end started: the cells that the kernel executed.

    The first is the cell that opens the phase.
    """

    def __init__(self, shell: Any) -> None:
        self._began = datetime.now(UTC)
        # The cell that opens the phase runs already. Those above it hold parameters, and showed nothing.
        opening = shell.kernel.get_parent("shell")["content"]["code"]
        self._executed = [Executed(opening, shell.execution_count, self._began)]
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)
        shell.display_pub.register_hook(self._keep)
        shell.displayhook.register_hook(self._keep)

    def _begin(self, info: Any) -> None:
        count = self._executed[-1].count + 1  # not the kernel's, which does not count for every front end
        self._executed.append(Executed(info.raw_cell, count, datetime.now(UTC)))

    def _end(self, result: Any) -> None:
        self._executed[-1].end(result.error_before_exec or result.error_in_exec)

    def _keep(self, message: dict[str, Any]) -> dict[str, Any]:
        """Keep a copy of an output that the kernel is about to send to the front end."""
        kind = message["header"]["msg_type"]
        if kind in RESULT:
            content = {name: message["content"][name] for name in RESULT[kind]}
            self._executed[-1].outputs.append(new_output(kind, **content))  # type: ignore[no-untyped-call]
        return message

    def result(self, record: Record) -> Result:
        """Write the transcript's executed cells into the record's notebook.

        Return the outcomes of the notebook and its cells.
        """
        notebook = self._filled(record)
        latest = {executed.source.strip(): executed for executed in self._executed}
        opening, cells = _find(notebook, self._executed[0].source) or 0, []
        for cell in code_cells(notebook):
            above = self._executed[0] if cell.index < opening else None
            executed = latest.get(notebook.cells[cell.index].source.strip(), above)
            cells.append(executed.as_cell(cell.index) if executed else cell)
        outcome, reason = _whole(cells)
        stamp(notebook, cells, outcome, self._began, reason)
        _write(notebook, record)
        seconds = (datetime.now(UTC) - self._began).total_seconds()
        return Result(record.notebook, outcome, tuple(cells), seconds, reason=reason)

    def keep_outputs(self, record: Record) -> None:
        """Write the transcript's outputs into the record's notebook. Keep the outputs of earlier kernels."""
        _write(self._filled(record), record)

    def end_cell(self) -> None:
        """End the transcript's running cell as passed.

        This is the closing cell, which seals the record while it runs.
        """
        self._executed[-1].end()

    def _filled(self, record: Record) -> Any:
        """Return the record's notebook with the outputs of this kernel filled in.

        A cell that was changed is inserted after the cell that ran before it.
        """
        notebook = read(record.notebook)
        place = 0
        for executed in self._executed:
            index = _find(notebook, executed.source)
            if index is None:
                index = place + 1
                notebook.cells.insert(index, new_code_cell(executed.source))  # type: ignore[no-untyped-call]
            place = index
            notebook.cells[index].outputs = list(executed.outputs)
            notebook.cells[index].execution_count = executed.count
        return notebook


def _find(notebook: Any, source: str) -> int | None:
    cells = enumerate(notebook.cells)
    return next((n for n, cell in cells if cell.cell_type == "code" and cell.source.strip() == source.strip()), None)


def _whole(cells: Sequence[Cell]) -> tuple[Outcome, str | None]:
    """Return the outcome of the whole notebook, and the reason if it did not pass."""
    stopped = next((cell for cell in cells if cell.outcome is not Outcome.PASSED), None)
    if stopped is None:
        return Outcome.PASSED, None
    if stopped.outcome is Outcome.NOT_RUN:
        return Outcome.INTERRUPTED, "the kernel ended before the last cell"
    return stopped.outcome, f"{stopped.error}: {stopped.message}"


def _write(notebook: Any, record: Record) -> None:
    merge_streams(notebook)
    write(redacted(notebook, record.redact.text if record.redact else str), record.notebook)
