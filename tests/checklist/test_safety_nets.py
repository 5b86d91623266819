"""What is expected of the nets when they are made to fire."""

import pytest

from runbook_lib.checklist.safety_nets import guard_tripped, machine_down
from runbook_lib.commands.command import Reply

HERE, ELSEWHERE = "11111111-aaaa-bbbb-cccc-000000000001", "11111111-aaaa-bbbb-cccc-000000000002"
PAUSE = {
    "deployment_id": HERE,
    "reason": "cost_guard: month to date $0.12 of $0.01",
    "acked": True,
    "status": "paused",
    "seconds": 0.8,
    "logged": True,
}


def guard(*commands, ticks=1):
    found = guard_tripped(HERE, 3.0)
    return found.judge([Reply(tuple(commands)), Reply(({"ticks": ticks},))])


def test_a_guard_that_trips_in_time_says_why():
    assert guard(PAUSE).complaint is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seconds": 3.1}, "at most 3 s"),
        ({"seconds": None}, "at most 3 s"),
        ({"reason": "somebody clicked"}, "reason"),
        ({"acked": False}, "not acknowledged"),
        ({"logged": False}, "no cost_guard_tripped"),
        ({"status": "running"}, "status is running"),
        ({"deployment_id": ELSEWHERE}, f"another deployment: {ELSEWHERE}"),
    ],
)
def test_a_guard_that_trips_wrongly_is_told_from_one_that_trips(changed, words):
    found = guard(PAUSE | changed)

    assert words in found.complaint
    assert not found.unsure


def test_a_guard_that_trips_here_and_elsewhere_has_not_passed():
    assert guard(PAUSE, PAUSE | {"deployment_id": ELSEWHERE}).complaint


def test_ticks_without_a_trip_tell_nothing_and_no_ticks_tell_that_nobody_ticks():
    silent, stale = guard(ticks=0), guard(ticks=3)

    assert (silent.unsure, "does not tick" in silent.complaint) == (False, True)
    assert (stale.unsure, stale.final, "read the Skill again" in stale.complaint) == (True, True, True)


def machine(state, deployment=HERE):
    return {"id": "148e", "state": state, "config": {"env": {"DEPLOYMENT_ID": deployment}}}


@pytest.mark.parametrize("state", ["stopped", "suspended", "failed", "destroyed"])
def test_a_machine_is_down_in_states_it_stays_in(state):
    assert machine_down(HERE).judge([Reply((machine(state),))]).complaint is None


@pytest.mark.parametrize("state", ["started", "starting", "stopping", "replacing", "a state of tomorrow", None])
def test_every_other_state_may_run(state):
    assert "148e" in machine_down(HERE).judge([Reply((machine(state),))]).complaint


def test_machines_of_others_and_none_at_all_are_none_of_its():
    assert machine_down(HERE).judge([Reply((machine("started", ELSEWHERE),))]).complaint is None
    assert machine_down(HERE).judge([Reply()]).complaint is None
    assert machine_down(HERE).judge([Reply(({"id": "1", "config": None},))]).complaint
