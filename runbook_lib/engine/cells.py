"""Run a notebook's cells in a kernel, one after another, and report how each cell ended."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import TYPE_CHECKING, Any

from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output

from runbook_lib.engine.kernel_pool import KernelDied
from runbook_lib.engine.outcome import Cell, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from runbook_lib.engine.kernel_pool import Client, Kernel

GRACE = 10.0  # seconds an interrupted cell has for its `finally`
QUIET = 0.1  # seconds without outputs after which a dead kernel has nothing more to say
START = 60.0  # seconds a kernel may take to answer


class Stop:
    """A request to stop the running cells, made by SIGINT or SIGTERM. A second signal kills the kernel."""

    def __init__(self) -> None:
        self.asked, self.insisted = asyncio.Event(), asyncio.Event()
        self.signal: str | None = None

    def press(self, number: int) -> None:
        """Note a signal. The first asks to stop the running cells, the second to kill the kernel."""
        (self.insisted if self.asked.is_set() else self.asked).set()
        self.signal = self.signal or signal.Signals(number).name


class Cells(NotebookClient):
    """An nbclient that sends a notebook's cells to our kernel.

    It also notes when a cell really begins and when its last output came.
    """

    def __init__(self, notebook: Any, kernel: Kernel, client: Client) -> None:
        super().__init__(
            notebook,
            force_raise_errors=True,  # a tag does not turn a failure into a success
            skip_cells_with_tag="",
            iopub_timeout=60,
            raise_on_iopub_timeout=True,  # a record without its outputs is no record
            log=SILENT,
            on_cell_executed=self._note_exit,
        )
        self.kernel, self.kc = kernel, client
        client.allow_stdin = False
        self.began = asyncio.Event()
        self.heard = time.monotonic()
        self.exited = False

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        """Note the time of a kernel's message about the running cell. Then let nbclient handle the message."""
        self.heard = time.monotonic()
        if msg["msg_type"] == "execute_input":
            self.began.set()
        return super().process_message(msg, cell, cell_index)

    def _note_exit(self, execute_reply: dict[str, Any], **_: Any) -> None:
        """Note whether a cell called `exit()`, for which IPython raises no error."""
        asked = [payload.get("source") for payload in execute_reply["content"].get("payload", [])]
        self.exited = "ask_exit" in asked


SILENT = logging.getLogger(__name__)  # what nbclient would print could hold a secret
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


async def first(*waits: asyncio.Future[Any], within: float | None = None) -> bool:
    """Wait until one of ``waits`` is done, at most ``within`` seconds. Return whether one is done.

    The engine waits like this beside a running cell.
    """
    done, _ = await asyncio.wait(waits, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


class Supervisor:
    """The supervisor of running cells: it ends them if the kernel dies, a stop is requested, or the time is over."""

    def __init__(self, stop: Stop, deadline: float | None, cell_timeout: float | None) -> None:
        self._stop, self._deadline, self._cell_timeout = stop, deadline, cell_timeout
        self._asked = asyncio.ensure_future(stop.asked.wait())
        self._insisted = asyncio.ensure_future(stop.insisted.wait())
        self._death: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        """End the supervision of the cells."""
        for wait in (self._asked, self._insisted, self._death):
            wait.cancel()

    def left(self) -> float | None:
        """Return the seconds left for the cells until the run's deadline. Return None if there is no deadline."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def verdict(self) -> Outcome | None:
        """Return the outcome that keeps the next cell from starting. Return None if the next cell may start."""
        if self._asked.done():
            return Outcome.INTERRUPTED
        if self._death.done():
            return Outcome.KERNEL_DIED
        return Outcome.TIMED_OUT if self.left() == 0 else None

    async def start(self, kernel: Kernel, environment: Mapping[str, str], folder: Path) -> Client | Outcome:
        """Connect the cells to ``kernel`` and return the client.

        If connecting fails, return the outcome that tells why.
        """
        self._death = asyncio.ensure_future(kernel.death())
        task = asyncio.ensure_future(kernel.connect(environment, folder))
        limit = START if (left := self.left()) is None else min(START, left)
        await first(task, self._death, self._asked, within=limit)
        if task.done() and not isinstance(task.exception(), KernelDied):
            return task.result()
        await _abandon(task)
        return self.verdict() or Outcome.KERNEL_DIED

    async def execute(self, cells: Cells, cell: Cell) -> Cell:
        """Run one cell that is marked as begun. Return the cell with its outcome."""
        task = asyncio.ensure_future(cells.async_execute_cell(cells.nb.cells[cell.index], cell.index))
        cells.began.clear()
        left, limit = self.left(), self._cell_timeout
        limits = [seconds for seconds in (limit, left) if seconds is not None]
        await first(task, self._death, self._asked, within=min(limits, default=None))
        if task.done():
            return judged(cell, task, exited=cells.exited)
        if self._death.done():
            return await self._bury(cells, cell, task)
        asked = self._asked.done()
        await self._halt(cells, task)
        if asked:
            return cell.ended(Outcome.INTERRUPTED, "Interrupted", self._stop.signal)
        whole = left is not None and left == min(limits)
        message = "the time for the whole notebook is over" if whole else f"no end within {limit:g} s"
        return cell.ended(Outcome.TIMED_OUT, "TimedOut", message)

    async def _bury(self, cells: Cells, cell: Cell, task: asyncio.Future[Any]) -> Cell:
        """Wait for the last outputs of a dead kernel. Return the cell with the outcome "kernel died"."""
        while time.monotonic() - cells.heard < QUIET:
            await asyncio.sleep(QUIET / 5)
        await _abandon(task)
        return cell.ended(Outcome.KERNEL_DIED, "KernelDied", f"the kernel {cells.kernel.how_it_ended()}")

    async def _halt(self, cells: Cells, task: asyncio.Future[Any]) -> None:
        """Interrupt the cell, so that its `finally` runs. If the cell does not end in time, kill the kernel."""
        began = asyncio.ensure_future(cells.began.wait())
        # An interrupt that comes before the cell would be lost; one in its `finally` would spoil it. So: one, in time.
        await first(task, began, self._death, self._insisted, within=1)
        began.cancel()
        cells.kernel.interrupt()
        await first(task, self._death, self._insisted, within=GRACE)
        if not task.done():
            cells.kernel.kill()
        await _abandon(task)


async def _abandon(task: asyncio.Future[Any]) -> None:
    """Cancel ``task``, which runs a cell or connects a kernel, and read its exception.

    If nobody read the exception, asyncio would print it, and its text may hold secrets.
    """
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


def judged(cell: Cell, task: asyncio.Future[Any], *, exited: bool) -> Cell:
    """Return a cell whose execution was not interrupted, together with its outcome.

    The outcome is read from ``task``, which executed the cell.
    """
    match task.exception():
        case None if exited:
            return cell.ended(Outcome.FAILED, "SystemExit", "the cell asked to exit")
        case None:
            return cell.ended(Outcome.PASSED)
        case CellExecutionError() as error:
            return cell.ended(Outcome.FAILED, error.ename, error.evalue)
        case DeadKernelError():
            return cell.ended(Outcome.KERNEL_DIED, "KernelDied", "the kernel died")
        case CellTimeoutError():
            return cell.ended(Outcome.FAILED, "OutputsLost", "the kernel answered, but its outputs did not all come")
        case error:  # of nbclient, over a message it does not understand
            return cell.ended(Outcome.FAILED, "OutputsLost", f"{type(error).__name__}: {error}")


async def run_cells(cells: Cells, known: list[Cell], supervisor: Supervisor, tell: Callable[[Cell], None]) -> Outcome:
    """Run the cells in order until one does not pass, and return the notebook's outcome.

    ``known`` holds the cells; each is replaced there as it ends. ``tell`` is called as a cell begins and as it ends.
    """
    for position, cell in enumerate(known):
        if verdict := supervisor.verdict():
            return verdict
        tell(began := cell.began())
        known[position] = began.ended(Outcome.INTERRUPTED, "Interrupted", "the engine failed")  # until we know better
        known[position] = ended = await supervisor.execute(cells, began)
        _explain(cells.nb.cells[cell.index], ended)
        tell(ended)
        if ended.outcome is not Outcome.PASSED:
            return ended.outcome
    return Outcome.PASSED


def _explain(node: Any, cell: Cell) -> None:
    """Add an error to the outputs of a cell that did not pass, unless the kernel has sent one."""
    if cell.outcome is not Outcome.PASSED and not (
        cell.outcome is Outcome.FAILED and any(output.output_type == "error" for output in node.outputs)
    ):
        name, message = cell.error or "", cell.message or ""
        output = new_output("error", ename=name, evalue=message)  # type: ignore[no-untyped-call]
        output.traceback = [f"{name}: {message}"]
        node.outputs.append(output)
