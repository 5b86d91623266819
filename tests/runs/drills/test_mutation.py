"""Survivors have reasons, and swapped steps are noticed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from runbook_lib.records import plan
from runbook_lib.runs.drills import mutation
from runbook_lib.runs.drills.mutation import Fate, Judged
from runbook_lib.settings.profiles import ROOT
from tests.core_fixtures import eventually


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


LANE = """
import os, time
from runbook_lib.runs.drills import mutation
with mutation.lanes(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_a_lane_ends_with_the_process_that_is_killed(processes):
    asking = subprocess.Popen([sys.executable, "-c", LANE], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    processes.append(asking)
    lane = int(asking.stdout.readline())

    asking.kill()

    eventually(lambda: not Path(f"/proc/{lane}").exists(), "the lane has ended")
