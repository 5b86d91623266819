"""Make the SQL that reads deployments: health, costs, log, ticks and wallets. The console and the halt use it.

Times are by the database's clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.commands.command import Sql, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVELS = ("debug", "info", "warn", "error")
ROUTINE = ("tick", "reconciled", "snapshot")  # events that come by themselves while all is well
UNHEARD = 5  # seconds after which a command without an acknowledgement is an alarm
RECENT = "1 hour"  # how long a stopped deployment, or a problem in the log, is still shown


def every_deployment(floor: float) -> Sql:
    """Make the SQL for every deployment that is not stopped, or was stopped within the last hour.

    A heartbeat may be ``floor`` seconds old, or three ticks if that is longer (checklist 3.2). Columns: id, status,
    error_text, broker, skill, version, agent, wallet, equity_usd, positions, seconds_stale, tick_seconds,
    limit_seconds, cap_usd, model, tick_at, action, verdict, reason, problems (log entries of level warn or error in the
    last hour), newest (the event of the last such entry), unheard (commands that no runner acknowledged).
    """
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


def spent_this_month(deployments: Sequence[str]) -> Sql:
    """Make the SQL for what the ticks of each deployment cost this month.

    Columns: id, month_usd, unpriced (the number of ticks without a price).
    """
    return sql(
        """
        select deployment_id as id, coalesce(sum(cost_usd), 0) as month_usd,
               count(*) filter (where coalesce(cost_usd, 0) = 0 and prompt_tokens + completion_tokens > 0) as unpriced
        from public.decision_snapshots
        where deployment_id = any(string_to_array(%(ids)s, ' ')::uuid[])
          and tick_at >= date_trunc('month', now(), 'UTC') group by 1
        """,
        ids=" ".join(deployments),
    )


def newest_entries(deployments: Sequence[str], level: str, lines: int, *, routine: bool = True) -> Sql:
    """Make the SQL for deployments' newest log entries: at most ``lines`` entries of ``level`` or graver."""
    return sql(
        """
        select g.ts, d.id, g.level, g.event, g.message
        from unnest(string_to_array(%(ids)s, ' ')::uuid[]) as d (id) cross join lateral (
          select ts, level, event, message from public.agent_logs
          where deployment_id = d.id and level = any(string_to_array(%(levels)s, ' '))
            and (level in ('warn', 'error') or event <> all(string_to_array(%(hidden)s, ' ')))
          order by ts desc limit %(lines)s) g
        order by g.ts desc limit %(lines)s
        """,
        ids=" ".join(deployments),
        levels=" ".join(LEVELS[LEVELS.index(level) :]),
        hidden="" if routine else " ".join(ROUTINE),
        lines=lines,
    )


def ticks_this_month(deployment: str) -> Sql:
    """Make the SQL for the time and the cost of each tick of a deployment this month."""
    return sql(
        """
        select tick_at, cost_usd from public.decision_snapshots
        where deployment_id = %(deployment)s and tick_at >= date_trunc('month', now(), 'UTC') order by tick_at
        """,
        deployment=deployment,
    )


def live_wallets() -> Sql:
    """Make the SQL for the wallets of all deployments that ever traded live, including stopped deployments.

    A stopped deployment may have left orders or positions in its wallet.
    """
    return sql("""
        select distinct lower(w.address) as wallet
        from public.hyperliquid_master_wallets w
        join public.hyperliquid_agents a on a.master_wallet_id = w.id
        join public.deployments d on d.hyperliquid_agent_id = a.id
    """)
