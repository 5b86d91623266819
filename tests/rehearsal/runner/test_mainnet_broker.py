"""A runner on the mainnet broker, against a stand-in exchange that checks its signatures."""

import pytest

from runbook_lib.rehearsal.exchange.orders_and_margin import Faults
from runbook_lib.rehearsal.runner.runner_faults import runner_fault
from tests.rehearsal.conftest import eventually
from tests.rehearsal.operated import Operated, approved_agent, changed, venue_of_its_own

TINY = changed(risk={"maxPositionPct": 15, "maxTotalExposurePct": 15})  # of $100: an order of $13 or $14


@pytest.fixture(scope="module")
def operated(migrated):
    operated = Operated(migrated)
    yield operated
    operated.close()


@pytest.fixture
def venue(migrated, tmp_path):
    with venue_of_its_own(migrated, tmp_path) as venue:
        yield venue


@pytest.fixture
def live(operated, venue, tmp_path):
    """Deploys a Skill with a fresh wallet: (deployment, machine, master, the venue's exchange)."""
    exchange, address, variables = venue

    def deploy(skill=TINY, *, usdc=100, wait=True, mode=None):
        agent, master = approved_agent(operated, exchange, address, usdc=usdc)
        if mode:
            exchange.set_mode(master, mode)
        deployment = operated.deployment(skill, agent=agent)
        env = {"DEPLOYMENT_ID": deployment} | variables
        machine = operated.start(deployment, env=env) if wait else operated.machine(deployment, env=env)
        return deployment, machine, master, exchange

    return deploy


def orders(operated, deployment):
    return operated.rows(
        "select * from public.mainnet_orders where deployment_id = %(id)s order by placed_at", id=deployment
    )


def test_the_broker_starts_reconciles_and_trades_with_one_trail_everywhere(operated, live):
    deployment, _, master, exchange = live()

    order = eventually(lambda: [one for one in orders(operated, deployment) if one["settled_at"]])[0]
    eventually(lambda: operated.logs(deployment, "order_filled"))
    logs = operated.logs(deployment)

    events = [one["event"] for one in logs]
    assert events[:3] == ["runner_started", "broker_started", "reconciled"]
    assert logs[2]["message"] == "reconciled: positions=0 equity=$100.00"
    placed = next(one for one in logs if one["event"] == "order_placed")
    filled = next(one for one in logs if one["event"] == "order_filled")
    assert placed["data"]["cloid"] == filled["data"]["cloid"] == order["cloid"]
    fill = exchange.account(master).fills[-1]
    assert (order["status"], order["filled_size_base"]) == ("filled", order["size_base"])
    assert fill["cloid"] in {one["cloid"] for one in orders(operated, deployment)}
    assert 12 <= order["size_base"] * order["avg_fill_price"] <= 15
    assert order["fee_usd"] > 0


def test_flatten_closes_the_whole_position_in_one_order_and_ends_paused(operated, live):
    deployment, _, master, exchange = live(changed(TINY, schedule={"every": "1s"}))
    eventually(lambda: exchange.account(master).positions)
    count = len(orders(operated, deployment))

    assert operated.obeyed(deployment, "flatten") < 2

    assert operated.status(deployment) == "paused"
    assert not any(position.szi for position in exchange.account(master).positions.values())
    assert len(orders(operated, deployment)) == count + 1


def test_the_checklists_own_sheet_can_never_open_a_position(operated, live):
    deployment, _, master, exchange = live(changed(risk={"maxPositionPct": 2, "maxTotalExposurePct": 2}))

    row = eventually(lambda: operated.snapshots(deployment))[0]

    assert row["verdict"]["rule"] == "R3_POSITION_CAP"
    assert exchange.account(master).fills == []


def test_a_unified_account_is_read_from_spot(operated, live):
    deployment, _, _, _ = live(mode="unifiedAccount")

    first = eventually(lambda: operated.logs(deployment, "reconciled"))[0]

    assert first["data"] == {"positions": 0, "equity_usd": 100.0}


def test_the_stub_broker_is_a_failed_tick(operated, live, tmp_path):
    with runner_fault(tmp_path, stub_broker=True):
        deployment, _, _, _ = live()
        failed = eventually(lambda: operated.logs(deployment, "tick_failed"))[0]

    assert failed["message"].startswith("NotYetImplemented")


def test_an_order_the_venue_refuses_fails_the_tick_with_its_words(operated, live):
    deployment, _, master, exchange = live(changed(TINY, schedule={"every": "1s"}), wait=False)
    exchange.faults = Faults(reject="Trading is halted.")

    failed = eventually(lambda: operated.logs(deployment, "tick_failed"))[0]

    assert "Trading is halted." in failed["message"]
    assert orders(operated, deployment)[0]["status"] == "rejected"
    assert exchange.account(master).fills == []


def test_a_fill_that_never_reaches_the_socket_is_a_drift(operated, live):
    deployment, _, master, exchange = live(changed(TINY, schedule={"every": "1s"}), wait=False)
    exchange.faults = Faults(lose_fills=True)

    drift = eventually(lambda: operated.logs(deployment, "state_drift"), within=15)[0]

    assert drift["level"] == "warn"
    assert drift["data"]["rest"] != drift["data"]["socket"]
    order = orders(operated, deployment)[0]
    assert order["status"] == "filled", "the order's own reply is believed when no fill arrives"
    assert exchange.account(master).fills


def test_a_late_fill_corrects_its_row(operated, live):
    deployment, _, _, exchange = live(changed(TINY, schedule={"every": "1s"}), wait=False)
    exchange.faults = Faults(late_fills=3.0)

    order = eventually(lambda: [one for one in orders(operated, deployment) if one["settled_at"]])[0]
    assert (order["status"], order["fee_usd"]) == ("filled", None)
    eventually(lambda: orders(operated, deployment)[0]["fee_usd"])


def test_a_retired_subscription_is_logged(operated, live, tmp_path):
    with runner_fault(tmp_path, webdata2=True):
        deployment, _, _, _ = live()
        found = eventually(lambda: operated.logs(deployment, "webdata2_apply_failed"))[0]

    assert "webData2" in found["message"]


def test_live_trading_switched_off_is_read_when_the_broker_is_built(migrated, operated, live):
    operated.secrets(HYPERLIQUID_LIVE_ENABLED="false")
    try:
        deployment, machine, _, _ = live(wait=False)
        eventually(lambda: operated.status(deployment) == "error")
        fatal = operated.logs(deployment, "runner_fatal")[0]
    finally:
        operated.secrets(HYPERLIQUID_LIVE_ENABLED="true")

    assert "HYPERLIQUID_LIVE_ENABLED" in fatal["message"]
    operated.api.delete(f"/v1/apps/{operated.app}/machines/{machine}", params={"force": "true"})


def test_an_agent_the_venue_no_longer_knows_cannot_trade(operated, live):
    deployment, _, master, exchange = live(changed(TINY, schedule={"every": "1s"}), wait=False)
    agent = operated.row(
        "select a.agent_address from public.deployments d"
        " join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id where d.id = %(id)s",
        id=deployment,
    )["agent_address"]
    exchange.remove_agent(master, agent)

    failed = eventually(lambda: operated.logs(deployment, "tick_failed"))[0]

    assert f"User or API Wallet {agent} does not exist." in failed["message"]
