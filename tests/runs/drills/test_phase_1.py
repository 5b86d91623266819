"""Every failure the checklist names for phase 1 is noticed by the step that should notice it, in its words."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "phase_1_paper"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_right_step_notices_and_says_so(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)
