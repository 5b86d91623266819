"""Each alarm of the first day rings for what it is for, at its own cell."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "phase_4_first_day"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_right_alarm_rings(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)
