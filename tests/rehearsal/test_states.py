"""Every state is what its phase expects."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal.lifecycle import rehearse
from tests.rehearsal.conftest import client, connect, eventually


@pytest.fixture(scope="module")
def first_day():
    """The last state holds all the others."""
    with rehearse(state="first_day", tick=0.5) as running:
        yield running


def rows(running, sql):
    with connect(running) as connection:
        return connection.execute(sql).fetchall()


def test_a_state_there_is_not_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'paper_ready'"), rehearse(state="paper_redy"):
        pass


def test_after_phase_0_a_deployment_needs_nothing_more():
    with rehearse(state="paper_ready") as running, client(running, "person", "REHEARSAL_TOKEN") as person:
        person.post("/gestures/author").raise_for_status()
        assert person.post("/gestures/deploy_paper").raise_for_status().json()["machine_id"]
        with client(running, "vercel", "VERCEL_TOKEN") as vercel:
            variables = vercel.get("/v10/projects/agentic-trading/env").json()["envs"]
            newest = vercel.get("/v6/deployments", params={"limit": 1}).json()["deployments"][0]
        assert newest["state"] == "READY"
        assert newest["created"] >= max(variable["updatedAt"] for variable in variables)


def test_a_boot_that_failed_left_its_reason_and_the_next_one_succeeds():
    with rehearse(state="boot_failed") as running, client(running, "person", "REHEARSAL_TOKEN") as person:
        failed = "select error_text from public.deployments where status = 'error'"
        assert rows(running, failed) == [('password authentication failed for user "postgres"',)]
        person.post("/gestures/deploy_paper").raise_for_status()
        up = "select 1 from public.deployments where status = 'running'"
        eventually(lambda: rows(running, up))


def test_the_paper_run_is_over_and_was_priced(first_day):
    [(status, equity)] = rows(
        first_day,
        "select d.status, s.equity_usd from public.deployments d"
        " join public.agent_state s on s.deployment_id = d.id where broker_kind = 'paper'",
    )
    assert (status, equity) == ("stopped", 10_000)
    assert len(rows(first_day, "select 1 from public.agent_commands where acked_at is not null")) >= 5


def test_a_live_deployment_runs_and_has_traded(first_day):
    live = "select status from public.deployments where broker_kind = 'hyperliquid-mainnet' order by created_at"
    assert rows(first_day, live) == [("stopped",), ("running",)]  # the one before it has the day behind it
    assert rows(first_day, "select 1 from public.mainnet_orders where status = 'filled'")


def test_a_day_lies_behind_it(first_day):
    [(ticks, cost)] = rows(
        first_day,
        "select count(*), sum(cost_usd) from public.decision_snapshots where context ->> 'backfilled' = 'true'",
    )
    assert ticks == 301  # a day and an hour, every five minutes
    assert 5 < cost < 10  # under the tiny Skill's cap of $10, else its cost guard would trip
