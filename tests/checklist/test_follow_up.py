"""What a week tells: advice comes from enough fills, and outages are over."""

from __future__ import annotations

import pytest

from runbook_lib.checklist import follow_up
from runbook_lib.commands.command import Reply
from tests.core_fixtures import connect


def judged(expectation, *replies):
    return expectation.judge([Reply(rows=tuple(rows)) for rows in replies])


@pytest.mark.parametrize(
    ("fills", "p99", "says"),
    [
        (5, 0.2, "too few to advise"),
        (100, 0.9, "keep 2 s"),
        (100, 3.0, "wait 4.5 s instead of 2 s"),
    ],
)
def test_the_wait_is_advised_from_what_fills_took(fills, p99, says):
    row = {"fills": fills, "slow": 0, "median": 0.1, "p99": p99, "slowest": p99}

    assert says in judged(follow_up.wait_advice(2.0, "5.1a"), [row]).seen


def test_that_the_wait_is_long_enough_is_not_proven_by_no_fill():
    row = {"fills": 0, "slow": 0, "median": None, "p99": None, "slowest": None}
    found = judged(follow_up.wait_advice(2.0, "5.1a"), [row])

    assert found.complaint is None and [claim.due for claim in found.unproven] == ["5.1a"]
    some = {"fills": 3, "slow": 0, "median": 0.1, "p99": 0.2, "slowest": 0.2}
    assert judged(follow_up.wait_advice(2.0, "5.1a"), [some]).unproven == ()


def test_times_that_are_no_numbers_are_complained_of():
    row = {"fills": 3, "slow": 0, "median": None, "p99": None}

    assert judged(follow_up.wait_advice(2.0, "5.1a"), [row]).complaint


def test_an_outage_that_lasts_is_complained_of_and_one_that_ended_is_not():
    over = {"began": "2026-11-22T10:00:00Z", "recovered": "2026-11-22T10:01:00Z", "seconds": 60}
    lasting = {**over, "began": "2026-11-22T11:00:00Z", "recovered": None}

    assert judged(follow_up.holds_up(), [over]).complaint is None
    assert judged(follow_up.holds_up(), [over, lasting]).complaint == "not over: since 2026-11-22T11:00:00Z"


def test_an_outage_ends_when_its_deployment_is_stopped(paper):
    asked = follow_up.outages("-infinity")
    with connect(paper) as connection, connection.transaction(force_rollback=True):
        connection.execute("alter table public.deployments drop constraint deployments_agent_matches_broker")
        for status in ("running", "stopped"):
            connection.execute(
                "update public.deployments set broker_kind = 'hyperliquid-mainnet', status = %s", [status]
            )
            connection.execute("delete from public.agent_logs")
            connection.execute(
                "insert into public.agent_logs (deployment_id, ts, level, event, message)"
                " select id, now() - interval '1 minute', 'warn', 'webdata2_apply_failed', '' from public.deployments"
            )
            recovered = connection.execute(
                f"select recovered is not null from ({asked.statement}) found", asked.values
            ).fetchone()
            assert recovered == (status == "stopped",)
