"""A whole launch through the stand-ins only: what a person and an operator do, and what they must then see."""

from __future__ import annotations

import pytest
from psycopg.rows import dict_row

from runbook_lib.rehearsal.lifecycle import rehearse
from tests.rehearsal.conftest import client, connect, eventually, fault

APP = "agentic-live-runner"


class Operator:
    """Gestures, and looks at the database, at Fly and at the venue."""

    def __init__(self, running):
        self.running = running
        self.database = connect(running)
        self.database.row_factory = dict_row
        self.person, self.fly = client(running, "person", "REHEARSAL_TOKEN"), client(running, "fly", "FLY_API_TOKEN")
        self.venue = client(running, "hyperliquid")
        self.vercel = client(running, "vercel", "VERCEL_TOKEN")

    def does(self, gesture, **parameters):
        reply = self.person.post(f"/gestures/{gesture}", json=parameters, timeout=60)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def is_refused(self, gesture, **parameters):
        reply = self.person.post(f"/gestures/{gesture}", json=parameters, timeout=60)
        assert reply.status_code == 409, reply.text
        return reply.json()["error"]

    def sees(self, sql, *values):
        return self.database.execute(sql, values).fetchall()

    def status(self, deployment):
        return self.sees("select status from public.deployments where id = %s", deployment)[0]["status"]

    def awaits(self, deployment, status):
        eventually(lambda: self.status(deployment) == status, within=30)

    def machines(self, deployment):
        listed = self.fly.get(f"/v1/apps/{APP}/machines").raise_for_status().json()
        return [one for one in listed if one["config"]["env"]["DEPLOYMENT_ID"] == deployment]

    def asks(self, kind, **more):
        return self.venue.post("/info", json={"type": kind, **more}).raise_for_status().json()

    def close(self):
        for opened in (self.database, self.person, self.fly, self.venue, self.vercel):
            opened.close()


@pytest.fixture(scope="module")
def operator():
    with rehearse(state="paper_ready", tick=0.5) as running:
        made = Operator(running)
        yield made
        made.close()


@pytest.fixture(scope="module")
def skill(operator):
    return operator.does("author")["skill_id"]


@pytest.fixture(scope="module")
def live(operator):
    """A live deployment with its first fill, on a wallet that was funded and paired for it."""
    address = operator.does("fund", usd=100, fresh=True)["address"]
    operator.does("pair")
    operator.does("author", sheet="tiny")
    agent = operator.does("authorise")
    made = operator.does("deploy_live")
    operator.awaits(made["deployment_id"], "running")
    filled = "select 1 from public.mainnet_orders where deployment_id = %s and status = 'filled'"
    eventually(lambda: operator.sees(filled, made["deployment_id"]), within=30)
    return {**agent, **made, "address": address}


def test_from_sign_up_to_revoke(operator):
    user = operator.does("sign_in")["user_id"]
    authored = operator.does("author")
    versions = "select payload, payload_hash from public.skill_versions where skill_id = %s and version = 1"
    [version] = operator.sees(versions, authored["skill_id"])
    assert version["payload_hash"] == authored["payload_hash"]
    assert version["payload"]["risk"]["maxMonthlyCostUsd"] == 500

    run = operator.does("backtest", hours=2)["sim_run_id"]
    finished = "select * from public.sim_runs where id = %s and status = 'complete'"
    [simulated] = eventually(lambda: operator.sees(finished, run))
    assert simulated["metrics_json"]["ticks"] == 24
    assert simulated["metrics_json"]["proposals"] > 0

    paper = operator.does("deploy_paper")
    operator.awaits(paper["deployment_id"], "running")
    assert [one["id"] for one in operator.machines(paper["deployment_id"])] == [paper["machine_id"]]
    ticks = "select verdict from public.decision_snapshots where deployment_id = %s"
    eventually(lambda: len(operator.sees(ticks, paper["deployment_id"])) >= 2, within=30)

    for kind, then in (("pause", "paused"), ("resume", "running"), ("snapshot", "running"), ("flatten", "paused")):
        command = operator.does("click", kind=kind, deployment=paper["deployment_id"])["command_id"]
        acked = "select 1 from public.agent_commands where id = %s and acked_at is not null"
        eventually(lambda acked=acked, command=command: operator.sees(acked, command))
        operator.awaits(paper["deployment_id"], then)
    operator.does("click", kind="stop", deployment=paper["deployment_id"])
    operator.awaits(paper["deployment_id"], "stopped")
    eventually(lambda: operator.machines(paper["deployment_id"]) == [], within=30)

    address = operator.does("fund", usd=100, fresh=True)["address"]
    assert operator.asks("clearinghouseState", user=address)["marginSummary"]["accountValue"] == "100.0"
    operator.does("pair")
    wallet = "select verified_at, pairing_sig_hash from public.hyperliquid_master_wallets where address = %s"
    assert len(operator.sees(wallet, address)[0]["pairing_sig_hash"]) == 64

    operator.does("author", sheet="tiny")
    approved = operator.does("authorise")
    assert [one["address"] for one in operator.asks("extraAgents", user=address)] == [approved["agent_address"]]
    kept = (
        "select 1 from public.hyperliquid_agents a join vault.decrypted_secrets s on s.id = a.vault_key_id"
        " where a.agent_address = %s and a.approved_at is not null"
    )
    assert operator.sees(kept, approved["agent_address"])

    deployed = operator.does("deploy_live")
    assert deployed["cross_margin_warning"] is False
    operator.awaits(deployed["deployment_id"], "running")
    orders = "select * from public.mainnet_orders where deployment_id = %s and status = 'filled'"
    [order, *_] = eventually(lambda: operator.sees(orders, deployed["deployment_id"]), within=30)
    fills = operator.asks("userFills", user=address)
    assert order["cloid"] in [fill["cloid"] for fill in fills]

    operator.does("revoke", deployment=deployed["deployment_id"])
    operator.awaits(deployed["deployment_id"], "stopped")
    assert operator.asks("userRole", user=approved["agent_address"])["role"] == "agent"
    operator.does("remove_agent")
    assert operator.asks("userRole", user=approved["agent_address"])["role"] == "missing"
    assert operator.asks("extraAgents", user=address) == []
    assert operator.sees("select id from auth.users")[0]["id"].hex == user.replace("-", "")


def test_a_backtest_of_the_same_skill_decides_the_same_again(operator, skill):
    decided = "select proposed_action, verdict ->> 'status' as s from public.decision_snapshots where sim_run_id = %s"
    runs = []
    for _ in range(2):
        run = operator.does("backtest", hours=1, skill=skill)["sim_run_id"]
        finished = "select 1 from public.sim_runs where id = %s and status = 'complete'"
        eventually(lambda run=run, finished=finished: operator.sees(finished, run))
        runs.append(operator.sees(decided + " order by tick_at", run))
    assert len(runs[0]) == 12
    assert runs[0] == runs[1]


def test_a_skill_that_may_not_propose_is_degenerate(operator):
    with client(operator.running, "web") as web:
        session = web.post("/auth/sign-in", json={"email": "other@example.test"}).json()["session"]
        web.headers["authorization"] = f"Bearer {session}"
        content = {"model": "anthropic/claude-haiku-4.5", "tools": ["fetch_recent_bars"], "risk": {}}
        made = web.post("/skills", json={"name": "Mute", "payload": content}).json()["skill_id"]
        run = web.post(f"/skills/{made}/backtests", json={"hours": 1}).json()["sim_run_id"]
        own = web.get(f"/skills/{made}")
        assert own.status_code == 200
    finished = "select metrics_json from public.sim_runs where id = %s and status = 'complete'"
    [row] = eventually(lambda: operator.sees(finished, run))
    assert row["metrics_json"]["proposals"] == 0


def test_pages_are_for_those_who_signed_in_and_for_their_owner(operator, skill):
    with client(operator.running, "web") as web:
        assert web.get(f"/skills/{skill}").status_code == 401
        session = web.post("/auth/sign-in", json={"email": "stranger@example.test"}).json()["session"]
        assert web.get(f"/skills/{skill}", headers={"authorization": f"Bearer {session}"}).status_code == 404


def test_versions_are_added_and_never_changed(operator, skill):
    before = operator.sees("select payload_hash from public.skill_versions where skill_id = %s", skill)
    made = operator.does("upgrade", skill=skill, maxPositionPct=25)
    after = operator.sees(
        "select payload_hash, payload from public.skill_versions where skill_id = %s order by version", skill
    )
    assert made["version"] == 2
    assert [one["payload_hash"] for one in after[:1]] == [one["payload_hash"] for one in before]
    assert after[1]["payload"]["risk"]["maxPositionPct"] == 25


def test_another_wallets_signature_is_not_a_pairing(operator):
    with client(operator.running, "web") as web:
        session = web.post("/auth/sign-in", json={"email": "forger@example.test"}).json()["session"]
        web.headers["authorization"] = f"Bearer {session}"
        from eth_account import Account
        from eth_account.messages import encode_defunct

        mine, theirs = Account.create(), Account.create()
        text = web.get(f"/wallets/{theirs.address}/message").json()["message"]
        forged = mine.sign_message(encode_defunct(text=text)).signature.hex()
        reply = web.post("/wallets", json={"address": theirs.address, "signature": f"0x{forged}"})
        assert reply.status_code == 403
        assert web.post("/wallets", json={"address": theirs.address, "signature": "0x00"}).status_code == 400


def test_a_live_deployment_needs_an_agent_of_its_own(operator, live):
    assert "authorise one first" in operator.is_refused("deploy_live")


def test_a_second_live_deployment_of_a_wallet_is_warned_about(operator, live):
    second = operator.does("authorise")
    assert second["agent_name"] != live["agent_name"]
    made = operator.does("deploy_live")
    assert made["cross_margin_warning"] is True
    operator.awaits(made["deployment_id"], "running")
    operator.does("revoke", deployment=made["deployment_id"])
    operator.awaits(made["deployment_id"], "stopped")
    assert operator.status(live["deployment_id"]) == "running"
    operator.does("remove_agent")
    known = [one["address"] for one in operator.asks("extraAgents", user=live["address"])]
    assert known == [live["agent_address"]]


def test_a_switch_on_vercel_works_only_after_a_redeploy(operator, skill):
    variables = operator.vercel.get("/v10/projects/agentic-trading/env").json()["envs"]
    switch = next(one["id"] for one in variables if one["key"] == "DEPLOYMENTS_DISABLED")

    def set_to(value):
        path = f"/v9/projects/agentic-trading/env/{switch}"
        operator.vercel.patch(path, json={"value": value}).raise_for_status()

    def redeploy():
        listed = operator.vercel.get("/v6/deployments", params={"limit": 1}).json()["deployments"]
        body = {"name": "agentic-trading", "deploymentId": listed[0]["uid"], "target": "production"}
        made = operator.vercel.post("/v13/deployments", json=body).raise_for_status().json()["id"]
        ready = lambda: operator.vercel.get(f"/v13/deployments/{made}").json()["readyState"] == "READY"  # noqa: E731
        eventually(ready)

    set_to("true")
    operator.does("click", kind="stop", deployment=operator.does("deploy_paper", skill=skill)["deployment_id"])
    redeploy()
    assert "deployments are disabled" in operator.is_refused("deploy_paper", skill=skill)
    set_to("false")
    redeploy()
    operator.does("click", kind="stop", deployment=operator.does("deploy_paper", skill=skill)["deployment_id"])


def test_what_the_person_reads_must_be_what_the_page_said(operator):
    wrong = {
        "agent_address": "0x" + "1" * 40,
        "typed_data": {
            "primaryType": "HyperliquidTransaction:ApproveAgent",
            "message": {"hyperliquidChain": "Mainnet", "agentAddress": "0x" + "2" * 40, "nonce": 0},
        },
    }
    with fault(operator.running, service="web", path="/wallets/*/agents", kind="status", status=200, body=wrong):
        assert "not signed" in operator.is_refused("authorise")
