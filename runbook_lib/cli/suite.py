"""Run the parts of ``./runbook test``: linters, types, the test suite, and every notebook on a rehearsal."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runbook_lib.records import plan
from runbook_lib.runs.drills import rotation
from runbook_lib.settings.profiles import ROOT

# The tests run in zones on both sides of UTC, to catch boundaries of days or months that are right only in UTC.
EAST, WEST = "Asia/Singapore", "America/Los_Angeles"
# A file's tests share their rehearsal, so a file stays on one worker, in the order of tests/conftest.py. Three workers
# keep two cores busy; a fourth saves a tenth of the time, and then a command may wait for seconds to be run at all.
SIDE_BY_SIDE = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
NOTEBOOK_TIMEOUT = 300  # seconds a cell may take under nbval


def run_all(options: Sequence[str]) -> int:
    """Run the parts of ``./runbook test`` one after another, until one fails.

    Return the exit code of the first part that fails, or 0.

    ``options`` go to pytest.
    """
    parts = {
        "ruff check": [_tool("ruff"), "check", "."],
        "ruff format": [_tool("ruff"), "format", "--check", "--quiet", "."],
        "mypy": [sys.executable, "-m", "mypy"],
        "pytest": [sys.executable, "-m", "pytest", *SIDE_BY_SIDE, "--durations", "12", *options],
    }
    print(rotation.sentence(rotation.commit()))  # noqa: T201
    for name, command in parts.items():
        if code := _run(name, command, {"PGTZ": EAST}):
            return code
    return run_notebooks()


def run_notebooks() -> int:
    """Run every notebook under nbval, two at a time, each on its own rehearsal. Return the exit code."""
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(_notebook, map(plan.notebook, plan.notebooks())))
    return next(filter(None, codes), 0)


def _notebook(notebook: Path) -> int:
    """Run one notebook under nbval. Return the exit code.

    nbval compares the closing cell's output with the stored one.

    The notebook's own kernel brings up the rehearsal that the notebook starts from.
    """
    with tempfile.TemporaryDirectory() as records:
        environment = {"RUNBOOK_RECORDS": records, "PGTZ": WEST}
        return _run(f"nbval {notebook.name}", _nbval(notebook), environment, together=True)


def _nbval(notebook: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", "--nbval-lax", f"--nbval-cell-timeout={NOTEBOOK_TIMEOUT}"),
        *("-p", "tests.stop_on_failure", "-p", "no:cacheprovider", "-q", str(notebook)),
    ]


def _run(name: str, command: Sequence[str], environment: dict[str, str], *, together: bool = False) -> int:
    """Run one part of ``./runbook test``. Return the exit code.

    Output is printed as it comes, or at the end if ``together``.

    Parts that run in parallel use ``together``, so that their outputs do not mix.
    """
    if not together:
        print(f"--- {name}", flush=True)  # noqa: T201 - the tests' own headings
    started = time.monotonic()
    out, err = (subprocess.PIPE, subprocess.STDOUT) if together else (None, None)
    variables = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, env=variables, check=False, text=True, stdout=out, stderr=err)
    words = f"{done.stdout or ''}--- {name}: exit {done.returncode} after {time.monotonic() - started:.1f} s"
    print(words, flush=True)  # noqa: T201
    return done.returncode


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)
