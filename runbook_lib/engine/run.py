"""Run a prepared notebook in its own kernel. At the end, write the executed notebook over the prepared one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.cells import Cells, Stop, Supervisor, run_cells
from runbook_lib.engine.kernel_pool import Kernel, Kernels, start
from runbook_lib.engine.notebook import (
    merge_streams,
    read,
    redacted,
    refuse_other_language,
    refuse_skipping,
    write,
)
from runbook_lib.engine.outcome import Cell, Outcome, Result, code_cells, stamp
from runbook_lib.files import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


def unchanged(text: str) -> str:
    """Return the text unchanged. This is the redaction of a run without secrets."""
    return text


def unheard(cell: Cell) -> None:
    """Do nothing when a cell starts or ends. This is the default callback of a run."""


@dataclass(frozen=True)
class Job:
    """A prepared notebook, and the settings for its run.

    ``env`` is the kernel's whole environment. Timeouts are in seconds: ``timeout`` is for the whole notebook including
    the kernel's start, ``cell_timeout`` for each cell. ``redact`` is applied to all text before the text is written or
    reported. ``on_cell`` is called twice for each cell: as the cell starts (`Outcome.RUNNING`) and as it ends.
    """

    notebook: Path
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    cwd: Path = field(default_factory=Path.cwd)
    redact: Callable[[str], str] = unchanged
    timeout: float | None = None
    cell_timeout: float | None = None
    on_cell: Callable[[Cell], None] = unheard


def run(
    notebook: Path,
    *,
    env: dict[str, str],
    cwd: Path,
    redact: Callable[[str], str],
    timeout: float | None = None,
    cell_timeout: float | None = None,
    on_cell: Callable[[Cell], None] | None = None,
    kernels: Kernels | None = None,
) -> Result:
    """Run a prepared notebook in a kernel, and write the executed notebook over it.

    `Job` explains the arguments. SIGINT or SIGTERM interrupts the running cell, and the run ends when that cell has
    ended; a second signal kills the kernel. Raise `ConfigError` if ``notebook`` is no notebook, `RecordError` if it
    cannot be written.
    """
    job = Job(notebook, env, cwd, redact, timeout, cell_timeout, on_cell or unheard)

    async def work() -> Result:
        stop = Stop()
        with _signals(stop):
            result = await _run(job, stop, kernels)
            # A signal that came during the last write is told to the loop now, or it would be lost.
            for _ in range(3):
                await asyncio.sleep(0)
        return replace(result, signal=stop.signal)

    return _in_loop(work())


def run_in_memory(notebook: Any, job: Job) -> Result:
    """Run a notebook in memory, without reading or writing its file. Outputs are not redacted."""

    async def work() -> Result:
        with _signals(stop := Stop()):
            return await execute(notebook, job, stop)

    return _in_loop(work())


def _in_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Run ``work`` in an event loop. If this thread has a running loop, as in a kernel, run it in a new thread."""
    if not _loop_runs():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


def _loop_runs() -> bool:
    try:
        return asyncio.get_running_loop().is_running()
    except RuntimeError:
        return False


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Pass SIGINT and SIGTERM on to ``stop`` while the block runs. Do nothing outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop, caught = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in caught}
    for number in caught:
        loop.add_signal_handler(number, stop.press, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def _run(job: Job, stop: Stop, kernels: Kernels | None) -> Result:
    """Run one notebook, and write it with its outputs, even if the run fails."""
    notebook = read(job.notebook)
    refuse_skipping(notebook, job.notebook.name)
    refuse_other_language(notebook, job.notebook.name)
    check_writable(job.notebook)
    try:
        return await execute(notebook, job, stop, kernels)
    finally:
        write(redacted(notebook, job.redact), job.notebook)


async def execute(notebook: Any, job: Job, stop: Stop, kernels: Kernels | None = None) -> Result:
    """Run a notebook in memory. At the end, whatever happened, kill its kernel and note each cell's outcome."""
    began, clock = datetime.now(UTC), time.monotonic()
    known, outcome = code_cells(notebook), Outcome.INTERRUPTED
    supervisor = Supervisor(stop, None if job.timeout is None else clock + job.timeout, job.cell_timeout)
    kernel = kernels.take() if kernels else start(job.env)
    try:
        outcome = await _in_kernel(job, notebook, known, kernel, supervisor)
    finally:
        supervisor.close()
        reason = None if outcome is Outcome.PASSED else _reason(known, outcome, kernel, stop)
        kernel.close()
        stamp(notebook, known, outcome, began, reason)
        merge_streams(notebook)
    return Result(
        notebook=job.notebook,
        outcome=outcome,
        cells=tuple(_redacted(cell, job.redact) for cell in known),
        seconds=time.monotonic() - clock,
        reason=reason and job.redact(reason),
    )


async def _in_kernel(job: Job, notebook: Any, known: list[Cell], kernel: Kernel, supervisor: Supervisor) -> Outcome:
    client = await supervisor.start(kernel, job.env, job.cwd)
    if isinstance(client, Outcome):
        return client
    try:
        cells = Cells(notebook, kernel, client)
        notebook.metadata["language_info"] = client.language
        outcome = await run_cells(cells, known, supervisor, lambda cell: job.on_cell(_redacted(cell, job.redact)))
        cells.set_widgets_metadata()
        return outcome
    finally:
        client.stop_channels()


def _redacted(cell: Cell, redact: Callable[[str], str]) -> Cell:
    return replace(cell, error=cell.error and redact(cell.error), message=cell.message and redact(cell.message))


def _reason(known: list[Cell], outcome: Outcome, kernel: Kernel, stop: Stop) -> str:
    """Describe why the run ended early."""
    stopped = next((cell for cell in known if cell.outcome not in {Outcome.PASSED, Outcome.NOT_RUN}), None)
    if stopped:
        return f"{stopped.error}: {stopped.message}"
    if outcome is Outcome.KERNEL_DIED:
        return f"the kernel {kernel.how_it_ended()}"
    return stop.signal or str(outcome)
