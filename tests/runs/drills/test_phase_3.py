"""Each net that does not fire, fires late or fires for another deployment is noticed by its step, in its words."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "phase_3_dry_runs"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_right_step_notices_and_says_so(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)
