"""The record of an attended run is true whenever JupyterLab ends, and is gone on with until it is closed."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.records import run_record, verify
from runbook_lib.runs import attended
from runbook_lib.runs.prepared_record import unfinished
from tests.core_fixtures import at, phase_of
from tests.steps.display.test_button_widget import offer
from tests.steps.test_phase import check


@pytest.fixture
def settled(chosen, vendor, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path))
    return at(chosen, vendor)


@pytest.fixture
def phase(settled, tmp_path):
    return phase_of(settled, tmp_path, "act 1a", "check 1b", mode="attended")


def test_an_unfinished_record_is_left_open_says_where_it_stands_and_is_gone_on_with(phase, settled):
    offer(phase).button.click()
    (phase.record.folder / ".~notebook.ipynb").write_text("cut off")
    assert attended.close(phase.record, settled) is None
    assert phase.record.sealed() is None and not (phase.record.folder / ".~notebook.ipynb").exists()
    assert list(attended.standing_of(phase.record)) == [
        "1 of 2 steps passed; next is 1b step 1b",
        "not sealed; go on with ./runbook open --profile rehearsal phase_try",
    ]
    assert unfinished(settled, "phase_try").folder == phase.record.folder


def test_a_closed_phase_is_sealed_as_passed_and_not_gone_on_with(phase, settled):
    offer(phase).button.click()
    check(phase, "1b")
    phase.close()
    seal = attended.close(phase.record, settled)
    assert seal["outcome"] == "passed" and verify.verify(phase.record.folder) == []
    assert unfinished(settled, "phase_try") is None
    with pytest.raises(ConfigError, match="is sealed: nothing is added to it"):
        attended.serve(phase.record, settled)


def test_a_headless_record_that_was_cut_off_is_resumed_not_opened(settled, tmp_path):
    phase_of(settled, tmp_path, "check 1a")
    assert unfinished(settled, "phase_try") is None


def test_an_owed_undo_is_told(phase, settled):
    phase.record.ledger.append("owed", step="1a", command={}, text="take it back")
    assert f"1a owes an undo: ./runbook undo {phase.record.name}" in attended.standing_of(phase.record)
    assert run_record.latest(phase.record).folder == phase.record.folder
