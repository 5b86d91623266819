"""A rehearsed platform as tests of runners operate it: deploy, command, look."""

import asyncio
import base64
import json
import threading
import uuid
from contextlib import contextmanager

import eth_account
import httpx
import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from runbook_lib.rehearsal.exchange import hyperliquid_api
from runbook_lib.rehearsal.exchange.mainnet_client import mainnet_client
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from runbook_lib.rehearsal.world import http_server
from tests.core_fixtures import NOBODY
from tests.rehearsal.conftest import eventually, fault

FIVE = (
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_DB_PASSWORD",
    "OPENROUTER_API_KEY",
    "HYPERLIQUID_LIVE_ENABLED",
)
SKILL = {
    "model": "anthropic/claude-haiku-4.5",
    "schedule": {"every": "200 milliseconds"},
    "context": {"symbols": ["BTC"]},
    "risk": {
        "maxPositionPct": 20,
        "maxTotalExposurePct": 20,
        "maxOrdersPerDay": 1000,
        "maxLeverage": 1,
        "minOrderUsd": 10,
        "allowedSymbols": ["BTC"],
        "maxMonthlyCostUsd": 1000,
        "dailyLossHaltPct": 5,
    },
}


class Operated:
    """One rehearsal with a Fly app of its own; ``secrets`` overrides the five (None leaves one out)."""

    def __init__(self, running, secrets=None):
        self.running = running
        self.app = f"runner-{uuid.uuid4().hex[:8]}"
        token = running.environment["FLY_API_TOKEN"]
        self.api = httpx.Client(
            base_url=running.addresses["fly"], headers={"Authorization": f"Bearer {token}"}, timeout=30, verify=NOBODY
        )
        self.database = psycopg.connect(
            running.addresses["database"],
            password=running.environment["SUPABASE_DB_PASSWORD"],
            autocommit=True,
            row_factory=dict_row,
        )
        values = {name: running.environment[name] for name in FIVE} | (secrets or {})
        self.api.post("/v1/apps", json={"name": self.app}).raise_for_status()
        self.secrets(**{name: value for name, value in values.items() if value is not None})
        basic = base64.b64encode(f"x:{token}".encode()).decode()
        httpx.put(
            f"{running.addresses['registry']}/v2/{self.app}/manifests/test",
            content=b"{}",
            headers={"Authorization": f"Basic {basic}"},
        ).raise_for_status()

    def close(self):
        for machine in self.machines():
            self.api.delete(f"/v1/apps/{self.app}/machines/{machine['id']}", params={"force": "true"})
        self.api.close()
        self.database.close()

    def secrets(self, **values):
        self.api.post(f"/v1/apps/{self.app}/secrets", json={"values": values}).raise_for_status()

    # -- rows

    def rows(self, statement, **values):
        cursor = self.database.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    def row(self, statement, **values):
        found = self.rows(statement, **values)
        return found[0] if found else None

    def deployment(self, skill=SKILL, *, agent=None, status="provisioning"):
        user = self.row("insert into auth.users (id) values (gen_random_uuid()) returning id")["id"]
        made = self.row(
            "insert into public.skills (user_id, name, slug) values (%(user)s, 'Test', 'test') returning id",
            user=user,
        )
        self.rows(
            "insert into public.skill_versions (skill_id, version, payload, payload_hash)"
            " values (%(skill)s, 1, %(payload)s, 'x')",
            skill=made["id"],
            payload=Jsonb(skill),
        )
        return str(
            self.row(
                "insert into public.deployments"
                " (user_id, skill_id, skill_version, broker_kind, status, hyperliquid_agent_id)"
                " values (%(user)s, %(skill)s, 1, %(kind)s, %(status)s, %(agent)s) returning id",
                user=user,
                skill=made["id"],
                kind="hyperliquid-mainnet" if agent else "paper",
                status=status,
                agent=agent,
            )["id"]
        )

    def status(self, deployment):
        return self.row("select status from public.deployments where id = %(id)s", id=deployment)["status"]

    def logs(self, deployment, event=None):
        return self.rows(
            "select * from public.agent_logs where deployment_id = %(id)s"
            " and (%(event)s::text is null or event = %(event)s) order by id",
            id=deployment,
            event=event,
        )

    def snapshots(self, deployment):
        return self.rows(
            "select * from public.decision_snapshots where deployment_id = %(id)s order by tick_at", id=deployment
        )

    def command(self, deployment, kind):
        """Issue a command; its id."""
        return self.row(
            "insert into public.agent_commands (deployment_id, kind) values (%(id)s, %(kind)s) returning id",
            id=deployment,
            kind=kind,
        )["id"]

    def acked(self, command):
        """Seconds from the row to its acknowledgement, None while there is none."""
        found = self.row(
            "select extract(epoch from acked_at - created_at)::float8 as took from public.agent_commands"
            " where id = %(id)s",
            id=command,
        )
        return found["took"]

    def obeyed(self, deployment, kind, within=10):
        """Issue a command and wait for its acknowledgement; seconds it took."""
        command = self.command(deployment, kind)
        return eventually(lambda: self.acked(command), within=within)

    # -- machines

    def machine(self, deployment, **config):
        """Make the machine of a deployment; its id."""
        environment = {"DEPLOYMENT_ID": deployment} if deployment else {}
        config = {"image": f"registry.fly.io/{self.app}:test", "env": environment, "auto_destroy": True} | config
        made = self.api.post(f"/v1/apps/{self.app}/machines", json={"config": config})
        made.raise_for_status()
        return made.json()["id"]

    def machines(self):
        return self.api.get(f"/v1/apps/{self.app}/machines").json()

    def state(self, machine):
        return self.api.get(f"/v1/apps/{self.app}/machines/{machine}").json()["state"]

    def console(self, machine):
        page = self.api.get(
            f"{self.running.addresses['fly_logs']}/api/v1/apps/{self.app}/logs",
            params={"instance": machine},
            headers={"Authorization": f"FlyV1 {self.running.environment['FLY_API_TOKEN']}"},
        ).json()
        lines = [line["attributes"] for line in page["data"]]
        return [line["message"] for line in lines if line["meta"]["event"]["provider"] == "app"]

    def start(self, deployment, **config):
        """Make the machine and wait until its runner is in the tick loop."""
        machine = self.machine(deployment, **config)
        eventually(lambda: self.status(deployment) not in {"provisioning", "error"}, within=20)
        return machine

    # -- faults

    def fault(self, **what):
        """A fault on a route of a stand-in."""
        return fault(self.running, **what)


def changed(skill=SKILL, **parts):
    """A Skill with other parts; a mapping is merged into the part of its name."""
    merged = json.loads(json.dumps(skill))
    for name, value in parts.items():
        merged[name] = merged[name] | value if isinstance(value, dict) and name in merged else value
    return merged


@contextmanager
def venue_of_its_own(running, folder):
    """An exchange inside the test, and the environment that points a machine at it."""
    exchange = Exchange()
    sockets = http_server.bind(["hyperliquid"])
    sockets["hyperliquid"].listen()
    addresses = running.addresses | {"hyperliquid": http_server.address(sockets["hyperliquid"])}
    for name, content in (("addresses", addresses), ("environment", running.environment)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    apps = {"hyperliquid": hyperliquid_api.app(exchange)}

    def serve():
        loop.run_until_complete(http_server.serve(apps, sockets, ended.wait))
        for task in asyncio.all_tasks(loop):  # the exchange's clock, for one
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield exchange, addresses["hyperliquid"], {"RUNBOOK_REHEARSAL": str(folder)}
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)
        loop.close()


def approved_agent(operated, exchange, address, *, usdc=100):
    """A funded master wallet whose agent is approved at the venue and in the platform; (agent row's id, master)."""
    master = eth_account.Account.create()
    exchange.fund(master.address, usdc)
    reply, key = mainnet_client(master, address).approve_agent("runbook")
    assert reply["status"] == "ok", reply
    user = operated.row("insert into auth.users (id) values (gen_random_uuid()) returning id")["id"]
    wallet = operated.row(
        "insert into public.hyperliquid_master_wallets (user_id, address, verified_at)"
        " values (%(user)s, %(address)s, now()) returning id",
        user=user,
        address=master.address.lower(),
    )
    agent = operated.row(
        "insert into public.hyperliquid_agents (user_id, master_wallet_id, agent_address, approved_at, vault_key_id)"
        " values (%(user)s, %(wallet)s, %(address)s, now(),"
        "         public.create_hyperliquid_agent_secret(%(key)s, gen_random_uuid()::text)) returning id",
        user=user,
        wallet=wallet["id"],
        address=eth_account.Account.from_key(key).address.lower(),
        key=key,
    )
    return agent["id"], master.address.lower()
