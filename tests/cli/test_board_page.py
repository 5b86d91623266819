"""The board's page shows every gate, every owed undo and every run at its place in time."""

from __future__ import annotations

import pytest

from runbook_lib.cli import board_page
from runbook_lib.records import run_record
from runbook_lib.records.ledger import instant
from runbook_lib.settings import profiles
from tests import sealing

FACTS = {"project": "abcdefghijklmnopqrst", "platform": "", "operator": "al", "mode": "headless", "versions": {}}


def run(root, phase, outcome=None, **facts):
    made = run_record.create(root, "rehearsal", phase, "", id=phase, parent=None, override=None, **FACTS)
    for event, told in facts.items():
        made.ledger.append(event, **told)
    if outcome:
        sealing.seal(made, outcome)
    return made


@pytest.fixture
def chosen(monkeypatch):
    monkeypatch.delenv("RUNBOOK_REHEARSAL", raising=False)
    return profiles.load("rehearsal")


def test_without_any_run_the_board_says_what_to_do_first(chosen, tmp_path):
    text = board_page.show(chosen, tmp_path).read_text()
    assert "No run of this profile yet" in text and "phase_0_platform_prep" in text and "No undo is owed" in text


def test_a_closed_gate_says_why_and_an_open_one_what_it_rests_on(chosen, tmp_path):
    run(tmp_path, "phase_0_platform_prep", "failed")
    phases = {row["phase"]: row for row in board_page.view(chosen, tmp_path)["phases"]}
    assert phases["phase_0_platform_prep"]["open"] and phases["phase_0_platform_prep"]["outcome"] == "failed"
    assert any("is failed: resume it" in reason for reason in phases["phase_1_paper"]["why"])


def test_an_undo_that_is_owed_stands_in_an_alarm(chosen, tmp_path):
    owing = run(
        tmp_path,
        "phase_3_dry_runs",
        "failed",
        owed={"step": "3.1b", "command": {"kind": "Sql"}, "text": "set <it> back"},
    )
    text = board_page.show(chosen, tmp_path).read_text()
    assert text.count(f"of {owing.name} owes an undo") == 1 and text.count("Every gate is closed") == 1
    assert f"./runbook undo {owing.name}" in text and "set &lt;it&gt; back" in text and "No undo" not in text


def test_each_run_is_a_bar_at_its_time_in_its_notebooks_row(chosen, tmp_path):
    run(tmp_path, "phase_0_platform_prep", "failed")
    run(tmp_path, "phase_0_platform_prep", "passed")
    run(tmp_path, "halt")
    timeline = board_page.view(chosen, tmp_path)["timeline"]
    rows = {row["phase"]: [bar["outcome"] for bar in row["bars"]] for row in timeline["rows"]}
    assert rows == {"phase_0_platform_prep": ["failed", "passed"], "halt": ["not sealed"]}
    bars = [bar for row in timeline["rows"] for bar in row["bars"]]
    assert all(0 <= bar["left"] <= bar["left"] + bar["width"] <= 100 for bar in bars)
    assert 1 <= len(timeline["marks"]) <= 6


@pytest.mark.parametrize("span", [60, 3600, 86400, 9 * 86400, 400 * 86400, 4000 * 86400])
def test_the_axis_has_few_marks_however_long_the_story(span):
    marks = list(board_page._marks(instant("2026-11-22T10:00:07Z"), span))
    assert 1 <= len(marks) <= 7 and all(0 <= mark["left"] <= 100 for mark in marks)


def test_a_damaged_record_is_named_for_no_gate_can_be_judged_then(chosen, tmp_path):
    damaged = run(tmp_path, "phase_0_platform_prep")
    damaged.ledger.path.write_text("not json\n")
    text = board_page.show(chosen, tmp_path).read_text()
    assert f"{damaged.folder}: no ledger, or one that does not begin" in text
