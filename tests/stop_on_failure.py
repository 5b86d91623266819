"""A pytest plugin for nbval: the first cell that fails stops its notebook.

nbval alone goes on: below a failed gate the cell that launches would run. Use:

    python -m pytest --nbval-lax -p tests.stop_on_failure notebooks

The cells that were not run are skipped, and say why; the run is red because of the one that failed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Saves 0.9 s in every process that imports nbformat; must come before nbval is imported.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from collections.abc import Generator

NBVAL_DEFAULT = 2000  # seconds for one cell, when the command line says nothing
TIMEOUT = 120.0  # seconds for one cell
SANITIZE = Path(__file__).with_name("nbval.cfg")  # patterns for what may differ in a compared output, if any
LINES = 3  # of a ledger
STOPPED: pytest.StashKey[str] = pytest.StashKey()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    option.nbval_current_env = True  # this interpreter, whatever kernels the home directory offers
    if option.nbval_cell_timeout == NBVAL_DEFAULT:
        option.nbval_cell_timeout = TIMEOUT
    if option.nbval_sanitize_with is None and SANITIZE.exists():
        option.nbval_sanitize_with = str(SANITIZE)


def notebook_of(item: pytest.Item) -> pytest.Collector | None:
    """The notebook a cell belongs to; None for a test of another kind."""
    from nbval.plugin import IPyNbFile  # here: pytest loads nbval after this plugin

    return item.parent if isinstance(item.parent, IPyNbFile) else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    notebook = notebook_of(item)
    if notebook is not None and STOPPED in notebook.stash:
        pytest.skip(f"not run: {notebook.stash[STOPPED]} failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    notebook = notebook_of(item)
    if report.failed and notebook is not None:
        notebook.stash.setdefault(STOPPED, item.name)
        report.sections.append(("the last lines of the newest record", _newest_lines()))
    return report


def _newest_lines() -> str:
    """What the run wrote last: nbval shows no card, and the card says why."""
    ledgers = Path(os.environ.get("RUNBOOK_RECORDS", "records")).glob("*/*/*/ledger.jsonl")
    newest = max(ledgers, key=lambda path: path.stat().st_mtime, default=None)
    return "\n".join(newest.read_text(encoding="utf-8").splitlines()[-LINES:]) if newest else "no record"
