"""What a gesture that can cost money rests on is looked at again: by its age, at the press, and on resuming."""

from __future__ import annotations

import pytest

from runbook_lib.commands.command import http, sql
from runbook_lib.commands.expectations import value
from runbook_lib.errors import ConfigError, StepFailed, StepPending
from runbook_lib.records import history, run_record, verify
from tests.core_fixtures import connect, eventually, phase_of, reopened
from tests.steps.display.test_button_widget import offered
from tests.steps.test_phase import outcomes, resumed

STEPS = ("check 1a", "act 1b", "check 1c", "confirm 1d")
SAID = "It was deployed"


def aging(settings, seconds):
    """The settings with this limit of age."""
    return settings.model_copy(update={"budgets": settings.budgets.model_copy(update={"check_age": seconds})})


def looks(phase, number):
    """The outcomes of every look of a check, oldest first, without those taken over."""
    every = [event for event in phase.record.ledger.events() if event["event"] == "outcome"]
    return [event["outcome"] for event in every if event["step"] == number and "recalled" not in event]


@pytest.fixture
def spoil(running, table):
    """A function after which no look at the table passes."""

    def spoiled():
        with connect(running) as connection:
            connection.execute(f"insert into public.{table} values (gen_random_uuid(), 'late')")

    return spoiled


def look(phase, number, table):
    phase.check(
        number, f"empty {number}", sql(f"select count(*) as n from public.{table}"), expect=value(0), fix="empty it"
    )


def walk(phase, table):
    """Make the checks and the act before the gesture."""
    look(phase, "1a", table)
    phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True)
    look(phase, "1c", table)


def deploy(phase, *rests_on):
    phase.confirm("1d", SAID, gesture="backup", rests_on=rests_on)


@pytest.fixture
def vendored(chosen, production, vendor):
    """Settings of both kinds that may send to the vendor, by their kind."""
    to = {"openrouter": chosen.openrouter.model_copy(update={"url": vendor.url})}
    kinds = {"rehearsal": chosen, "production": production}
    return {kind: settings.model_copy(update={**to, "allow": ["1b"]}) for kind, settings in kinds.items()}


# --- at the press ---------------------------------------------------------------------------------------------------


def press(phase):
    button = offered(phase)
    button.field.box.value = "AL"
    button.button.click()
    return button


def offering(settings, root, table, *rests_on):
    """An attended phase that has asked for the gesture, whose earlier steps have passed."""
    phase = phase_of(settings, root, "check 1a", "confirm 1d", mode="attended")
    look(phase, "1a", table)
    phase.confirm("1d", SAID, gesture="backup", rests_on=rests_on)
    return phase


def test_a_press_that_has_the_gesture_performed_looks_again_at_what_it_rests_on(chosen, tmp_path, table, spoil):
    phase = offering(chosen, tmp_path, table, "1a")
    spoil()
    button = press(phase)
    assert "1a failed" in button.note.value and looks(phase, "1a") == ["passed", "passed", "failed"]
    assert outcomes(phase) == {"1a": "failed"}
    kinds = [event["event"] for event in phase.record.ledger.events()]
    assert "vouched" not in kinds and kinds[-1] == "press failed"
    run_record.finish(phase.record)
    assert verify.verify(phase.record.folder) == []


def test_what_was_mended_lets_the_same_button_be_pressed_again(chosen, tmp_path, table, spoil, running):
    phase = offering(chosen, tmp_path, table, "1a")
    spoil()
    press(phase)
    with connect(running) as connection:
        connection.execute(f"delete from public.{table}")
    eventually(lambda: not offered(phase).field.box.disabled, "it can be pressed again")
    press(phase)
    assert outcomes(phase) == {"1a": "passed", "1d": "passed"}


def test_in_production_a_press_looks_again_at_what_is_too_old_by_then(production, tmp_path, table, spoil):
    """The person made the gesture before the press: what it changed does not count against who presses in time."""
    in_time = offering(aging(production, 900.0), tmp_path / "in_time", table, "1a")
    late = offering(aging(production, 0.0), tmp_path / "late", table, "1a")
    assert "1a, which count for 15 minutes: after that, run this cell again first" in offered(in_time).shown.value
    spoil()
    press(in_time)
    press(late)
    assert outcomes(in_time) == {"1a": "passed", "1d": "passed"} and outcomes(late) == {"1a": "failed"}
    assert not [event for event in late.record.ledger.events() if event["event"] == "vouched"]


def test_an_act_looks_again_before_it_is_offered_and_at_the_press(vendored, vendor, tmp_path, table, spoil):
    phase = phase_of(vendored["rehearsal"], tmp_path, "check 1a", "act 1b", mode="attended")
    look(phase, "1a", table)
    phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True, rests_on=("1a",))
    assert looks(phase, "1a") == ["passed", "passed"]
    spoil()
    offered(phase).button.click()
    assert outcomes(phase) == {"1a": "failed"} and vendor.requests == []
    with pytest.raises(StepPending, match="1b waits for 1a"):
        phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True, rests_on=("1a",))


def test_a_headless_act_looks_again_before_it_is_sent(vendored, vendor, tmp_path, table, spoil):
    phase = phase_of(vendored["rehearsal"], tmp_path, "check 1a", "act 1b")
    look(phase, "1a", table)
    spoil()
    with pytest.raises(StepFailed, match="1a failed"):
        phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True, rests_on=("1a",))
    assert vendor.requests == []


def test_a_button_does_nothing_where_an_earlier_step_has_failed_since(vendored, vendor, tmp_path, table, spoil):
    """Whatever the step rests on: its order counts when it is pressed, too."""
    phase = phase_of(vendored["rehearsal"], tmp_path, "check 1a", "act 1b", mode="attended")
    look(phase, "1a", table)
    phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True)
    spoil()
    with pytest.raises(StepFailed):
        look(phase, "1a", table)
    button = offered(phase)
    button.button.click()
    assert "1b waits for 1a, which is failed" in button.note.value and vendor.requests == []


def test_two_buttons_of_one_gesture_have_it_performed_once(chosen, tmp_path, table):
    phase = offering(chosen, tmp_path, table, "1a")
    first = offered(phase)
    phase.confirm("1d", SAID, gesture="backup", rests_on=("1a",))
    press(phase)
    first.field.box.value = "AL"
    first.button.click()
    assert len([e for e in phase.record.ledger.events() if e["event"] == "vouched"]) == 1


# --- by age ---------------------------------------------------------------------------------------------------------


def test_a_check_that_is_not_named_is_looked_at_again_once_it_is_too_old(vendored, tmp_path, table):
    for number, limit, expected in (("young", 900.0, ["passed"]), ("old", 0.0, ["passed", "passed"])):
        phase = phase_of(aging(vendored["rehearsal"], limit), tmp_path / number, *STEPS)
        walk(phase, table)
        deploy(phase, "1a")
        assert looks(phase, "1c") == expected


def test_what_the_run_has_overtaken_stands_at_any_age_unless_it_is_named(vendored, tmp_path, table):
    phase = phase_of(aging(vendored["rehearsal"], 0.0), tmp_path, *STEPS)
    walk(phase, table)
    deploy(phase, "1c")
    assert looks(phase, "1a") == ["passed"] and looks(phase, "1c") == ["passed", "passed"]


def test_a_gesture_that_rests_on_nothing_costs_nothing_and_looks_at_nothing_again(vendored, tmp_path, table):
    phase = phase_of(aging(vendored["rehearsal"], 0.0), tmp_path, *STEPS)
    walk(phase, table)
    deploy(phase)
    assert looks(phase, "1c") == ["passed"]


def test_a_check_too_old_that_this_kernel_never_made_must_be_run_again(vendored, tmp_path, table):
    settings = aging(vendored["rehearsal"], 0.0)
    phase = phase_of(settings, tmp_path, *STEPS)
    walk(phase, table)
    again = reopened(settings, phase.record.folder)
    look(again, "1a", table)
    with pytest.raises(StepPending, match="1d rests on what 1c sees: run its cell again in this kernel"):
        deploy(again, "1a")


def test_what_a_step_rests_on_is_a_step_before_it(vendored, tmp_path, table):
    phase = phase_of(vendored["rehearsal"], tmp_path, *STEPS)
    walk(phase, table)
    with pytest.raises(ConfigError, match="1d rests on '1x', which is no step before it"):
        deploy(phase, "1x")


# --- on resuming ----------------------------------------------------------------------------------------------------


def test_a_check_that_was_taken_over_carries_no_gesture_that_costs_money(vendored, tmp_path, table, spoil):
    phase = phase_of(vendored["rehearsal"], tmp_path, *STEPS)
    walk(phase, table)
    child = resumed(vendored["rehearsal"], phase, *STEPS)
    spoil()
    look(child, "1a", table)  # taken over with its reply
    assert outcomes(child) == {"1a": "passed"} and looks(child, "1a") == []
    child.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True)
    child.check("1c", "any", sql("select 1 as n"), expect=value(1), fix="x")
    with pytest.raises(StepFailed, match="1a failed"):
        deploy(child, "1a")
    assert outcomes(child)["1a"] == "failed"


def vouched_by_command(settings, root, table):
    """A run that resumes one in which ada has vouched for the gesture by command; its checks are taken over."""
    phase = phase_of(settings, root, *STEPS)
    walk(phase, table)
    with pytest.raises(
        StepPending, match=r"it rests on 1a, which count for [\d.]+ minutes: after that, ./runbook resume"
    ):
        deploy(phase, "1a")
    run_record.finish(phase.record)
    answer = run_record.vouch(settings, phase.record, history.read(phase.record).outcomes()["1d"], "ada")
    child = phase_of(settings, root, *STEPS, parent=answer)
    walk(child, table)
    assert looks(child, "1a") == []
    return child


def test_who_vouches_late_by_command_vouches_on_checks_that_the_resumed_run_makes_again(
    vendored, tmp_path, table, spoil
):
    in_time = vouched_by_command(aging(vendored["production"], 900.0), tmp_path / "in_time", table)
    late = vouched_by_command(aging(vendored["production"], 0.0), tmp_path / "late", table)
    spoil()
    deploy(in_time, "1a")
    with pytest.raises(StepFailed, match="1a failed"):
        deploy(late, "1a")
    assert outcomes(in_time)["1d"] == "passed" and "1d" not in outcomes(late)
