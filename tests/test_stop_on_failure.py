"""The notebooks' own run: a failed cell ends its notebook, and the compared cell is really compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parent.parent
CLOSING = "# NBVAL_CHECK_OUTPUT\nprint('2 passed')"


def write(folder: Path, name: str, *cells: Any) -> None:
    made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=made), folder / f"{name}.ipynb")


def closing(stored: str) -> Any:
    return new_code_cell(CLOSING, outputs=[new_output("stream", name="stdout", text=stored)], execution_count=1)


def nbval(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--nbval-lax", "-p", "no:cacheprovider"]
    environment = {**os.environ, "MARK": str(folder / "ran")}
    return subprocess.run(
        [*command, *options, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def tally(found: subprocess.CompletedProcess[str]) -> dict[str, int]:
    last = found.stdout.strip().splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", last)}


LAUNCH = "import os, pathlib\npathlib.Path(os.environ['MARK']).touch()"
STOPS = ("-p", "tests.stop_on_failure")


def test_cells_below_a_failed_one_are_not_run(tmp_path):
    write(tmp_path, "gate", "gate = 'closed'", "assert gate == 'open'", LAUNCH, "1 + 1")
    write(tmp_path, "next", "1 + 1")

    found = nbval(tmp_path, *STOPS)

    assert found.returncode == 1
    assert tally(found) == {"passed": 2, "failed": 1, "skipped": 2}, found.stdout
    assert "not run: Cell 1 failed" in found.stdout
    assert not (tmp_path / "ran").exists()


def test_the_newest_record_says_why(tmp_path, monkeypatch):
    folder = tmp_path / "records" / "rehearsal" / "2026-11-22" / "100000Z_phase_try"
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").write_text('{"event":"outcome","complaint":"expected 1 row, found 0"}\n')
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks", "gate", "assert False")

    assert "expected 1 row, found 0" in nbval(tmp_path / "notebooks", *STOPS).stdout


def test_nbval_alone_would_run_them(tmp_path):
    write(tmp_path, "gate", "assert False", LAUNCH)

    assert nbval(tmp_path).returncode == 1
    assert (tmp_path / "ran").exists()


def test_a_cell_that_does_not_end_stops_its_notebook(tmp_path):
    write(tmp_path, "slow", "import threading; threading.Event().wait()", LAUNCH)

    found = nbval(tmp_path, *STOPS, "--nbval-cell-timeout", "2")

    assert tally(found) == {"failed": 1, "skipped": 1}, found.stdout
    assert not (tmp_path / "ran").exists()


def test_a_kernel_that_dies_stops_its_notebook(tmp_path):
    write(tmp_path, "dies", "import os; os._exit(3)", LAUNCH)

    found = nbval(tmp_path, *STOPS, "--nbval-cell-timeout", "3")  # which is how long nbval waits for the dead

    assert found.returncode == 1
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("stored", "verdict"), [("2 passed\n", {"passed": 1}), ("3 passed\n", {"failed": 1})])
def test_the_closing_cell_is_compared_with_its_stored_output(tmp_path, stored, verdict):
    write(tmp_path, "closes", closing(stored))

    assert tally(nbval(tmp_path, *STOPS)) == verdict
