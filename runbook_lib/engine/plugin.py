"""The engine as papermill's: `papermill --engine runbook in.ipynb out.ipynb`.

Where papermill's own engine would raise, this one writes the notebook and raises the same, so the exit codes hold.
It raises for `sys.exit(0)` too, which papermill calls a success.

papermill is imported in the functions only: it imports this module while it is being imported itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError

from runbook_lib.engine.notebook import default_parameters, redacted
from runbook_lib.engine.outcome import Cell, Outcome, Result
from runbook_lib.engine.run import Job, run_in_memory, unchanged
from runbook_lib.errors import ConfigError
from runbook_lib.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Callable

UNSUPPORTED = ("log_output", "stdout_file", "stderr_file")


class PapermillEngine:
    """What papermill looks up under the entry point ``papermill.engine``."""

    @classmethod
    def execute_notebook(
        cls,
        nb: Any,
        kernel_name: str,
        *,
        output_path: str | None = None,
        progress_bar: bool = True,
        execution_timeout: float | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Any:
        """Run ``nb`` in this process's Python; write it to ``output_path`` once, whole.

        ``execution_timeout`` is in seconds for each cell, ``timeout`` for the notebook.
        """
        if given := [name for name in UNSUPPORTED if options.get(name)]:
            raise ConfigError(f"the runbook engine has no {given[0]}: outputs are in the notebook")
        redact = _redactor(nb)
        job = Job(
            Path(output_path or ""),
            redact=redact,
            timeout=timeout,
            cell_timeout=execution_timeout,
            on_cell=_bar(nb, progress_bar),
        )
        result = run_in_memory(nb, job)
        executed = redacted(nb, redact)
        if output_path:
            _write_atomically(output_path)
        _raise(result, executed, output_path)
        return executed

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Name the kernel: there is one, this Python."""
        return name or str(nb.metadata.get("kernelspec", {}).get("name", "python3"))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Name the language papermill writes the parameters in."""
        return language or "python"


def _redactor(nb: Any) -> Callable[[str], str]:
    """What redacts the secrets of the profile the notebook runs with, if it names one."""
    try:
        parameters = {**default_parameters(nb, "the notebook"), **nb.metadata.papermill.get("parameters", {})}
    except ConfigError:
        return unchanged
    from runbook_lib.settings import profiles  # noqa: PLC0415 - slow, and every papermill would pay for it

    profile = parameters.get("profile")
    return profiles.load(profile).redactor().text if isinstance(profile, str) else unchanged


def _bar(nb: Any, wanted: bool) -> Callable[[Cell], None]:
    """papermill's progress bar."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped] # noqa: PLC0415 - slow

    bar = tqdm(total=len(nb.cells), unit="cell", desc="Executing", disable=not wanted)

    def on_cell(cell: Cell) -> None:
        bar.n = cell.index + (cell.outcome is not Outcome.RUNNING)
        bar.refresh()

    return on_cell


def _write_atomically(path: str) -> None:
    """Have papermill, too, write ``path`` whole or not at all; other places (s3, http) are not ours."""
    from papermill.iorw import LocalHandler, papermill_io  # noqa: PLC0415 - see above

    handler = papermill_io.get_handler(path)
    if not isinstance(handler, LocalHandler):
        return
    folder = Path(handler.cwd(None) or ".")  # paths are relative to where papermill was called, not to its cwd option
    handler.cwd(str(folder))

    class Whole(LocalHandler):  # type: ignore[misc]
        def write(self, buf: str, path: str) -> None:
            write_whole(folder / path, buf.encode())

    papermill_io.register(path, Whole())


def _raise(result: Result, executed: Any, output_path: str | None) -> None:
    """Write the notebook and raise what papermill would; a plain failure it finds and raises itself."""
    from papermill.exceptions import PapermillExecutionError  # noqa: PLC0415 - see above
    from papermill.iorw import write_ipynb  # noqa: PLC0415

    stopped = result.stopped_at
    if stopped is None or (stopped.outcome is Outcome.FAILED and stopped.error != "SystemExit"):
        return
    write_ipynb(executed, output_path)
    match result.outcome:
        case Outcome.KERNEL_DIED:
            raise DeadKernelError(result.reason)
        case Outcome.TIMED_OUT:
            raise CellTimeoutError(result.reason)
        case Outcome.INTERRUPTED:
            raise KeyboardInterrupt(result.reason)
    cell = executed.cells[stopped.index]
    raise PapermillExecutionError(
        cell_index=stopped.index,
        exec_count=cell.execution_count,
        source=cell.source,
        ename=stopped.error,
        evalue=stopped.message,
        traceback=[],
    )
