"""Whatever goes wrong while a secret is rotated, or is passed over, is noticed; what stopped half-way is finished."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "rotate_secret"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_right_step_says_so(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)


def test_a_rotation_that_stopped_half_way_is_finished_by_resuming_it(rested):
    [refused] = [one for one in drill.cases_of(NOTEBOOK) if one.step == "1.7k"]
    going_on = drill.Case("going on", NOTEBOOK, step="1.7t", says="401", passes=True, mend=refused.mend)

    stopped = drill.drill(replace(refused, mend=()), rested)
    finished = drill.drill(going_on, stopped.record)

    assert stopped.good, (stopped.step, stopped.words)
    assert finished.good, (finished.step, finished.words)
