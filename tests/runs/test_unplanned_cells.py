"""A cell that is run and was not planned stands in the ledger, whatever becomes of the notebook."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from runbook_lib.records import plan, run_record, seal_chain, verify
from runbook_lib.runs import unplanned_cells
from runbook_lib.steps.display import run_progress
from tests.core_fixtures import write_notebook

CHECK = "phase = None\n0 and phase.check('1a', 'looks')"


@pytest.fixture
def record(tmp_path):
    source = write_notebook(tmp_path / "phase_try.ipynb", CHECK, "planned = 1")
    made = run_record.create(tmp_path / "records", "rehearsal", "phase_try", "", plan=plan.written_down(source))
    made.notebook.write_bytes(source.read_bytes())
    return made


@pytest.fixture
def shell():
    made = InteractiveShell.instance()
    yield made
    InteractiveShell.clear_instance()


def edits(record):
    return [event for event in record.ledger.events() if event["event"] == "edited"]


def test_planned_cells_and_empty_ones_are_not_written_down(record, shell):
    unplanned_cells.listen(record)
    for source in (CHECK, "planned = 1", " \n"):
        shell.run_cell(source)
    assert edits(record) == []


def test_an_edited_cell_is_written_down_with_its_steps_before_it_runs(record, shell):
    """Edited, run and put back: the notebook shows nothing of it, the ledger and the seal do."""
    unplanned_cells.listen(record)
    shell.run_cell("phase = None\n0 and phase.check('1a', 'looks away')")
    shell.run_cell("extra = 2")
    first, second = edits(record)
    assert (first["steps"], second["steps"]) == (["1a"], []) and "looks away" in first["text"]
    seal = seal_chain.seal(record)
    assert seal["edited"] == ["1a", verify.cell_digest("extra = 2")]
    assert verify.verify(record.folder) == []
    assert run_progress.titled(record.ledger.events(), "1a", "looks") == "looks (its cell was edited)"
    assert run_progress.titled(record.ledger.events(), "1b", "acts") == "acts"


def test_a_phase_that_is_opened_again_is_heard_once(record, shell):
    unplanned_cells.listen(record)
    unplanned_cells.listen(record)
    shell.run_cell("extra = 2")
    assert len(edits(record)) == 1


def test_what_runs_after_the_seal_stops_no_cell(record, shell):
    unplanned_cells.listen(record)
    seal_chain.seal(record)
    assert shell.run_cell("after = 3").success and verify.verify(record.folder) == []
