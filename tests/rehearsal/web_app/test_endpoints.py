"""The platform's cron endpoints judge real rows, behind the live deployment's secret."""

from __future__ import annotations

import pytest

from tests.rehearsal.conftest import client, named_fault

SWEEP, COLLECT = "/api/jobs/heartbeat-sweep", "/api/jobs/pending-agents-gc"


@pytest.fixture
def web(migrated):
    with client(migrated, "web", "CRON_SECRET") as opened:
        yield opened


@pytest.fixture
def beating(deployment, database):
    """Make a running deployment whose last heartbeat is so many seconds old."""

    def make(age, status="running", every="1s"):
        made = deployment(status=status, every=every)
        database.execute(
            "insert into public.agent_state (deployment_id, updated_at) values (%s, now() - %s * interval '1 s')",
            (made, age),
        )
        return made

    return make


def status(database, deployment):
    return database.execute("select status, error_text from public.deployments where id = %s", (deployment,)).fetchone()


def test_an_empty_platform_has_nothing_to_sweep_or_collect(web, database):
    database.execute("delete from public.deployments")
    assert web.get(SWEEP).json() == {"checked": 0, "marked": 0}
    assert web.get(COLLECT).json() == {"deleted": 0}


@pytest.mark.parametrize("path", [SWEEP, COLLECT])
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic wrong"])
def test_another_secret_gets_401(rehearsal, path, header):
    with client(rehearsal, "web") as web:
        assert web.get(path, headers={"authorization": header}).status_code == 401


def test_a_platform_without_tables_answers_500_and_logs_why(rehearsal):
    with client(rehearsal, "web", "CRON_SECRET") as web:
        assert web.get(SWEEP).status_code == 500


@pytest.mark.parametrize("state", ["running", "paused", "halted"])
def test_a_silent_deployment_is_marked_with_when_it_was_last_seen(web, beating, database, state):
    silent = beating(60, state)
    assert web.get(SWEEP).json()["marked"] == 1
    marked, text = status(database, silent)
    assert marked == "error"
    assert text.startswith("heartbeat lost: last seen 20")


def test_a_deployment_that_beats_or_has_ended_is_left_alone(web, beating, database):
    fresh, stopped, provisioning = beating(0.5), beating(60, "stopped"), beating(60, "provisioning")
    assert web.get(SWEEP).json()["marked"] == 0
    assert [status(database, one)[0] for one in (fresh, stopped, provisioning)] == [
        "running",
        "stopped",
        "provisioning",
    ]


def test_each_deployment_has_the_limit_of_its_own_interval(web, beating, database):
    slow, fast = beating(60, every="1m"), beating(60, every="5s")
    assert web.get(SWEEP).json()["marked"] == 1
    assert (status(database, slow)[0], status(database, fast)[0]) == ("running", "error")


def test_agents_that_were_never_approved_are_deleted(web, database, user):
    wallet = database.execute(
        "insert into public.hyperliquid_master_wallets (user_id, address) values (%s, '0xabc') returning id", (user,)
    ).fetchone()[0]
    for address, age in (("0x1", "2 days"), ("0x2", "1 second")):
        database.execute(
            "insert into public.pending_hyperliquid_agents"
            " (user_id, master_wallet_id, agent_address, vault_key_id, expires_at)"
            " values (%s, %s, %s, gen_random_uuid(), now() + interval '1 day' - %s::interval)",
            (user, wallet, address, age),
        )
    assert web.get(COLLECT).json() == {"deleted": 1}


def test_an_unknown_page_is_named(rehearsal):
    with client(rehearsal, "web") as web:
        assert web.get("/nothing").json() == {"error": "the rehearsal's web app knows no GET /nothing"}


def test_a_sweep_that_skips_paused_deployments_leaves_a_silent_one(web, beating, database, migrated):
    silent = beating(60, "paused")
    with named_fault(migrated, "sweep-skips-paused"):
        web.get(SWEEP).raise_for_status()
        assert status(database, silent) == ("paused", None)
    web.get(SWEEP).raise_for_status()
    assert status(database, silent)[0] == "error"
