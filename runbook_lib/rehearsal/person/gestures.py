"""Make a person's gestures: clicks in dashboards and on the platform's pages, and signatures with a wallet."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data

from runbook_lib.rehearsal.exchange import by_hand
from runbook_lib.rehearsal.runner.broker import MAINNET, PAPER
from runbook_lib.rehearsal.web_app.deployments import BUTTONS
from runbook_lib.rehearsal.web_app.skill_sheets import SHEETS, payload
from runbook_lib.rehearsal.world.world import World

Answer = dict[str, Any]
EMAIL = "operator@example.test"
NEWEST_SKILL: LiteralString = "select id::text from public.skills order by created_at desc limit 1"
NEWEST_DEPLOYMENT: LiteralString = """
    select id::text from public.deployments
    where broker_kind = any(%(brokers)s) and status in ('provisioning', 'running', 'paused', 'halted')
    order by created_at desc limit 1
"""

OVER: LiteralString = """
    insert into public.deployments (user_id, skill_id, skill_version, broker_kind, status, hyperliquid_agent_id)
    select user_id, skill_id, skill_version, broker_kind, 'stopped',
      (select id from public.hyperliquid_agents order by created_at desc limit 1)
    from public.deployments where broker_kind <> 'paper' order by created_at desc limit 1
"""
PROVISIONING: LiteralString = "select 1 from public.deployments where id::text = %(id)s and status = 'provisioning'"
BOOT = 20.0  # seconds a person waits until a page shows its buttons


class Declined(Exception):
    """An error for a gesture that a careful person would not make, or that a page refused.

    The error's text says what was seen.
    """


class Person:
    """The stand-in for the person who makes the gestures. It holds the wallet with which the person signs.

    A gesture that names no Skill or deployment is about the newest one.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.performed: list[Answer] = []
        self.wallet = Account.create()
        self.shown: Answer | None = None  # what the wallet's window asks to be signed

    def perform(self, name: str, **parameters: Any) -> Answer:
        """Make the person's gesture called ``name``. In the answer, ``performed`` says in words what was done."""
        answer = GESTURES[name](self, **parameters)
        self.performed.append({"gesture": name, "at": datetime.now(UTC).isoformat()} | answer)
        return answer

    # -- dashboards

    def backup(self) -> Answer:
        """As a person, check in Supabase's dashboard that there is a backup or point-in-time recovery."""
        restorable = self.world.supabase.restorable()
        listed = len(restorable["backups"])
        if not restorable["pitr_enabled"] and not listed:
            raise Declined("the dashboard lists no backup, and point-in-time recovery is off")
        text = "point-in-time recovery is on" if restorable["pitr_enabled"] else f"{listed} backups are listed"
        return {"performed": text, "backups": listed}

    def deploy_token(self, days: float = 180) -> Answer:
        """As a person, make a Fly token for Vercel to use. The token is for this app alone, and expires (C10)."""
        expires = datetime.now(UTC) + timedelta(days=days)
        command = f"fly tokens create deploy -a {self.world.names.fly_app} --expiry {days * 24:.0f}h"
        return {"performed": f"made a deploy token: {command}", "expires_at": expires.isoformat()}

    def upgrade_plan(self, schedule: str = "*/5 * * * *") -> Answer:
        """As a person, buy the Vercel plan that allows a tighter cron schedule (checklist 0.4).

        Then set the schedule of the heartbeat sweep, and deploy the web app.
        """
        path = self.world.folder / "repository/apps/web/vercel.json"
        content = json.loads(path.read_text())
        for cron in content["crons"]:
            if cron["path"].endswith("heartbeat-sweep"):
                cron["schedule"] = schedule
        path.write_text(json.dumps(content, indent=2) + "\n")
        build = self.world.vercel.deploy()
        return {"performed": f"heartbeat-sweep runs at {schedule} from deployment {build.id}", "deployment": build.id}

    def rewrite_env(self, variable: str = "SUPABASE_DB_PASSWORD") -> Answer:
        """As a person, write a rotated secret into the checkout's environment file.

        Every name that the secret has in the file gets the new value.
        """
        value, names = self.world.secret("NEW_SECRET"), {variable: "{}"}
        if variable == "SUPABASE_DB_PASSWORD":
            url = self.world.database.url.replace("postgres@", "postgres:{}@")
            urls = ("POSTGRES_URL", "POSTGRES_URL_NON_POOLING", "POSTGRES_PRISMA_URL")
            names |= {"POSTGRES_PASSWORD": "{}"} | dict.fromkeys(urls, url)
        path = self.world.folder / "repository/apps/web/.env.local"
        path.write_text("".join(f"{name}={text.format(value)}\n" for name, text in names.items()))
        return {"performed": f"rewrote {', '.join(names)} in apps/web/.env.local"}

    # -- Skills

    def sign_in(self) -> Answer:
        """As a person, sign in to the platform by following the link in the mail."""
        return {"performed": f"signed in as {EMAIL}", "user_id": self._sign_in()["user_id"]}

    def author(self, sheet: str = "paper", name: str | None = None, **risk: Any) -> Answer:
        """As a person, save a Skill made from a sheet (a template: ``paper``, ``tiny`` or ``checklist``).

        ``risk`` overrides the sheet's caps.
        """
        content = payload(sheet, self.world.tick, **risk)
        skill = self._page("POST", "/skills", name=name or SHEETS[sheet]["name"], payload=content)
        return {"performed": f"saved a Skill from the sheet {sheet!r}", **skill}

    def upgrade(self, skill: str | None = None, **risk: Any) -> Answer:
        """As a person, save another version of a Skill, with other caps (checklist, phase 4)."""
        risk = risk or {"maxPositionPct": 30, "maxTotalExposurePct": 30}
        skill = skill or self._skill()
        content = self._page("GET", f"/skills/{skill}")["payload"]
        content["risk"] |= risk
        version = self._page("POST", f"/skills/{skill}/versions", payload=content, notes="real size")
        return {"performed": f"saved version {version['version']} with {risk}", **version}

    def backtest(self, hours: float = 24, skill: str | None = None) -> Answer:
        """As a person, start a backtest by a click on the Skill's page."""
        started = self._page("POST", f"/skills/{skill or self._skill()}/backtests", hours=hours)
        return {"performed": f"started a backtest over {hours:g} h", **started}

    def read_metrics(self, run: str) -> Answer:
        """As a person, read a backtest's metrics. Raise `Declined` if they make no sense."""
        [row] = self.world.query(
            "select metrics_json as metrics from public.sim_runs where id::text = %(id)s", {"id": run}
        )
        metrics = row["metrics"] or {}
        if not metrics.get("ticks") or metrics.get("executed", 0) > metrics["ticks"]:
            raise Declined(f"the metrics make no sense: {metrics}")
        return {"performed": f"read the metrics: {metrics}"}

    # -- deployments

    def deploy_paper(self, skill: str | None = None) -> Answer:
        """As a person, deploy a Skill on paper: click Deploy, choose Paper, confirm, and click Deploy again."""
        deployment = self._page("POST", f"/skills/{skill or self._skill()}/deploy", broker=PAPER, confirmed=True)
        return {"performed": "clicked Deploy for paper", **deployment}

    def click(self, kind: str = "pause", deployment: str | None = None) -> Answer:
        """As a person, wait until the deployment's page shows its buttons, then click the one that sends the command
        ``kind``.
        """
        chosen = deployment or self._deployment(PAPER, MAINNET)
        self._booted(chosen)
        clicked = self._page("POST", f"/deployments/{chosen}/commands", kind=kind)
        return {"performed": f"clicked {kind.capitalize()}", "deployment_id": chosen, **clicked}

    def look(self, status: str, deployment: str | None = None) -> Answer:
        """As a person, look at a deployment's page: its status pill, its buttons, and its timeline of decisions.

        Raise `Declined` if the pill says something else than ``status``, a button or a badge is missing, or the tok
        column of a decision is empty.
        """
        chosen = deployment or self._deployment(PAPER, MAINNET)
        page = self._page("GET", f"/deployments/{chosen}")
        if page.get("status") != status:
            raise Declined(f"the status pill says {page.get('status')}, not {status}")
        if absent := [kind.capitalize() for kind in BUTTONS if kind not in page.get("buttons", ())]:
            raise Declined(f"the page has no button {', '.join(absent)}")
        decisions = page.get("decisions") or []
        for column, wanted in (("badge", "verdict badge"), ("tok", "number in the tok column")):
            if not decisions or not all(decision.get(column) for decision in decisions):
                raise Declined(f"a decision in the timeline has no {wanted}")
        return {"performed": f"saw the pill {status}, {len(BUTTONS)} buttons and {len(decisions)} decisions"}

    def deploy_live(self, skill: str | None = None) -> Answer:
        """As a person, click to deploy a Skill on Hyperliquid mainnet.

        The answer says whether the page warned of a shared margin.
        """
        skill = skill or self._skill()
        page = self._page("GET", f"/skills/{skill}/deploy?wallet={self.wallet.address}")
        if not page["agents"]:
            raise Declined("the page offers no authorised agent wallet: authorise one first")
        agent = page["agents"][0]["id"]
        deployment = self._page("POST", f"/skills/{skill}/deploy", broker=MAINNET, agent=agent, confirmed=True)
        warned = page["cross_margin_warning"]
        return {"performed": "clicked Deploy live", "cross_margin_warning": warned, "agent_id": agent, **deployment}

    def revoke(self, deployment: str | None = None) -> Answer:
        """As a person, click Revoke on the deployment's page."""
        chosen = deployment or self._deployment(MAINNET)
        revoked = self._page("POST", f"/deployments/{chosen}/revoke")
        return {"performed": "clicked Revoke", "deployment_id": chosen, **revoked}

    # -- the wallet

    def fund(self, usd: float = 100, mode: str = "default", *, fresh: bool = False) -> Answer:
        """As a person, send USDC on Arbitrum over the bridge to the venue. With ``fresh``, make a new wallet first."""
        if fresh:
            self.wallet = Account.create()
        venue, address = self.world.hyperliquid, self.wallet.address.lower()
        venue.fund(address, usd)
        venue.set_mode(address, mode)
        return {"performed": f"bridged ${usd:g} of USDC to {address}", "address": address, "mode": mode}

    def pair(self) -> Answer:
        """As a person, connect a wallet and sign the pairing message."""
        address = self.wallet.address.lower()
        text = self._page("GET", f"/wallets/{address}/message")["message"]
        signed = self.wallet.sign_message(encode_defunct(text=text)).signature.hex()
        paired = self._page("POST", "/wallets", address=address, signature=f"0x{signed.removeprefix('0x')}")
        return {"performed": f"signed the pairing message with {address}", **paired}

    def authorise(self, name: str | None = None) -> Answer:
        """As a person, click Authorize agent wallet, read the approval in the wallet's window, and sign it."""
        self.ask_approval(name)
        return self.sign_approval()

    def ask_approval(self, name: str | None = None, *, alone: bool = False) -> Answer:
        """As a person, click Authorize agent wallet, but do not sign yet.

        With ``alone``, raise `Declined` if the page warns that another live deployment shares the margin.
        """
        address = self.wallet.address.lower()
        page = self._page("GET", f"/skills/{self._skill()}/deploy?wallet={address}")
        if alone and page["cross_margin_warning"]:
            raise Declined("the deploy page warns of a shared margin: another live deployment trades with this wallet")
        self.shown = self._page("POST", f"/wallets/{address}/agents", name=name)
        agent, warned = self.shown["agent_address"], page["cross_margin_warning"]
        return {"performed": f"asked for agent {agent}", "cross_margin_warning": warned, **self.shown}

    def sign_approval(self) -> Answer:
        """As a person, read the approval in the wallet's window, and sign it."""
        if self.shown is None:
            raise Declined("the wallet asks for no signature: click Authorize agent wallet first")
        self._read(self.shown)
        typed, self.shown = self.shown["typed_data"], None
        signed = self.wallet.sign_message(encode_typed_data(full_message=typed)).signature.hex()
        agent = self._page("POST", "/agents/approve", typed=typed, signature=f"0x{signed.removeprefix('0x')}")
        words = f"signed {typed['primaryType']} for {agent['agent_address']}"
        return {"performed": words, "typed_data": typed, **agent}

    def _read(self, shown: Answer) -> None:
        """As a careful person, read the approval in the wallet's window.

        Raise `Declined` if the window shows anything unexpected.
        """
        typed, message = shown["typed_data"], shown["typed_data"]["message"]
        now = datetime.now(UTC).timestamp() * 1000
        for seen, wanted in (
            (typed["primaryType"], "HyperliquidTransaction:ApproveAgent"),
            (message["hyperliquidChain"], "Mainnet"),
            (message["agentAddress"], shown["agent_address"]),
            (abs(message["nonce"] - now) < 60_000, True),
        ):
            if seen != wanted:
                raise Declined(f"the wallet shows {seen}, expected {wanted}: not signed")

    def remove_agent(self, agent: str | None = None) -> Answer:
        """As a person, remove an agent on the venue's page.

        If no agent is named, remove the agent that was revoked last.
        """
        if agent is None:
            revoked = self.world.query(
                "select agent_address from public.hyperliquid_agents where revoked_at is not null"
                " order by revoked_at desc limit 1"
            )
            if not revoked:
                raise Declined("no agent has been revoked")
            agent = str(revoked[0]["agent_address"])
        self.world.hyperliquid.remove_agent(self.wallet.address, agent)
        return {"performed": f"removed agent {agent} at the venue", "agent_address": agent}

    def have_traded(self) -> Answer:
        """Add a stopped live deployment that has the newest agent, as if the person had traded earlier."""
        self.world.query(OVER)
        return {"performed": "had a live deployment that is over"}

    # -- the venue's own app

    def trade(self, coin: str = "BTC", usd: float = 15, side: str = "buy", *, rest: bool = False) -> Answer:
        """As a person, trade by hand on any market of the venue.

        ``xyz:GOLD`` is a coin on another exchange, and ``@107`` is a spot pair. With ``rest``, leave an order in the
        book instead.
        """
        venue, address = self.world.hyperliquid, self.wallet.address.lower()
        status = by_hand.place(venue, address, coin, usd, buy=side == "buy", rest=rest)
        if "error" in status:
            raise Declined(f"the venue's app says: {status['error']}")
        deed = "left an order" if rest else "traded"
        return {"performed": f"{deed} by hand: {side} ${usd:g} of {coin}", "address": address, **status}

    def twap(self, coin: str = "BTC", usd: float = 15, side: str = "buy") -> Answer:
        """As a person, start a TWAP order, whose first slice trades at once."""
        venue, address = self.world.hyperliquid, self.wallet.address.lower()
        size = by_hand.size_of(venue, coin, usd) * (1 if side == "buy" else -1)
        venue.trade_slice(address, coin, size)
        return {"performed": f"began a TWAP: {side} ${usd:g} of {coin}", "address": address}

    def be_liquidated(self) -> Answer:
        """Have the venue liquidate the person: close everything that the wallet holds."""
        address = self.wallet.address.lower()
        self.world.hyperliquid.liquidate(address)
        return {"performed": f"was liquidated: {address}", "address": address}

    # -- the browser

    def _sign_in(self) -> Answer:
        return self._send("POST", "/auth/sign-in", {"email": EMAIL}, {})

    def _page(self, method: str, path: str, **fields: Any) -> Answer:
        """Load a page of the platform, or send a form to it, signed in as the person.

        Raise `Declined` with the page's words if the request fails.
        """
        headers = {"authorization": f"Bearer {self._sign_in()['session']}"}
        return self._send(method, path, fields or None, headers)

    def _send(self, method: str, path: str, fields: Answer | None, headers: dict[str, str]) -> Answer:
        try:
            status, answer = self.world.call("web", method, path, body=fields, headers=headers)
        except OSError as problem:
            raise Declined(f"the page does not load: {problem}") from problem
        if status != 200 or not isinstance(answer, dict):
            said = answer.get("error") if isinstance(answer, dict) else answer
            raise Declined(f"{method} {path}: {status} {said}")
        return answer

    def _skill(self) -> str:
        return self._newest("Skill", self.world.query(NEWEST_SKILL))

    def _booted(self, deployment: str) -> None:
        """Wait until the deployment's page shows the buttons of commands.

        A command that is sent before the runner listens would be lost.
        """
        deadline = time.monotonic() + BOOT
        while self.world.query(PROVISIONING, {"id": deployment}):
            if time.monotonic() > deadline:
                raise Declined(f"the page of {deployment} has shown no buttons for {BOOT:g} s: it is provisioning")
            time.sleep(0.02)

    def _deployment(self, *brokers: str) -> str:
        return self._newest("active deployment", self.world.query(NEWEST_DEPLOYMENT, {"brokers": list(brokers)}))

    def _newest(self, wanted: str, rows: list[Answer]) -> str:
        if not rows:
            raise Declined(f"there is no {wanted}")
        return str(rows[0]["id"])


GESTURES: dict[str, Callable[..., Answer]] = {
    name: do for name, do in vars(Person).items() if not name.startswith("_") and name != "perform"
}
STEPS = {  # the checklist's numbers; where a step has several gestures, the first one; letters after them are ours
    "0.1": "backup",
    "0.4": "deploy_token",
    "1.1": "author",
    "1.2": "backtest",
    "1.3": "deploy_paper",
    "1.5": "click",
    "1.7": "rewrite_env",
    "2.1": "fund",
    "2.2": "pair",
    "2.3": "author",
    "2.4": "authorise",
    "3.3": "revoke",
    "4": "upgrade",
}
