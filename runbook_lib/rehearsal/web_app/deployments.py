"""Create deployments and their machines for the web app, send commands to them, and revoke agents."""

from __future__ import annotations

from typing import LiteralString

from psycopg.types.json import Jsonb

from runbook_lib.rehearsal.runner.broker import MAINNET, PAPER
from runbook_lib.rehearsal.world.http_server import Json, Refusal
from runbook_lib.rehearsal.world.world import World

COMMAND_KINDS = ("stop", "pause", "resume", "flatten", "kill", "snapshot", "clear_halt")
BUTTONS = ("pause", "resume", "snapshot", "flatten", "stop")  # of the page, while somebody listens (checklist 1.5)
TIMELINE: LiteralString = """
    select tick_at::text, coalesce(verdict ->> 'status', verdict ->> 'kind') as badge,
           prompt_tokens + completion_tokens as tok
    from public.decision_snapshots where deployment_id::text = %(id)s order by tick_at desc limit 20
"""


class Deployments:
    """What a signed-in user of the web app can do with deployments.

    The settings are those of the live Vercel deployment.
    """

    def __init__(self, world: World) -> None:
        self.world = world

    def create(self, user: str, skill: str, broker: str = PAPER, *, agent: str | None = None) -> Json:
        """Create a deployment, as the web app does: its row in the database, and its Fly machine.

        Raise `Refusal` in the page's words if the web app or Fly refuses.
        """
        environment = self.world.web.environment()
        if environment.get("DEPLOYMENTS_DISABLED") == "true":
            raise Refusal(403, "deployments are disabled (DEPLOYMENTS_DISABLED)")
        if broker == MAINNET and environment.get("HYPERLIQUID_LIVE_ENABLED") != "true":
            raise Refusal(403, "live trading is disabled (HYPERLIQUID_LIVE_ENABLED)")
        if broker == MAINNET and agent not in [offered["id"] for offered in self.agents(user)]:
            raise Refusal(409, "authorise an agent wallet first")
        version = self.world.web.skills.skill(user, skill)["latest_version"]
        [row] = self.world.query(
            "insert into public.deployments"
            " (user_id, skill_id, skill_version, broker_kind, hyperliquid_agent_id, status)"
            " values (%(user)s, %(skill)s, %(version)s, %(broker)s, %(agent)s, 'provisioning') returning id::text",
            {"user": user, "skill": skill, "version": version, "broker": broker, "agent": agent},
        )
        try:
            machine = self.start_machine(row["id"])
        except Refusal as problem:
            self._fail(row["id"], str(problem))
            raise
        self.world.query(
            "update public.deployments set fly_machine_id = %(machine)s where id = %(id)s",
            {"id": row["id"], "machine": machine},
        )
        return {"deployment_id": row["id"], "machine_id": machine}

    def start_machine(self, deployment: str) -> str:
        """Create a deployment's Fly machine, as the web app does: from the pinned image and with the database password.

        Return the machine's id; raise `Refusal` if Fly refuses.
        """
        environment = self.world.web.environment()
        # the Marketplace integration sets the one name, an operator the other
        name = "SUPABASE_DB_PASSWORD" if "SUPABASE_DB_PASSWORD" in environment else "POSTGRES_PASSWORD"
        named = {"DEPLOYMENT_ID": deployment} if self.world.web.names_deployments else {}
        config = {
            "image": environment.get("FLY_LIVE_RUNNER_IMAGE", ""),
            "env": {**named, name: environment.get(name, "")},
            "restart": {"policy": "on-failure", "max_retries": 10},
            "auto_destroy": self.world.web.removes_machines,
            "metadata": {"deployment_id": deployment},
        }
        app = environment.get("FLY_LIVE_RUNNER_APP", self.world.names.fly_app)
        body = {"region": environment.get("FLY_LIVE_RUNNER_REGION"), "config": config}
        headers = {"authorization": f"Bearer {environment.get('FLY_API_TOKEN', '')}"}
        try:
            status, reply = self.world.call("fly", "POST", f"/v1/apps/{app}/machines", body=body, headers=headers)
        except OSError as problem:
            status, reply = 504, {"error": str(problem)}  # what a gateway makes of a vendor that is silent
        if status != 200:
            raise Refusal(502, f"fly: {status} {reply.get('error') if isinstance(reply, dict) else reply}")
        return str(reply["id"])

    def _fail(self, deployment: str, text: str) -> None:
        self.world.query(
            "update public.deployments set status = 'error', error_text = %(text)s where id = %(id)s",
            {"id": deployment, "text": text},
        )

    def page(self, user: str, deployment: str) -> Json:
        """Return what the web app's page of a deployment shows. Raise a 404 `Refusal` for another user's deployment."""
        rows = self.world.query(
            "select d.id::text, d.status, d.error_text, d.broker_kind, d.skill_id::text, d.skill_version,"
            " d.fly_machine_id, d.hyperliquid_agent_id::text, s.equity_usd::float8, s.updated_at::text"
            " from public.deployments d left join public.agent_state s on s.deployment_id = d.id"
            " where d.id::text = %(id)s and d.user_id = %(user)s",
            {"id": deployment, "user": user},
        )
        if not rows:
            raise Refusal(404, f"no deployment {deployment}")
        listened = rows[0]["status"] in ("running", "paused", "halted")
        timeline = self.world.query(TIMELINE, {"id": deployment})
        return rows[0] | {"buttons": list(BUTTONS) if listened else [], "decisions": timeline}

    def command(self, user: str, deployment: str, kind: str, *, reason: str = "") -> Json:
        """Queue a command to a deployment, as a button on the deployment's page does.

        Return the command's id. A trigger in the database notifies the runner.
        """
        if kind not in COMMAND_KINDS:
            raise Refusal(400, f"unknown command {kind!r}")
        page = self.page(user, deployment)
        if page["status"] in ("stopped", "error"):  # nobody listens any more
            raise Refusal(409, f"deployment is {page['status']}")
        return {"command_id": self._queue(deployment, kind, {"reason": reason} if reason else {})}

    def _queue(self, deployment: str, kind: str, payload: Json) -> str:
        [row] = self.world.query(
            "insert into public.agent_commands (deployment_id, kind, payload, issued_by)"
            " values (%(id)s, %(kind)s, %(payload)s, 'web') returning id::text",
            {"id": deployment, "kind": kind, "payload": Jsonb(payload)},
        )
        return str(row["id"])

    def revoke(self, user: str, deployment: str) -> Json:
        """Mark a deployment's agent as revoked, as the web app does, and stop every deployment that uses the agent.

        The venue is not told: there the agent can still trade.
        """
        agent = self.page(user, deployment)["hyperliquid_agent_id"]
        if agent is None:
            raise Refusal(409, "this deployment has no agent to revoke")
        self.world.query(
            "update public.hyperliquid_agents set revoked_at = coalesce(revoked_at, now()) where id = %(id)s",
            {"id": agent},
        )
        active = self.world.query(
            "select id::text from public.deployments where hyperliquid_agent_id = %(id)s"
            " and status in ('provisioning', 'running', 'paused', 'halted')",
            {"id": agent},
        )
        stops = [self._queue(trading["id"], "stop", {"reason": "agent revoked"}) for trading in active]
        return {"agent_id": agent, "stops": stops}

    def agents(self, user: str) -> list[Json]:
        """Return the agents that the web app's user may choose for a new live deployment, newest first.

        They are approved, not revoked, and not used by another deployment.
        """
        return self.world.query(
            "select a.id::text, a.agent_address, a.agent_name from public.hyperliquid_agents a"
            " where a.user_id = %(user)s and a.approved_at is not null and a.revoked_at is null"
            " and not exists (select from public.deployments d where d.hyperliquid_agent_id = a.id"
            "                 and d.status in ('provisioning', 'running', 'paused', 'halted'))"
            " order by a.approved_at desc",
            {"user": user},
        )

    def shares_margin(self, wallet: str) -> bool:
        """Return whether the web app must warn that another live deployment trades with this wallet's margin."""
        [row] = self.world.query(
            "select count(*)::int as n from public.deployments d"
            " join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id"
            " join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id"
            " where lower(w.address) = lower(%(wallet)s)"
            " and d.status in ('provisioning', 'running', 'paused', 'halted')",
            {"wallet": wallet},
        )
        return bool(row["n"])
