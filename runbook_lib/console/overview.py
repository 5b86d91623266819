"""What the console looks at: every deployment in one statement, the log of some, the ticks of one.

Times are read on the database's clock. Nothing here changes anything; the profile's read-only role is used where it
names one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Sql, sql
from runbook_lib.errors import ServiceError
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from runbook_lib.settings.profiles import Settings

__all__ = ["LEVELS", "Overview", "Reader", "worries"]

Row = dict[str, Any]
LEVELS = ("debug", "info", "warn", "error")
COSTS = 30.0  # seconds between two sums of the month: they read every tick of it
LINES = 200  # of the log
UNHEARD = 5  # seconds after which a command without an acknowledgement is an alarm
RECENT = "1 hour"  # how long a stopped deployment, or an entry of the log, is still told
BEATING = ("running", "paused", "halted")  # statuses in which a runner beats


@dataclass(frozen=True)
class Overview:
    """One look: a row per deployment, the newest log entries, the ticks of one deployment.

    ``rows``: id, status, error_text, broker, skill, version, agent, wallet, equity_usd, positions, seconds_stale,
    tick_seconds, limit_seconds (seconds), cap_usd, month_usd (US dollars), unpriced (ticks of the month), tick_at,
    action, verdict, reason, problems (entries of level warn or error in the last hour), newest (the last of them),
    unheard (commands nobody acknowledged).
    """

    rows: Sequence[Row]
    log: Sequence[Row]
    ticks: Sequence[Row]
    at: datetime
    seconds: float
    focus: str = ""  # the deployment the ticks are of


def worries(row: Mapping[str, Any]) -> list[str]:
    """What is wrong with a deployment, worst first; empty if nothing is known to be."""
    stale, limit = row["seconds_stale"], row["limit_seconds"]
    found = []
    if row["status"] == "error":
        found.append(row["error_text"] or "error without words")
    if row["status"] == "halted":
        found.append("halted by its own limits")
    if row["status"] in BEATING and (stale is None or stale > limit):
        found.append("never beat" if stale is None else f"no heartbeat for {stale:.0f} s")
    if row["unheard"]:
        found.append(f"{row['unheard']} commands not acknowledged")
    if row["cap_usd"] is not None and (row["month_usd"] or 0) >= row["cap_usd"]:
        found.append("monthly cap reached")
    if row["unpriced"]:
        found.append(f"{row['unpriced']} ticks without a price")
    if row["problems"]:
        found.append(f"{row['problems']} in the log this hour, last {row['newest']}")
    return found


@dataclass
class Reader:
    """Looks on one connection of its own, one look at a time."""

    settings: Settings
    _services: Services = field(init=False)
    _costs: dict[str, Row] = field(default_factory=dict, init=False)
    _summed: float = field(default=float("-inf"), init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._services = Services(self.settings)

    def read(self, chosen: Iterable[str] = (), level: str = "info") -> Overview:
        """Look once. ``chosen`` are ids: the log is theirs, and the ticks the first one's; without any, everybody's.

        Raise `ServiceError` if the database does not answer, or refuses.
        """
        with self._reading:
            return self._read(list(chosen), level)

    def close(self) -> None:
        """Close the connection, once the look that is under way has ended."""
        with self._reading:
            self._services.close()

    def _read(self, chosen: Sequence[str], level: str) -> Overview:
        clock = time.perf_counter()
        rows = self._rows(_deployments(self.settings.budgets.heartbeat))
        ids = [row["id"] for row in rows]
        wanted = [one for one in chosen if one in ids]
        if time.monotonic() - self._summed > COSTS or set(ids) - self._costs.keys():
            self._sum(ids)
        rows = [{**row, **self._costs.get(row["id"], {"month_usd": None, "unpriced": 0})} for row in rows]
        log = self._rows(_log(wanted or ids, LEVELS[LEVELS.index(level) :])) if ids else []
        focus = (wanted or _newest(rows) or [""])[0]
        ticks = self._rows(_ticks(focus)) if focus else []
        return Overview(rows, log, ticks, datetime.now(UTC), time.perf_counter() - clock, focus)

    def _sum(self, ids: Sequence[str]) -> None:
        self._costs = {one: {"month_usd": 0.0, "unpriced": 0} for one in ids}
        self._costs |= {row.pop("id"): row for row in self._rows(_month(ids))} if ids else {}
        self._summed = time.monotonic()

    def _rows(self, command: Sql) -> list[Row]:
        found = self._services.look(command)
        if found.error:
            raise ServiceError(f"database: {found.error}")
        return [dict(row) for row in found.rows]


def _newest(rows: Sequence[Row]) -> list[str]:
    """The deployment that ticked last, as a list of one."""
    ticked = [row for row in rows if row["tick_at"]]
    return [max(ticked, key=lambda row: row["tick_at"])["id"]] if ticked else []


def _deployments(floor: float) -> Sql:
    """Every deployment that has not ended, and those that ended lately; ``floor`` in seconds (checklist 3.2)."""
    return sql(
        """
        select d.id, d.status, d.error_text, d.broker_kind as broker, k.name as skill, d.skill_version as version,
               a.agent_address as agent, w.address as wallet, s.equity_usd, coalesce(s.positions, '[]') as positions,
               extract(epoch from clock_timestamp() - s.updated_at) as seconds_stale,
               e.tick_seconds, greatest(3 * e.tick_seconds, %(floor)s) as limit_seconds,
               (v.payload #>> '{risk,maxMonthlyCostUsd}')::float8 as cap_usd, (v.payload #>> '{model}') as model,
               t.tick_at, t.action, t.verdict, t.reason, coalesce(g.problems, 0) as problems, g.newest,
               (select count(*) from public.agent_commands c where c.deployment_id = d.id and c.acked_at is null
                  and c.kind <> 'kill' and d.status not in ('stopped', 'error') and c.created_at
                  between now() - interval '1 day' and now() - make_interval(secs => %(unheard)s)) as unheard
        from public.deployments d
        join public.skill_versions v on v.skill_id = d.skill_id and v.version = d.skill_version
        join public.skills k on k.id = d.skill_id
        left join public.agent_state s on s.deployment_id = d.id
        left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
        left join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
        cross join lateral (select extract(epoch from (v.payload #>> '{schedule,every}')::interval) as tick_seconds) e
        left join lateral (
          select tick_at, proposed_action ->> 'kind' as action, verdict ->> 'status' as verdict,
                 coalesce(verdict ->> 'rule', verdict ->> 'reason') as reason
          from public.decision_snapshots where deployment_id = d.id order by tick_at desc limit 1) t on true
        left join lateral (
          select count(*) as problems, (array_agg(event order by ts desc))[1] as newest from public.agent_logs
          where deployment_id = d.id and ts > now() - %(recent)s::interval and level in ('warn', 'error')) g on true
        where d.status <> 'stopped' or d.updated_at > now() - %(recent)s::interval
        order by d.created_at
        """,
        floor=floor,
        unheard=UNHEARD,
        recent=RECENT,
    )


def _month(ids: Sequence[str]) -> Sql:
    return sql(
        """
        select deployment_id as id, coalesce(sum(cost_usd), 0) as month_usd,
               count(*) filter (where coalesce(cost_usd, 0) = 0 and prompt_tokens + completion_tokens > 0) as unpriced
        from public.decision_snapshots
        where deployment_id = any(string_to_array(%(ids)s, ' ')::uuid[])
          and tick_at >= date_trunc('month', now(), 'UTC') group by 1
        """,
        ids=" ".join(ids),
    )


def _log(ids: Sequence[str], levels: Sequence[str]) -> Sql:
    """The newest entries, newest first; each deployment gives at most as many as are shown."""
    return sql(
        """
        select g.ts, d.id, g.level, g.event, g.message
        from unnest(string_to_array(%(ids)s, ' ')::uuid[]) as d (id) cross join lateral (
          select ts, level, event, message from public.agent_logs
          where deployment_id = d.id and level = any(string_to_array(%(levels)s, ' '))
          order by ts desc limit %(lines)s) g
        order by g.ts desc limit %(lines)s
        """,
        ids=" ".join(ids),
        levels=" ".join(levels),
        lines=LINES,
    )


def _ticks(deployment: str) -> Sql:
    return sql(
        """
        select tick_at, cost_usd from public.decision_snapshots
        where deployment_id = %(deployment)s and tick_at >= date_trunc('month', now(), 'UTC') order by tick_at
        """,
        deployment=deployment,
    )
