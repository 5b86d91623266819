"""Each line as people type it, in a fresh shell: a process, a clean environment, the checkout's own notebooks."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client.manager import start_new_kernel

from runbook_lib.records import record_folder, verify
from runbook_lib.settings.profiles import ROOT
from tests.core_fixtures import eventually

NOTEBOOKS = ROOT / "notebooks"
PHASE_0, PHASE_5 = "phase_0_platform_prep.ipynb", "phase_5_follow_up.ipynb"
FOLDERS = {"root": (ROOT, "notebooks/"), "notebooks": (NOTEBOOKS, "")}


@dataclass
class Shell:
    """A fresh shell: nothing set but where records and rehearsals go."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        programs = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        places = {"HOME": self.folder, "TMPDIR": self.folder, "RUNBOOK_RECORDS": self.folder / "records"}
        return {"PATH": programs, **{name: str(place) for name, place in places.items()}}

    def start(self, line: str, where: str = "root", **more: str) -> subprocess.Popen[str]:
        """Type a line; ``{n}`` in it is how the notebooks are called from there, ``{out}`` a folder."""
        folder, notebooks = FOLDERS[where]
        words = shlex.split(line.format(n=notebooks, out=self.folder))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, "text": True}
        return subprocess.Popen(words, cwd=folder, env={**self.environment, **more}, start_new_session=True, **pipes)

    def __call__(self, line: str, where: str = "root", **more: str) -> tuple[int, str, str]:
        process = self.start(line, where, **more)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    @property
    def records(self) -> list[record_folder.Record]:
        return list(record_folder.every(self.folder / "records"))

    def sealed(self) -> record_folder.Record:
        """The one record there is: sealed and sound."""
        [record] = self.records
        assert record.sealed() and verify.verify(record.folder) == []
        return record


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def is_whole(record, name):
    """Whether a record tells of a whole run of a notebook, and holds a copy of it that shows what it saw."""
    seal, copy = record.sealed(), nbformat.read(record.notebook, 4)
    ran = [cell for cell in copy.cells if cell.cell_type == "code"]
    assert seal["outcome"] == "passed" and seal["missing"] == [] and record.opened()["mode"] == "headless"
    assert seal["cells"] == [f"{n} passed" for n, cell in enumerate(copy.cells) if cell.cell_type == "code"]
    assert all(cell.metadata.runbook.outcome == "passed" for cell in ran)
    assert all(cell.outputs for cell in ran if "phase." in cell.source)
    sources = {"".join(cell["source"]) for cell in json.loads((NOTEBOOKS / name).read_text())["cells"]}
    assert sources <= {cell.source for cell in copy.cells}


LINES = {
    "papermill": ("papermill {n}" + PHASE_0 + " {out}/out.ipynb -p profile rehearsal", "root"),
    "engine": ("papermill --engine runbook --cwd {out} {n}" + PHASE_0 + " -", "notebooks"),
    "nbconvert": (
        "jupyter nbconvert --to notebook --execute --output-dir {out} --output out {n}" + PHASE_0,
        "notebooks",
    ),
}


@pytest.mark.parametrize("line", LINES)
def test_it_brings_a_rehearsal_up_and_leaves_the_record_of_a_run_and_the_front_ends_own_notebook(shell, line):
    code, out, err = shell(*LINES[line])
    assert code == 0, err
    record = shell.sealed()
    is_whole(record, PHASE_0)
    assert record.name in err and f"\nseal   {record.sealed()['hash']}\n" in err
    written = out if line == "engine" else (shell.folder / "out.ipynb").read_text()
    assert "phase_0_platform_prep: " in json.dumps(nbformat.reads(written, 4).cells[-1].outputs)


def test_a_rehearsal_that_is_kept_up_is_joined_and_the_next_gate_accepts_the_record(shell):
    assert shell("python -m runbook_lib.cli rehearse --keep")[0] == 0
    try:
        code, _, err = shell("papermill {n}" + PHASE_0 + " {out}/out.ipynb", "notebooks")
        assert code == 0, err
        board = shell("python -m runbook_lib.cli status")[1]
        opened = next(line for line in board.splitlines() if "phase_1_paper" in line)
        assert "open" in opened, board
    finally:
        assert "stopped" in shell("python -m runbook_lib.cli rehearse --stop")[1]


def test_nbval_passes_as_typed_on_the_notebooks_own_starting_state(shell):
    code, out, err = shell("pytest --nbval {n}" + PHASE_5 + " -p no:cacheprovider", "notebooks")
    assert code == 0, out + err
    assert shell.sealed().opened()["override"] == "rehearsed alone, from first_day"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("-f " + str(ROOT / "parameters" / "production.yaml"), "a profile is chosen by its name, not by its file"),
        ("-p dayz 3", "no parameter 'dayz': did you mean 'days'?"),
        ("--engine runbook -p days x", "expected int"),
        ("--engine runbook -p profile rehersal", "did you mean 'rehearsal'?"),
        ("--engine runbook -k julia-1.10", "only Python runs here"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_brought_up(shell, options, complaint):
    code, _, err = shell(f"papermill {{n}}{PHASE_5} {{out}}/out.ipynb {options}")
    ours = "--engine" in options
    assert code == (2 if ours else 1) and complaint in err, err
    assert shell.records == [] and not list(shell.folder.glob("launch-runbook-*"))
    assert not (ours and "Traceback" in err)


@pytest.mark.parametrize(("number", "outcome"), [(signal.SIGINT, "interrupted"), (signal.SIGKILL, "failed")])
def test_a_run_that_is_cut_off_is_sealed_and_says_so(shell, number, outcome):
    process = shell.start("papermill {n}" + PHASE_0 + " {out}/out.ipynb")
    eventually(lambda: any(e.get("step") == "0.1f" for r in shell.records for e in r.ledger.events()), "0.1f under way")
    process.send_signal(number)
    process.communicate(timeout=60)
    eventually(shell.records[0].sealed, "sealed")
    record = shell.sealed()
    assert record.sealed()["outcome"] in (outcome, "unknown") and record.sealed()["ended"]
    eventually(lambda: not list(shell.folder.glob("launch-runbook-*/*/ready")), "the rehearsal is gone")


# --- attended ---------------------------------------------------------------------------------------------------------


class Person:
    """A front end for people, as far as the kernel sees: it can answer a question."""

    def __init__(self, shell: Shell) -> None:
        # A plain start of a server inherits its environment alone.
        before = {**os.environ}
        os.environ.clear()
        os.environ.update(shell.environment)
        try:
            self.manager, self.client = start_new_kernel(cwd=str(NOTEBOOKS))
        finally:
            os.environ.clear()
            os.environ.update(before)
        self.cells = [c.source for c in nbformat.read(NOTEBOOKS / PHASE_0, 4).cells if c.cell_type == "code"]

    def run(self, *cells: int) -> str:
        """Run cells by their place among the code cells; what the last one showed."""
        shown = []
        for cell in cells:
            shown.clear()
            reply = self.client.execute_interactive(
                self.cells[cell], allow_stdin=True, stdin_hook=print, output_hook=shown.append, timeout=120
            )
            assert reply["content"]["status"] == "ok", reply["content"]
        return json.dumps([message["content"] for message in shown])

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def test_a_person_steps_on_a_rehearsal_that_stays_up_over_restarts_of_the_kernel(shell):
    first = Person(shell)
    try:
        assert "do not save it with outputs" in first.run(0, 1)
        first.run(2)
        first.end()
        again = Person(shell)
        assert "0.1a" not in again.run(0, 1) and "1 of" in again.run(1)
        again.end()
        [record] = shell.records
        assert record.sealed() is None and record.opened()["mode"] == "attended"
        assert yaml.safe_load((record.folder / "parameters.yaml").read_text())["parameters"] == {}
    finally:
        assert "stopped" in shell("python -m runbook_lib.cli rehearse --stop")[1]
