"""Every failure the checklist names for phase 0 is noticed by the step that should notice it, in its words."""

from __future__ import annotations

import pytest

from runbook_lib import drill
from runbook_lib.errors import ConfigError

NOTEBOOK = "phase_0_platform_prep"


@pytest.mark.parametrize("scenario", drill.scenarios(NOTEBOOK), ids=lambda one: one.name)
def test_the_right_step_notices_and_says_so(rested, scenario):
    caught = drill.drill(scenario, rested)

    assert caught.good, (caught.step, caught.words)


def test_a_platform_that_is_whole_again_passes(rested):
    nothing = drill.Scenario("nothing", NOTEBOOK, step="none", says="")

    assert drill.drill(nothing, rested).step is None


def test_a_scenario_with_an_unknown_key_is_refused_by_name(monkeypatch, tmp_path):
    (tmp_path / f"{NOTEBOOK}.yaml").write_text("scenarios: [{name: x, step: 0.1a, says: y, sqll: []}]")
    monkeypatch.setattr(drill, "FOLDER", tmp_path)

    with pytest.raises(ConfigError, match="unknown key 'sqll': did you mean 'sql'"):
        drill.scenarios()


def test_a_scenario_of_an_unknown_step_is_refused_by_name(monkeypatch, tmp_path):
    (tmp_path / f"{NOTEBOOK}.yaml").write_text("scenarios: [{name: x, step: 0.1zz, says: y}]")
    monkeypatch.setattr(drill, "FOLDER", tmp_path)

    with pytest.raises(ConfigError, match=r"no step '0\.1zz'"):
        drill.scenarios()
