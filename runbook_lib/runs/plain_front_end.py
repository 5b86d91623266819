"""Open a phase in a kernel that a front end started: papermill, nbconvert, nbval, JupyterLab or the like.

None of our commands started the kernel. It finds out how it is run, joins the rehearsal of this checkout or brings one
up, and begins or continues a record. It seals the record when the phase is closed or, with the truthful outcome, when
the kernel ends.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import os
import sys
from html import escape
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.engine.notebook import default_parameters, read
from runbook_lib.records import plan, run_record
from runbook_lib.runs import keeper, prepared_record, rehearsals, static_outputs
from runbook_lib.runs.prepared_record import refuse_wrong_parameters
from runbook_lib.runs.transcript import Transcript
from runbook_lib.settings import profiles, surroundings
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings


class PlainRun:
    """The run of a kernel that a front end such as nbconvert started, instead of one of our commands."""

    def __init__(self, record: Record, settings: Settings, mode: str, shell: Any) -> None:
        self.record, self.settings, self.mode = record, settings, mode
        self._transcript = Transcript(shell)
        if mode == "headless":
            self._keeper = keeper.start(record)
            atexit.register(self.end)

    def close(self) -> None:
        """Seal the record of a phase that was closed in a front end.

        The closing cell still runs at this moment, and counts as passed.
        """
        self._transcript.end_cell()
        if self.mode == "headless":
            self._seal()
        else:
            self._transcript.keep_outputs(self.record)
            static_outputs.rewrite(self.record, production=self.settings.kind == "production")
            run_record.finish(self.record)

    def warn(self, display: Callable[[Any], object]) -> None:
        """If a person's front end opened the source notebook, display a warning about it."""
        if self.mode == "attended":
            display(Notice(self.record))

    def end(self) -> None:
        """Seal the record when the kernel of a headless front end ends, unless the record is sealed already."""
        if self.record.sealed() is None:
            self._seal()

    def _seal(self) -> None:
        seal = prepared_record.seal(self.record, self._transcript.result(self.record))
        # Where papermill and the like print; not in the cell, whose outputs are compared.
        with contextlib.suppress(OSError):
            os.write(_terminal(), f"record {self.record.path}\nseal   {seal['hash']}\n".encode())


class Notice:
    """A notice for a person whose front end opened the source notebook, which saving would change."""

    def __init__(self, record: Record) -> None:
        opened = record.opened()
        better = addressed(f"./runbook open {opened['phase']}", opened["profile"])
        self._words = (
            f"This is the source notebook: do not save it with outputs. {record.name} holds its own copy of what "
            f"runs here. Better: {better}"
        )

    def __repr__(self) -> str:
        return self._words

    def _repr_html_(self) -> str:
        return f"<p style='margin:4px 0'>{escape(self._words)}</p>"


def enter(name: str, profile: str, run: PlainRun | None) -> PlainRun | None:
    """Begin the run of a kernel that a front end started. If ``run`` still goes on, return ``run`` instead.

    Set the environment variables that name the record, which later calls read. Return None if this Python is no kernel;
    then nothing seals the record. Raise `ConfigError` for a parameter that the notebook does not have, `StepRefused`
    while the gate of the phase is closed.
    """
    if run and run.record.sealed() is None and _is_of(run, name, profile):
        return run  # the opening cell was executed again
    surroundings.settle()
    shell, notebook = _shell(), plan.notebook(name)
    mode = "headless" if shell is None else _mode(shell)
    given = _given(shell, notebook, headless=mode == "headless")
    override = _platform(notebook, mode) if profile == rehearsals.PROFILE else None
    settings = profiles.load(profile)
    record = _unfinished(settings, name, given) if mode == "attended" else None
    if record is None:
        override = os.environ.get(run_record.OVERRIDE) or override
        record = prepared_record.prepared(settings, notebook, given, override=override, mode=mode)
    os.environ.update({run_record.RECORD: str(record.folder), run_record.MODE: mode})
    return PlainRun(record, settings, mode, shell) if shell else None


def _is_of(run: PlainRun, name: str, profile: str) -> bool:
    return (run.record.opened()["phase"], run.settings.name) == (name, profile)


def _terminal() -> int:
    """Return the file descriptor of the front end's standard error, which the kernel inherited."""
    try:
        return sys.stderr.fileno()  # ipykernel keeps it, and puts a pipe to the cell in its place
    except OSError:
        return 2  # under pytest it does not


def _shell() -> Any:
    """Return the kernel's IPython shell. Return None if this Python is no kernel."""
    from IPython import get_ipython  # noqa: PLC0415 - a halt, which may ask for a record, has no time for it

    shell = get_ipython()
    return shell if hasattr(shell, "kernel") else None


def _mode(shell: Any) -> str:
    """Return ``attended`` if the front end lets the kernel ask questions: then a person is there.

    Otherwise return ``headless``.
    """
    if os.environ.get("SERVER_SOFTWARE", "").startswith("voila"):
        return "attended"  # it runs every cell by itself, and then shows the buttons
    asks = shell.kernel.get_parent("shell")["content"].get("allow_stdin", False)
    return "attended" if asks else "headless"


def _compared() -> bool:
    """Return whether this kernel is run by nbval, which compares outputs with stored ones.

    Under nbval each notebook starts from its own state, because its stored outputs were made in that state.
    """
    return ".ipynb::" in os.environ.get("PYTEST_CURRENT_TEST", "")


def _platform(notebook: Path, mode: str) -> str | None:
    """Join or start the rehearsal of this run. Return the reason for overriding closed gates, or None.

    A rehearsal that a person steps through stays up when the kernel restarts; any other ends with the kernel.
    """
    state = rehearsals.starting_state(notebook)
    if mode == "attended":
        return rehearsals.join_or_keep(state)
    apart = _compared() and rehearsals.FOLDER not in os.environ
    return rehearsals.begin(state) if apart else rehearsals.join_or_begin(state)


def _unfinished(settings: Settings, name: str, given: dict[str, Any]) -> Record | None:
    """Return the unfinished record that an earlier kernel of this run left. Return None if there is none.

    A record counts only if it ran with the parameters ``given``.
    """
    record = prepared_record.unfinished(settings, name)
    if record is None:
        return None
    ran_with = yaml.safe_load((record.folder / "parameters.yaml").read_text(encoding="utf-8"))
    return record if ran_with["parameters"] == given else None


def _given(shell: Any, notebook: Path, *, headless: bool) -> dict[str, Any]:
    """Return the parameters to which earlier cells gave values other than the notebook's defaults."""
    if shell is None:
        return {}
    defaults, names = default_parameters(read(notebook), notebook.name), shell.user_ns
    typed = set(_assigned(names["In"][1:-1])) if headless else set()
    given = {name: names[name] for name in {*defaults, *typed} if names.get(name) != defaults.get(name)}
    given.pop("profile", None)
    refuse_wrong_parameters(notebook.name, defaults, given)
    return given


def _assigned(sources: list[str]) -> Iterator[str]:
    """Yield the variables that these cells assign at top level."""
    for source in sources:
        for line in ast.parse(source).body:
            if isinstance(line, ast.Assign):
                yield from (target.id for target in line.targets if isinstance(target, ast.Name))
