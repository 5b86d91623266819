"""Every fault is put in force by its name, works, and is taken back whole."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.rehearsal.named_faults import known
from runbook_lib.rehearsal.world.loopback import WEB_APP, source_of
from tests.rehearsal.conftest import client, connect, eventually, named_fault


@pytest.fixture(scope="module")
def first_day():
    """Every fault finds something to spoil where the first day is over."""
    with rehearse(state="first_day", tick=0.5) as running:
        yield running


def test_a_fault_there_is_not_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'web-down'"), rehearse(faults=["web-dwon"]):
        pass


def test_a_rehearsal_may_start_with_faults_in_force():
    with rehearse(faults=["no-backup"]) as running, client(running, "person", "REHEARSAL_TOKEN") as person:
        assert [fault["name"] for fault in person.get("/faults").json() if fault["active"]] == ["no-backup"]
        assert person.post("/gestures/backup").status_code == 409


def test_every_fault_can_be_entered_and_left(first_day):
    with client(first_day, "person", "REHEARSAL_TOKEN") as person:
        for name in known():
            assert person.post(f"/faults/{name}").status_code == 201, name
            active = [fault["name"] for fault in person.get("/faults").json() if fault["active"]]
            assert active == [name]
            assert person.delete(f"/faults/{name}").status_code == 200, name
        assert person.get("/http-faults").json() == []
        assert person.delete("/faults/web-down").status_code == 404
        assert "did you mean" in person.post("/faults/web-dwon").json()["error"]
    assert not any(map(str.isalpha, (first_day.folder / "runner-faults.json").read_text()))


def test_a_fault_works_while_it_is_in_force(first_day):
    with client(first_day, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        usage = lambda: openrouter.get("/api/v1/key").json()["data"]["usage"]  # noqa: E731
        before = usage()
        with named_fault(first_day, "spending-disagrees"):
            assert usage() >= 2 * before
        assert usage() < 2 * before
    with pytest.raises(AssertionError, match="did you mean"), named_fault(first_day, "web-dwon"):
        pass


# -- faults of state, each seen where an operator would look


@pytest.fixture(scope="module")
def live():
    with rehearse(state="live", tick=0.5) as running:
        yield running


@pytest.fixture
def look(live):
    """Runs a statement about the live deployment."""
    with connect(live) as connection:
        yield lambda sql: connection.execute(sql).fetchall()


def agent_state(look):
    return look(
        "select s.equity_usd::float8, s.positions, extract(epoch from s.updated_at - now())::float8 as ahead"
        " from public.agent_state s join public.deployments d on d.id = s.deployment_id"
        " where d.broker_kind <> 'paper' and d.status = 'running'"
    )[0]


def test_a_live_deployment_is_in_error_and_runs_again(live, look):
    status = "select status, error_text from public.deployments where broker_kind <> 'paper'"
    with named_fault(live, "live-in-error"):
        assert look(status) == [("error", "Connection terminated unexpectedly")]
    assert look(status) == [("running", None)]


def test_a_second_machine_runs_the_same_deployment_until_it_is_taken_back(live):
    with client(live, "fly", "FLY_API_TOKEN") as fly:

        def runs():
            machines = fly.get("/v1/apps/agentic-live-runner/machines").json()
            started = [machine for machine in machines if machine["state"] == "started"]
            return [machine["config"]["env"]["DEPLOYMENT_ID"] for machine in started]

        [deployment] = runs()
        with named_fault(live, "two-machines"):
            eventually(lambda: runs() == [deployment, deployment])
        eventually(lambda: runs() == [deployment])


def test_agent_state_says_another_equity_than_the_venue(live, look):
    before = agent_state(look)[0]
    with named_fault(live, "runner-misstates-equity"):
        eventually(lambda: agent_state(look)[0] > before + 4)
    eventually(lambda: abs(agent_state(look)[0] - before) < 2)


def test_agent_state_says_another_size_than_the_venue(live, look):
    def sizes():
        return [abs(position["sizeBase"]) for position in agent_state(look)[1]]

    assert all(size < 0.005 for size in sizes())
    with named_fault(live, "runner-misstates-positions"):
        eventually(lambda: any(size > 0.005 for size in sizes()))
    eventually(lambda: all(size < 0.005 for size in sizes()))


def test_heartbeats_lie_in_the_future(live, look):
    assert agent_state(look)[2] <= 0
    with named_fault(live, "runner-beats-ahead"):
        eventually(lambda: agent_state(look)[2] > 500)
    eventually(lambda: agent_state(look)[2] <= 0)


def test_the_key_is_nearly_spent_or_about_to_expire(live):
    with client(live, "openrouter", "OPENROUTER_API_KEY") as openrouter:
        key = lambda: openrouter.get("/api/v1/key").json()["data"]  # noqa: E731
        assert key()["expires_at"] is None
        with named_fault(live, "key-nearly-spent"):
            assert key()["limit_remaining"] == pytest.approx(0.4)
        with named_fault(live, "key-expires-soon"):
            assert key()["expires_at"] is not None
        assert key()["limit_remaining"] > 1


def test_every_part_of_the_platform_asks_the_venue_from_an_address_of_its_own(live, look):
    """The operator's 127.0.0.1 has its whole minute, however much the runners ask."""
    [deployment] = look("select id::text from public.deployments where broker_kind <> 'paper'")[0]
    parts = [source_of(deployment), source_of(WEB_APP), source_of("another deployment")]
    assert len({*parts, "127.0.0.1"}) == 4
    with named_fault(live, "venue-true-minute"), client(live, "hyperliquid") as venue:
        answers = [venue.post("/info", json={"type": "userRole", "user": "0x" + "ab" * 20}) for _ in range(21)]
        assert [answer.status_code for answer in answers[-2:]] == [200, 429]
        beat = agent_state(look)[2]
        eventually(lambda: agent_state(look)[2] > beat)  # the runner's own minute is not spent
