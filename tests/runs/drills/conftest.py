"""A rehearsal for the cases of a notebook, in the environment of the tests that use it."""

from __future__ import annotations

import os

import pytest

from runbook_lib.runs.drills import drill, parallel, rotation

ALL = "RUNBOOK_ALL_CASES"  # set to 1: every case, else the part that belongs to the commit


def some(notebook: str) -> list[drill.Case]:
    """The cases of a notebook that this run drills: all where that is asked for, else the commit's part."""
    return drill.cases_of(notebook) if os.environ.get(ALL) == "1" else rotation.cases(notebook, rotation.commit())


def told(caught: drill.Caught) -> str:
    """What a drill led to, with the whole ledger line: its words alone are shortened where rows are long."""
    return f"{caught.case.name}: {caught.step}: {caught.words}\n{caught.outcome}"


@pytest.fixture(scope="module")
def rested(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """What the drills of the module's NOTEBOOK rest on: its clean run's record, or None where each starts anew.

    The rehearsal begins in the notebook's own starting state and is this environment's.
    """
    before = dict(os.environ)
    os.environ["RUNBOOK_RECORDS"] = str(tmp_path_factory.mktemp("records"))
    with parallel.rested(request.module.NOTEBOOK) as parent:
        yield parent
    drill.become(before)
