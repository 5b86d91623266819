"""Keep the web app's user accounts, Skills with immutable versions, and backtests."""

from __future__ import annotations

import asyncio
import random
import re
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from runbook_lib.rehearsal.runner.decisions import decide, symbols_of
from runbook_lib.rehearsal.runner.paper_broker import PaperBroker
from runbook_lib.rehearsal.runner.risk_engine import judge
from runbook_lib.rehearsal.web_app.skill_sheets import Payload, payload_hash
from runbook_lib.rehearsal.world.http_server import Json, Refusal
from runbook_lib.rehearsal.world.world import World

INTERVAL = 300.0  # seconds between two decisions of a backtest, whatever the rehearsal's tick is
STAGES = (("loading", 0), ("running", 5), ("computing_metrics", 95), ("complete", 100))
STAGE_TIME = 0.05  # seconds a stage is to be seen, at the least


class Skills:
    """What a signed-in user of the web app can do with Skills and their backtests."""

    def __init__(self, world: World) -> None:
        self.world = world

    def sign_in(self, email: str) -> str:
        """Sign in to the web app without a mailed link, and return the account's id.

        A mail address without an account gets a new account.
        """
        rows = self.world.query(
            "insert into auth.users (id, email) values (%(id)s, %(email)s)"
            " on conflict (email) do update set email = excluded.email returning id::text",
            {"id": uuid.uuid4(), "email": email},
        )
        return str(rows[0]["id"])

    def create(self, user: str, name: str, payload: Payload, notes: str | None = None) -> Json:
        """Save a user's new Skill with its first version. If the Skill's name is taken, add a number to its slug."""
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "skill"
        [taken] = self.world.query(
            "select count(*)::int as n from public.skills where user_id = %(user)s and slug like %(slug)s || '%%'",
            {"user": user, "slug": slug},
        )
        [row] = self.world.query(
            "insert into public.skills (user_id, name, slug, latest_version)"
            " values (%(user)s, %(name)s, %(slug)s, 0) returning id::text",
            {"user": user, "name": name, "slug": f"{slug}-{taken['n'] + 1}" if taken["n"] else slug},
        )
        return self.save(user, row["id"], payload, notes)

    def save(self, user: str, skill: str, payload: Payload, notes: str | None = None) -> Json:
        """Save another version of a user's Skill, as a row that never changes."""
        self.skill(user, skill)  # refuses another user's
        [version] = self.world.query(
            "with numbered as (update public.skills set latest_version = latest_version + 1, updated_at = now()"
            " where id = %(skill)s returning id, latest_version)"
            " insert into public.skill_versions (skill_id, version, payload, payload_hash, notes)"
            " select id, latest_version, %(payload)s, %(hash)s, %(notes)s from numbered"
            " returning skill_id::text, version, payload_hash",
            {"skill": skill, "payload": Jsonb(payload), "hash": payload_hash(payload), "notes": notes},
        )
        return version

    def skill(self, user: str, skill: str) -> Json:
        """Return a Skill of this user, with its latest payload.

        Raise a 404 `Refusal` for another user's Skill.
        """
        rows = self.world.query(
            "select s.id::text, s.name, s.latest_version, v.payload from public.skills s"
            " left join public.skill_versions v on v.skill_id = s.id and v.version = s.latest_version"
            " where s.id::text = %(skill)s and s.user_id = %(user)s",
            {"skill": skill, "user": user},
        )
        if not rows:
            raise Refusal(404, f"no Skill {skill}")
        return rows[0]

    def backtest(self, user: str, skill: str, hours: float = 24.0) -> Json:
        """Queue a Skill's backtest over the last ``hours``, and start the worker that runs the backtest.

        Return the backtest's id.
        """
        latest = self.skill(user, skill)
        now = datetime.now(UTC)
        values = {"user": user, "skill": skill, "version": latest["latest_version"], "until": now}
        [run] = self.world.query(
            "insert into public.sim_runs (user_id, skill_id, skill_version, symbol, range_from, range_to)"
            " values (%(user)s, %(skill)s, %(version)s, %(symbol)s, %(since)s, %(until)s) returning id::text",
            values | {"symbol": symbols_of(latest["payload"])[0], "since": now - timedelta(hours=hours)},
        )
        threading.Thread(target=self._work, args=(run["id"], latest["payload"], now, hours), daemon=True).start()
        return {"sim_run_id": run["id"]}

    def _work(self, run: str, payload: Payload, until: datetime, hours: float) -> None:
        """Run the stages of a Skill's backtest. If a stage fails, write the error into the backtest's row."""
        try:
            ticks = int(hours * 3600 / INTERVAL)
            self._stage(run, *STAGES[0])
            rows = asyncio.run(_simulate(payload, until - timedelta(hours=hours), ticks))
            self._stage(run, *STAGES[1])
            self._keep(run, rows)
            self._stage(run, *STAGES[2])
            metrics, cost = _metrics(rows)
            self._stage(run, *STAGES[3], metrics=Jsonb(metrics), cost=cost)
        except Exception as problem:  # noqa: BLE001  the worker's last frame
            if not self.world.closing.is_set():
                self._stage(run, "error", 100, text=str(problem))

    def _stage(self, run: str, status: str, percent: int, **more: Any) -> None:
        self.world.query(
            "update public.sim_runs set status = %(status)s, progress_pct = %(percent)s,"
            " started_at = coalesce(started_at, now()), error_text = %(text)s, metrics_json = %(metrics)s,"
            " cost_usd = %(cost)s, finished_at = case when %(percent)s = 100 then now() end where id = %(run)s",
            {"run": run, "status": status, "percent": percent, "text": None, "metrics": None, "cost": None, **more},
        )
        time.sleep(STAGE_TIME)

    def _keep(self, run: str, rows: list[Json]) -> None:
        with self.world.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "insert into public.decision_snapshots (sim_run_id, tick_at, context, proposed_action, verdict,"
                " prompt_tokens, completion_tokens, cost_usd) values (%(run)s, %(at)s, %(context)s, %(action)s,"
                " %(verdict)s, %(prompt)s, %(completion)s, %(cost)s)",
                [{"run": run} | {key: Jsonb(part) if isinstance(part, dict) else part for key, part in row.items()}
                 for row in rows],
            )  # fmt: skip


async def _simulate(payload: Payload, since: datetime, ticks: int) -> list[Json]:
    """Run a backtest: decide and trade tick by tick on a simulated market.

    The same Skill always gets the same market.
    """
    seed = payload_hash(payload)
    draw, broker = random.Random(seed), PaperBroker()
    marks = {symbol: draw.uniform(50, 50_000) for symbol in symbols_of(payload)}
    rows, orders = [], 0
    for tick in range(ticks):
        marks = {symbol: price * draw.gauss(1, 0.001) for symbol, price in marks.items()}
        account = await broker.account(marks)
        decision = decide(payload, account, seed=seed, tick=tick)
        # an agent whose tools do not include it cannot propose anything: a degenerate Skill
        action = decision.action if "propose_order" in payload.get("tools", ["propose_order"]) else None
        verdict: Json = {"status": "noop", "reason": "agent_proposed_nothing"}
        if action is not None:
            refused = judge(action, payload.get("risk", {}), account, orders_today=orders)
            verdict = refused.view() if refused else (await broker.execute(action, marks)).view()
            orders += refused is None
        at = since + timedelta(seconds=INTERVAL * tick)
        used = {"prompt": decision.prompt_tokens, "completion": decision.completion_tokens, "cost": decision.cost_usd}
        context = {"marks": marks, "equityUsd": account.equity}
        rows.append({"at": at, "context": context, "action": action, "verdict": verdict, **used})
    return rows


def _metrics(rows: list[Json]) -> tuple[Json, float]:
    """Return the metrics that the page of a backtest shows, and the backtest's cost in US dollars."""
    equity = [row["context"]["equityUsd"] for row in rows] or [0.0]
    peaks = [max(equity[: index + 1]) for index in range(len(equity))]
    statuses = [row["verdict"]["status"] for row in rows]
    metrics = {
        "ticks": len(rows),
        "proposals": sum(row["action"] is not None for row in rows),
        "executed": statuses.count("executed"),
        "rejected": statuses.count("rejected"),
        "returnPct": round((equity[-1] / equity[0] - 1) * 100, 4) if equity[0] else 0.0,
        "maxDrawdownPct": round(
            max((1 - now / peak) * 100 if peak else 0 for now, peak in zip(equity, peaks, strict=True)), 4
        ),
    }
    return metrics, round(sum(row["cost"] or 0 for row in rows), 6)
