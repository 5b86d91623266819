"""What is expected of the cost guard when it is made to trip, and of its query as ticks pile up."""

import pytest

from runbook_lib.checklist.cost_guard import guard_projection, guard_tripped
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
        ({"seconds": 3.1}, "expected 0 to 3"),
        ({"seconds": None}, "expected 0 to 3"),
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


# --- its query


def judged(expectation, *replies):
    return expectation.judge([Reply(rows=tuple(rows)) for rows in replies])


def plan(milliseconds):
    node = {
        "Node Type": "Aggregate",
        "Shared Hit Blocks": 21,
        "Plans": [{"Node Type": "Seq Scan", "Relation Name": "t"}],
    }
    return [{"QUERY PLAN": [{"Plan": node, "Execution Time": milliseconds}]}]


def test_the_guards_query_is_projected_to_full_months_and_more_deployments():
    found = judged(guard_projection(), plan(1.0), [{"rows": 864, "tick_seconds": 300}])

    assert found.complaint is None
    assert "a full month 10.0 ms a tick" in found.seen  # 8640 ticks a month, ten times as many rows
    assert "1000 deployments 3.3% of a core" in found.seen
    assert "include (cost_usd)" in found.seen


def test_a_query_that_stays_small_is_left_as_it_is():
    found = judged(guard_projection(), plan(0.1), [{"rows": 8640, "tick_seconds": 300}])

    assert "it can stay as it is" in found.seen


def test_a_reply_without_a_plan_is_complained_of():
    assert judged(guard_projection(), [], [{"rows": 1, "tick_seconds": 300}]).complaint
