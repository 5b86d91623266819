"""Provide our engine to papermill: `papermill --engine runbook in.ipynb out.ipynb`.

A notebook that opens a phase runs as `./runbook run` runs it, into a record of its own; any other notebook runs in
memory. Where papermill's own engine would raise, this one writes the notebook and raises the same, so that the exit
codes hold. It raises for `sys.exit(0)` too, which papermill calls a success.

Only functions import papermill, because it imports this module while it is being imported itself.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import nbformat
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from runbook_lib.engine.notebook import INJECTED, default_parameters, read, redacted, refuse_other_language
from runbook_lib.engine.outcome import Cell, Outcome, Result
from runbook_lib.engine.run import Job, run_in_memory, unchanged
from runbook_lib.engine.yaml_scalars import read_by_yaml_1_2
from runbook_lib.errors import ConfigError, RunbookError
from runbook_lib.files import write_whole
from runbook_lib.records import plan
from runbook_lib.runs import rehearsals
from runbook_lib.runs.prepared_record import refuse_wrong_parameters

if TYPE_CHECKING:
    from collections.abc import Callable

UNSUPPORTED = ("log_output", "stdout_file", "stderr_file")


class Ended(click.ClickException):
    """An error that ends the papermill command with one printed line and our exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # of each error its own


class PapermillEngine:
    """The engine that papermill finds in the entry points of the group ``papermill.engine``."""

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
        """Run ``nb`` for papermill in this Python. Write it to ``output_path`` once, at the end.

        ``execution_timeout`` is in seconds for each cell, ``timeout`` in seconds for the whole notebook.
        """
        if given := [name for name in UNSUPPORTED if options.get(name)]:
            raise Ended(f"the runbook engine has no {given[0]}: outputs are in the notebook", ConfigError.exit_code)
        limits = {"timeout": timeout, "cell_timeout": execution_timeout, "on_cell": _bar(nb, progress_bar)}
        try:
            refuse_other_language(nb, "the notebook")
            runs = _in_a_record if _opens_a_phase(nb) else _in_memory
            executed, result, exit_code = runs(nb, **limits)
        except RunbookError as error:
            raise Ended(str(error), error.exit_code) from error
        if output_path:
            _write_atomically(output_path)
        _raise(result, executed, output_path)
        if exit_code > 1:
            _write(executed, output_path)
            raise Ended(f"not passed: {result.reason}", exit_code)
        return executed

    @classmethod
    def nb_kernel_name(cls, nb: Any, name: str | None = None) -> str:
        """Tell papermill the kernel's name: always this Python. Another language is refused."""
        if name:
            nb.metadata["kernelspec"] = {"name": name, "display_name": name, **_language_of(name)}
            nb.metadata.pop("language_info", None)  # of the kernel it was written for
        return name or str(nb.metadata.get("kernelspec", {}).get("name", "python3"))

    @classmethod
    def nb_language(cls, nb: Any, language: str | None = None) -> str:
        """Tell papermill the language in which it must write the parameters."""
        return language or "python"


def _language_of(kernel: str) -> dict[str, str]:
    """Return the language of an installed kernel, for a notebook's kernelspec. Return nothing if none has this name."""
    try:
        return {"language": KernelSpecManager().get_kernel_spec(kernel).language}
    except (NoSuchKernel, ValueError):  # ValueError: it can be no kernel's name
        return {}


def _opens_a_phase(nb: Any) -> bool:
    return any(cell.cell_type == "code" and plan.OPENING.search(cell.source) for cell in nb.cells)


def _in_memory(nb: Any, **limits: Any) -> tuple[Any, Result, int]:
    """Run a notebook that opens no phase, in memory and without a record."""
    redact = _redactor(nb)
    result = run_in_memory(nb, Job(Path(), redact=redact, **limits))
    return redacted(nb, redact), result, 0


def _in_a_record(nb: Any, **limits: Any) -> tuple[Any, Result, int]:
    """Run a notebook that opens a phase into a record, as ``./runbook run`` does.

    Return the executed notebook, the engine's result and the exit code of that command.
    """
    # Slow, and every papermill would pay for it.
    from runbook_lib.runs import headless  # noqa: PLC0415
    from runbook_lib.settings import profiles, surroundings  # noqa: PLC0415

    surroundings.settle()
    given = dict(nb.metadata.papermill.get("parameters", {}))
    defaults = default_parameters(nb, "the notebook")
    profile = given.pop("profile", defaults.get("profile"))
    refuse_wrong_parameters("the notebook", defaults, given)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "notebook.ipynb"
        cells = [cell for cell in nb.cells if INJECTED not in cell.metadata.get("tags", [])]
        nbformat.write(nbformat.from_dict({**nb, "cells": cells}), source)  # type: ignore[no-untyped-call]
        override = (
            rehearsals.join_or_begin(rehearsals.starting_state(source)) if profile == rehearsals.PROFILE else None
        )
        settings = profiles.load(str(profile))
        run = headless.run(settings, source, given, override=override, cwd=Path.cwd(), **limits)
    executed = read(run.record.notebook)
    executed.metadata["papermill"] = {**nb.metadata.papermill, **_ended(executed)}
    click.echo(f"record {run.record.path}\nseal   {run.seal['hash']}", err=True)
    return executed, run.result, headless.EXIT[run.outcome]


def _ended(executed: Any) -> dict[str, Any]:
    """Return when and how the run ended, from the notebook's papermill metadata."""
    stamped = executed.metadata["papermill"]
    return {name: stamped[name] for name in ("start_time", "end_time", "duration", "exception", "parameters")}


def _redactor(nb: Any) -> Callable[[str], str]:
    """Return a function that redacts the secrets of the notebook's profile. Without a profile, the function changes
    nothing.
    """
    try:
        parameters = {**default_parameters(nb, "the notebook"), **nb.metadata.papermill.get("parameters", {})}
    except ConfigError:
        return unchanged
    from runbook_lib.settings import profiles  # noqa: PLC0415 - slow, and every papermill would pay for it

    profile = parameters.get("profile")
    return profiles.load(profile).redactor().text if isinstance(profile, str) else unchanged


def _bar(nb: Any, wanted: bool) -> Callable[[Cell], None]:
    """Return a function that moves papermill's progress bar when a cell begins or ends."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped] # noqa: PLC0415 - slow

    bar = tqdm(total=len(nb.cells), unit="cell", desc="Executing", disable=not wanted)

    def on_cell(cell: Cell) -> None:
        bar.n = cell.index + (cell.outcome is not Outcome.RUNNING)
        bar.refresh()

    return on_cell


def _write_atomically(path: str) -> None:
    """Make papermill write the file ``path`` whole or not at all. A path on s3 or http is written by papermill
    itself.
    """
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


def _write(executed: Any, output_path: str | None) -> None:
    from papermill.iorw import write_ipynb  # noqa: PLC0415 - see above

    write_ipynb(executed, output_path)


def _raise(result: Result, executed: Any, output_path: str | None) -> None:
    """If the run was cut off, write the notebook and raise the error that papermill's own engine would raise.

    Do nothing if a cell failed with an ordinary error: papermill raises that itself.
    """
    from papermill.exceptions import PapermillExecutionError  # noqa: PLC0415 - see above

    stopped = result.stopped_at
    if stopped is None or (stopped.outcome is Outcome.FAILED and stopped.error != "SystemExit"):
        return
    _write(executed, output_path)
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


# papermill reads -f, -y and -b with a loader of its own. The same file must mean the same to `./runbook run -f`.
if papermill_files := sys.modules.get("papermill.iorw"):
    read_by_yaml_1_2(papermill_files.NoDatesSafeLoader)
