"""Every way to fail a boot that the checklist names is diagnosed, from a deployment that really failed."""

from __future__ import annotations

import pytest

from runbook_lib.runs.drills import drill
from tests.runs.drills.conftest import some, told

NOTEBOOK = "diagnose_boot"


@pytest.mark.parametrize("case", some(NOTEBOOK), ids=lambda one: one.name)
def test_the_cause_is_named(rested, case):
    caught = drill.drill(case, rested)

    assert caught.good, told(caught)
