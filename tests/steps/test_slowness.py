"""A budget that was missed is told with its line of the profile, what raising it costs, and how to go on."""

import re

import pytest

from runbook_lib.commands.command import sql
from runbook_lib.commands.expectations import between, each, never, reply
from runbook_lib.errors import StepFailed
from runbook_lib.records import run_record
from runbook_lib.settings.profiles import Budgets
from runbook_lib.steps import slowness
from tests.core_fixtures import phase_of, reopened, write_notebook

CELL = """phase.check("1a", "In time", sql("select 1"),
    expect=reply(seconds=between(0, phase.settings.budgets.acknowledge)),
    within=phase.settings.budgets.answer, fix="f")"""
TOOK = sql("select 1.7 as seconds")


def with_budgets(chosen, **budgets):
    return chosen.model_copy(update={"budgets": chosen.budgets.model_copy(update=budgets)})


def begun(chosen, root, **facts):
    record = phase_of(chosen, root, "check 1a", **facts).record
    write_notebook(record.notebook, CELL)
    return reopened(chosen, record.folder)


def look(phase, command=TOOK, within=0.0, expect=None):
    wanted = expect or reply(seconds=between(0, phase.settings.budgets.acknowledge))
    phase.check("1a", "In time", command, expect=wanted, within=within, fix="f")


def test_the_line_its_cost_and_the_way_on_are_told(chosen, tmp_path):
    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)

    with pytest.raises(StepFailed) as failed:
        look(phase)

    assert "seconds: expected 0 to 1.5, found 1.7\n" in str(failed.value)
    assert "raise budgets.acknowledge (1.5 s) in parameters/rehearsal.yaml, which means that a Pause may take" in str(
        failed.value
    )
    assert f"then ./runbook resume {phase.record.name}" in str(failed.value)
    assert "budgets.answer" not in str(failed.value)


def test_a_raised_budget_and_a_resume_go_on_with_the_same_slow_moment(chosen, tmp_path):
    slow = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)
    with pytest.raises(StepFailed):
        look(slow)
    run_record.finish(slow.record)

    resumed = begun(with_budgets(chosen, acknowledge=2.0), tmp_path, parent=slow.record)
    look(resumed)

    assert resumed.reply("1a").value("seconds") == 1.7


def test_a_number_above_its_bound_is_not_waited_for_longer(chosen, tmp_path):
    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)

    with pytest.raises(StepFailed) as failed:
        look(phase, within=0.1)
    assert "raise budgets.acknowledge" in str(failed.value) and "budgets.answer" not in str(failed.value)

    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path / "other")
    both = reply(seconds=between(0, 1.5), status="stopped")
    with pytest.raises(StepFailed) as failed:
        look(phase, sql("select 1.7 as seconds, 'running' as status"), within=0.1, expect=both)
    assert "raise budgets.acknowledge" in str(failed.value) and "raise budgets.answer" in str(failed.value)


def test_a_bound_that_is_added_up_names_the_line_in_it(chosen, tmp_path):
    """Two ticks of 300 s and the second of the acknowledgement, for example: only the second is of the profile."""
    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)

    for expect in (reply(seconds=between(0, 601.5)), each(seconds=between(0, 601.5))):
        with pytest.raises(StepFailed) as failed:
            look(phase, sql("select 640 as seconds"), within=0.1, expect=expect)
        assert "raise budgets.acknowledge (1.5 s)" in str(failed.value) and "budgets.answer" not in str(failed.value)


def test_what_was_waited_for_in_vain_may_have_been_slow(chosen, tmp_path):
    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)

    with pytest.raises(StepFailed, match=r"raise budgets\.answer"):
        look(phase, sql("select 'provisioning' as status"), within=0.1, expect=reply(status="running"))


def test_what_stays_wrong_is_not_called_slow(chosen, tmp_path):
    phase = begun(with_budgets(chosen, acknowledge=1.5), tmp_path)

    with pytest.raises(StepFailed) as failed:
        look(phase, sql("select 'error' as status"), within=0.1, expect=never(status="error") & each(status="running"))

    assert "budgets" not in str(failed.value)


def test_every_budget_of_the_profile_says_what_raising_it_costs():
    lines = [f"halt.{name}" for name in Budgets().halt.model_dump()]
    lines += [name for name in Budgets.model_fields if name != "halt"]

    assert sorted(slowness.COSTS) == sorted(lines)
    assert not [cost for cost in slowness.COSTS.values() if not re.match(r"[a-z]", cost)]
