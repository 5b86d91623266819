"""Survivors have reasons, and swapped steps are noticed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runbook_lib.records import plan
from runbook_lib.runs.drills import mutation
from runbook_lib.runs.drills.mutation import Fate, Judged


def test_steps_that_are_swapped_are_noticed_by_the_structure_rules():
    swapped = mutation._swapped("phase_1_paper")

    assert len(swapped) == len(plan.steps(plan.notebook("phase_1_paper"))) - 1
    assert {fate.killed for fate in swapped} == {"structure rules"}


@pytest.fixture
def reasons(monkeypatch, tmp_path):
    path = tmp_path / "survivors.yaml"
    path.write_text("phase_1_paper: {1.5d: {within removed: It is never late.}}\n")
    monkeypatch.setattr(mutation, "SURVIVORS", path)


SURVIVOR = Fate("phase_1_paper", "1.5d", "within removed", "")


def test_a_survivor_is_given_its_reason(reasons):
    result = mutation.with_reasons(Judged("phase_1_paper", (SURVIVOR, replace(SURVIVOR, step="1.5f")), 0, ()))

    assert [fate.reason for fate in result.fates] == ["It is never late.", ""]


def test_a_reason_that_nobody_needs_any_more_is_idle(reasons):
    killed = replace(SURVIVOR, killed="late answers")

    assert mutation.with_reasons(Judged("phase_1_paper", (killed,), 0, ())).idle == (("1.5d", "within removed"),)
