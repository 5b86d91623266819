"""A live platform to be halted: deployments with positions, and looks at the venue, at Fly and at the database."""

from __future__ import annotations

import contextlib
import os
import time

import httpx
import psycopg
from eth_account import Account
from psycopg.rows import dict_row

from runbook_lib.rehearsal.exchange.mainnet_client import NOTHING, mainnet_client
from runbook_lib.settings import profiles
from tests.core_fixtures import NOBODY

APP = "agentic-live-runner"
OPERATOR_KEY = "HYPERLIQUID_OPERATOR_KEY"
# Seconds. Generous where nothing should expire: the machine may be busy.
LIMITS = {"answer": 5.0, "pause": 10.0, "flat": 15.0, "stop": 20.0}
# A runner that was killed is still "running" in its row: only an answer tells that it is there again.
HEARD = "select 1 from public.agent_commands where deployment_id = %s and created_at > %s and acked_at is not null"
AGENT = """
    select d.id::text as deployment, lower(w.address) as wallet, s.decrypted_secret as key
    from public.deployments d
    join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
    join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
    join vault.decrypted_secrets s on s.id = a.vault_key_id
    where d.id::text = %s
"""


def eventually(look, what, within=20.0):
    """The first true value of ``look()``."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.02)
    return found


class Platform:
    """A rehearsal in the state ``live``. What it tells comes from the stand-ins, not from what a halt said."""

    def __init__(self, running):
        self.running = running
        os.environ.update(running.environment)
        self.database = psycopg.connect(
            running.addresses["database"],
            password=running.environment["SUPABASE_DB_PASSWORD"],
            autocommit=True,
            row_factory=dict_row,
        )
        self.person = self._client("person", "REHEARSAL_TOKEN", timeout=60)
        self.fly = self._client("fly", "FLY_API_TOKEN")
        self.vercel = self._client("vercel", "VERCEL_TOKEN")
        self.venue = self._client("hyperliquid")
        self.meta = self.asks("meta")
        self.traders = {}

    def _client(self, service, token=None, timeout=20):
        headers = {"authorization": f"Bearer {self.running.environment[token]}"} if token else {}
        address = self.running.addresses[service]
        params = {"teamId": "team_rehearsal"} if service == "vercel" else {}
        return httpx.Client(
            base_url=address, headers=headers, params=params, timeout=timeout, trust_env=False, verify=NOBODY
        )

    def close(self):
        for opened in (self.database, self.person, self.fly, self.vercel, self.venue):
            opened.close()

    def settings(self, **changes):
        """The rehearsal profile. ``key`` is an operator's key, ``wallet`` the profile's, ``limits`` the halt's own."""
        chosen = profiles.load("rehearsal")
        limits = chosen.budgets.halt.model_copy(update=LIMITS | changes.pop("limits", {}))
        budgets = chosen.budgets.model_copy(update={"halt": limits, "redeploy": changes.pop("redeploy", 10.0)})
        venue = {"wallet": changes.pop("wallet", None)}
        if key := changes.pop("key", None):
            os.environ[OPERATOR_KEY] = key
            venue["operator_key"] = OPERATOR_KEY
        declared = {**chosen.variables, OPERATOR_KEY: "optional secret"}
        changes |= {"budgets": budgets, "hyperliquid": chosen.hyperliquid.model_copy(update=venue)}
        if down := changes.pop("database_down", None):
            changes["database"] = chosen.database.model_copy(update={"url": down})
        return chosen.model_copy(update={**changes, "variables": declared})

    # --- what a person and a runner do ------------------------------------------------------------------------------

    def does(self, gesture, **parameters):
        reply = self.person.post(f"/gestures/{gesture}", json=parameters)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def sees(self, statement, *values):
        cursor = self.database.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def status(self, deployment):
        return self.sees("select status from public.deployments where id = %s", deployment)[0]["status"]

    def deploy(self, *, fresh=True):
        """A live deployment that runs, on a wallet of its own unless told otherwise; its id."""
        if fresh:
            self.does("fund", fresh=True)
            self.does("pair")
        self.does("authorise")
        made = self.does("deploy_live")["deployment_id"]
        eventually(lambda: self.status(made) == "running", f"{made} runs")
        return made

    def live(self):
        """Live deployments that are not over, oldest first."""
        found = self.sees(
            "select id::text from public.deployments"
            " where broker_kind <> 'paper' and status <> 'stopped' order by created_at"
        )
        return [row["id"] for row in found]

    def wallet(self, deployment):
        return self._agent(deployment)["wallet"]

    def key(self, deployment):
        """The private key of a deployment's agent, from the Vault: it may trade for the wallet."""
        return self._agent(deployment)["key"]

    def _agent(self, deployment):
        return self.sees(AGENT, deployment)[0]

    def trader(self, deployment):
        """A client of the venue that signs with the deployment's agent."""
        if deployment not in self.traders:
            wallet = Account.from_key(self.key(deployment))
            address = self.running.addresses["hyperliquid"]
            self.traders[deployment] = mainnet_client(
                wallet, address, account=self.wallet(deployment), meta=self.meta, spot_meta=NOTHING
            )
        return self.traders[deployment]

    def buy(self, deployment, usd=13.0):
        """Take a position at the market, unless there is one."""
        if not self.positions(deployment):
            price = float(self.asks("allMids")["BTC"])
            reply = self.trader(deployment).order(
                "BTC", True, round(usd / price, 5), round(price * 1.02), {"limit": {"tif": "Ioc"}}
            )
            assert "filled" in reply["response"]["data"]["statuses"][0], reply
        return self.positions(deployment)

    def rest(self, deployment, *, reduce_only=False):
        """Leave an order resting, far from the market: one that would open, or one that only reduces."""
        price = float(self.asks("allMids")["BTC"])
        limit = round(price * (1.2 if reduce_only else 0.8))
        size = round(12 / limit, 5)
        reply = self.trader(deployment).order(
            "BTC", not reduce_only, size, limit, {"limit": {"tif": "Gtc"}}, reduce_only=reduce_only
        )
        return reply["response"]["data"]["statuses"][0]["resting"]["oid"]

    def revive(self, *deployments):
        """Undo what a halt did, from outside: switches, machines, pauses; then each holds a position again."""
        self.switch("false", "true")
        for deployment in deployments:
            machine = self.machines(deployment)[-1]
            if machine["state"] != "started":
                self.fly.post(f"/v1/apps/{APP}/machines/{machine['id']}/start").raise_for_status()

            [now] = self.sees("select clock_timestamp() as at")

            def resumed(deployment=deployment, since=now["at"]):
                self.sees("insert into public.agent_commands (deployment_id, kind) values (%s, 'resume')", deployment)
                time.sleep(0.05)
                return self.sees(HEARD, deployment, since) and self.status(deployment) == "running"

            eventually(resumed, f"{deployment} resumes")
            self.buy(deployment)

    def switch(self, disabled, live):
        """Set both variables, redeploy, and wait until that serves."""
        wanted = {"DEPLOYMENTS_DISABLED": disabled, "HYPERLIQUID_LIVE_ENABLED": live}
        project = "agentic-trading"
        known = {row["key"]: row["type"] for row in self.vercel.get(f"/v10/projects/{project}/env").json()["envs"]}
        body = [
            {"key": key, "value": value, "type": known.get(key, "plain"), "target": ["production"]}
            for key, value in wanted.items()
        ]
        stored = self.vercel.post(f"/v10/projects/{project}/env", params={"upsert": "true"}, json=body)
        assert stored.status_code == 201 and not stored.json()["failed"], stored.text
        newest = self.vercel.get("/v7/deployments", params={"limit": 1}).json()["deployments"][0]["uid"]
        body = {"name": project, "deploymentId": newest, "target": "production"}
        made = self.vercel.post("/v13/deployments", json=body).json()["id"]
        serving = lambda: self.vercel.get(f"/v9/projects/{project}").json()["targets"]["production"]  # noqa: E731
        eventually(lambda: (found := serving())["id"] == made and found["readyState"] == "READY", "the build serves")
        self.fly.post(f"/v1/apps/{APP}/secrets", json={"values": {"HYPERLIQUID_LIVE_ENABLED": live}})

    def ticks(self, deployment, number):
        """Wait for so many ticks more."""
        count = "select count(*) as n from public.decision_snapshots where deployment_id = %s"
        before = self.sees(count, deployment)[0]["n"]
        eventually(lambda: self.sees(count, deployment)[0]["n"] >= before + number, f"{deployment} ticks")

    # --- what is so -------------------------------------------------------------------------------------------------

    def asks(self, kind, **more):
        return self.venue.post("/info", json={"type": kind, **more}).raise_for_status().json()

    def weight(self):
        """What was asked from here at the venue so far, as the venue counts it."""
        return self.person.get("/venue/weights").raise_for_status().json().get("127.0.0.1", 0)

    def positions(self, deployment):
        """Coin -> size at the venue."""
        held = self.asks("clearinghouseState", user=self.wallet(deployment))["assetPositions"]
        return {one["position"]["coin"]: one["position"]["szi"] for one in held}

    def orders(self, deployment):
        """Numbers of the orders that rest at the venue."""
        return [one["oid"] for one in self.asks("openOrders", user=self.wallet(deployment))]

    def machines(self, deployment):
        listed = self.fly.get(f"/v1/apps/{APP}/machines").raise_for_status().json()
        return [one for one in listed if one["config"]["env"]["DEPLOYMENT_ID"] == deployment]

    def state(self, deployment):
        return self.machines(deployment)[-1]["state"]

    def refuses(self):
        """Whether the platform refuses a person's new deployment."""
        reply = self.person.post("/gestures/deploy_paper")
        return "DEPLOYMENTS_DISABLED" in reply.text

    def halted(self, *deployments):
        """What is wrong with the halted state, as the stand-ins show it; empty when nothing is."""
        wrong = [f"{d} holds {found}" for d in deployments if (found := self.positions(d))]
        wrong += [f"{d} has resting {found}" for d in deployments if (found := self.orders(d))]
        wrong += [f"{d} is {found}" for d in deployments if (found := self.state(d)) != "stopped"]
        return wrong + ([] if self.refuses() else ["a new deployment is not refused"])

    @contextlib.contextmanager
    def http_fault(self, **what):
        """An HTTP fault of a stand-in, for the length of a block."""
        made = self.person.post("/http-faults", json=what)
        assert made.status_code == 201, made.text
        try:
            yield
        finally:
            self.person.delete(f"/http-faults/{made.json()['id']}")

    @contextlib.contextmanager
    def named_fault(self, name):
        """Put a named fault in force for the length of a block."""
        assert self.person.post(f"/faults/{name}").status_code == 201
        try:
            yield
        finally:
            self.person.delete(f"/faults/{name}")
