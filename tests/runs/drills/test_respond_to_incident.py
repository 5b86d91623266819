"""Every row of the incident sheet is walked on a deployment that runs: its first action is done, and proven."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "respond_to_incident"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_first_action_is_done_and_proven(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)
