"""Judge the first day with real size (phase 4): the changes made before the day, and the alarms during the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers, venue_books
from runbook_lib.commands.command import Reply, Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError
from runbook_lib.records import history, record_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.records.record_folder import Record
    from runbook_lib.steps.phase import Phase

DAY = timedelta(hours=24)
NOW = "now"  # Postgres reads this as the time at which its transaction began
CLOSE = 0.05  # share by which OpenRouter's figure and the rows may differ: a tick may be under way, prices are rounded
NEARLY = 0.1  # share of the key's limit below which the key counts as nearly spent
KEY_LIFE = timedelta(days=3)  # a key that expires sooner may stop every decision before somebody has made another
LEAST = 0.50  # US dollars by which OpenRouter's figure and the rows may always differ


def window(phase: Phase) -> dict[str, str]:
    """Return the start and the end (``since``, ``until``) of the span in which the first day's alarms are judged.

    The span has at most 24 hours, and begins after the dry runs.

    ``until`` is ``now``, which Postgres reads by its own clock, except when a watch looks at the past.
    """
    until = datetime.now(UTC) if phase.until == NOW else datetime.fromisoformat(phase.until)
    return {"since": max(until - DAY, _dry_runs_ended(phase)).isoformat(), "until": phase.until}


def _dry_runs_ended(phase: Phase) -> datetime:
    """Return when the dry runs (phase 3) ended. Alarms before that may have been raised on purpose. Return 1970 if no
    dry runs came before.
    """
    since = phase.record.opened().get("since") if phase.mode == "watch" else _sealed_before(phase.record)
    return datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)


def _sealed_before(record: Record) -> str | None:
    """Return when the record that opened this run's gate was sealed.

    Return None if no record opened it.
    """
    rests_on = (history.read(record).root.get("rests_on") or {}).get("record")
    seal = record_folder.find(record.root, rests_on).sealed() if rests_on else None
    return str(seal["at"]) if seal else None


# --- the upgrade ----------------------------------------------------------------------------------------------------


def most_lost(limit: float, wallet: str) -> Expectation:
    """Expect that the first day can lose at most ``limit`` US dollars.

    All that ``wallet`` holds and a month of model calls count.

    Replies: ``userAbstraction``, ``clearinghouseState``, ``spotClearinghouseState``, and a row with the Skill's
    ``risk``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        *account, skill = replies
        caps = venue_answers.inner(_first(skill), "risk")
        _, held = venue_books.mode_and_equity(account)
        model, position, halt = (
            venue_answers.number(caps.get(n)) for n in ("maxMonthlyCostUsd", "maxPositionPct", "dailyLossHaltPct")
        )
        if held is None or model is None or position is None or halt is None:
            return Finding("", f"expected the wallet's equity and three caps, found {held} and {dict(caps)}")
        if min(held, model, position, halt) < 0:
            return Finding("", f"an amount below zero: ${held:.2f} in the wallet, caps {dict(caps)}")
        worst = held + model
        seen = (
            f"at most ${worst:.2f}: ${held:.2f} in the wallet, ${model:g} of model calls a month; "
            f"a position of ${held * position / 100:.2f}, a halt at a loss of ${held * halt / 100:.2f} a day"
        )
        return Finding(seen, None if worst <= limit else f"{seen}: more than the ${limit:g} that were agreed")

    # Of an account that keeps its money elsewhere, spot tells nothing.
    return over_all(f"at most ${limit:g} can be lost", test, empty=True, about=venue_books.equity_questions(wallet))


# --- what should happen ---------------------------------------------------------------------------------------------


def gaps(kind: str, slack: float, since: str, until: str) -> Sql:
    """Select the spans of the first day in which a live deployment was silent for too long.

    Silent means that it wrote no event of ``kind``, which is ``tick`` or ``reconciled``.

    Too long is more than 1.5 times the Skill's interval plus ``slack`` seconds; a runner reconciles every five minutes,
    so that for ``reconciled`` a longer interval counts as five minutes. ``at`` is when the span became too long.

    The clock starts anew at every command that the runner acknowledged, and for ticks at every tick_failed, which is
    another alarm. A span that begins while the deployment is told to pause, flatten or stop, or is halted by its own
    limit, is left out: it should be silent.
    """
    if kind not in ("tick", "reconciled"):
        raise ConfigError(f"no gaps of {kind!r}: tick or reconciled")
    return sql(
        """
        with live as (
          select d.id, case when %(kind)s = 'tick' then (sv.payload #>> '{schedule,every}')::interval
                   else least((sv.payload #>> '{schedule,every}')::interval, '5 minutes') end as every,
                 greatest(d.created_at, %(since)s::timestamptz) as since,
                 least(c.stopped_at, %(until)s::timestamptz) as until
          from public.deployments d
          join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
          left join lateral (select min(acked_at) as stopped_at from public.agent_commands
                             where deployment_id = d.id and kind = 'stop') c on true
          where d.broker_kind = 'hyperliquid-mainnet' and d.created_at < %(until)s::timestamptz
            and (d.status = 'running' or c.stopped_at > %(since)s::timestamptz)),
        told as (
          select deployment_id as id, kind, acked_at as at from public.agent_commands
          where kind in ('pause', 'flatten', 'stop', 'resume', 'clear_halt')
          union all select deployment_id, event, ts from public.agent_logs
            where event = 'daily_loss_halt' and deployment_id in (select id from live)),
        marks as (
          select id, every, since as at from live
          union all select id, every, until from live
          union all select l.id, l.every, ds.tick_at from live l join public.decision_snapshots ds
            on ds.deployment_id = l.id and ds.tick_at between l.since and l.until where %(kind)s = 'tick'
          union all select l.id, l.every, g.ts from live l join public.agent_logs g
            on g.deployment_id = l.id and g.ts between l.since and l.until
            and g.event = case when %(kind)s = 'tick' then 'tick_failed' else 'reconciled' end
          union all select l.id, l.every, t.at from live l join told t
            on t.id = l.id and t.at between l.since and l.until),
        gaps as (select id, at as until, lag(at) over (partition by id order by at) as after,
                        1.5 * every + make_interval(secs => %(slack)s) as allowed from marks)
        select extract(epoch from until - after) as seconds, after, until, after + allowed as at,
               until = %(until)s::timestamptz as lasts, id as deployment_id
        from gaps where after is not null and (until - after <= allowed) is not true
          and coalesce((select t.kind from told t where t.id = gaps.id and t.at <= after order by t.at desc limit 1),
                       'resume') not in ('pause', 'flatten', 'stop', 'daily_loss_halt')
        order by after
        """,
        kind=kind,
        slack=slack,
        since=since,
        until=until,
    )


# --- what should not happen -----------------------------------------------------------------------------------------


def spending_confirmed(others: float = 0.0) -> Expectation:
    """Expect that OpenRouter and the platform report the same spending this month, and that the key has a limit.

    ``others`` is the most that others may spend a month with the same key, in US dollars. Replies: a row ``live_usd``
    (deployments) and ``all_usd`` (backtests too), then ``data`` of ``/key``. Backtests may use another key, so
    OpenRouter's sum must lie between the two amounts, give or take 5 % or 50 cents. What was paid with the user's own
    provider keys counts: OpenRouter tells it apart.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        rows, key = map(_first, replies)
        live, total, used = (
            venue_answers.number(v) for v in (rows.get("live_usd"), rows.get("all_usd"), key.get("usage_monthly"))
        )
        own = venue_answers.number(key.get("byok_usage_monthly", 0))
        if live is None or total is None or used is None or own is None:
            return Finding("", f"expected live_usd, all_usd and usage_monthly, found {live}, {total}, {used}, {own}")
        if not 0 <= live <= total or min(used, own) < 0:
            return Finding(
                "", f"amounts that cannot be: ${live:.2f} live of ${total:.2f} in all, OpenRouter ${used:.2f}"
            )
        seen = f"OpenRouter ${used + own:.2f}, written down ${live:.2f} live and ${total:.2f} with backtests"
        seen += f"; ${own:.2f} of it with your own provider keys" if own else ""
        bad = [_disagreement(live, total, used + own, others), _short_lived(key)]
        return Finding(seen, "; ".join(f"{seen}: {said}" for said in bad if said) or None)

    return over_all("spending as OpenRouter counts it", test)


def _disagreement(live: float, total: float, used: float, others: float) -> str | None:
    """Return how the spending that OpenRouter counts disagrees with the platform's. Return None if both agree."""
    if used < live - _leeway(live):
        return "they disagree, OpenRouter counts less: prices are wrong, or runners use another key"
    more = used - total
    if more > others + _leeway(total):
        return f"they disagree, others have used the key for ${more:.2f}: the web app's chat may, and that is no theft"
    return None


def _short_lived(key: Mapping[str, Any]) -> str | None:
    """Return why OpenRouter may soon refuse the key, or that the key has no limit. Return None if the key is fine."""
    limit, left = (venue_answers.number(key.get(name)) for name in ("limit", "limit_remaining"))
    if limit is None:
        return "the key has no limit at OpenRouter"
    if left is None:
        return f"OpenRouter does not say how much of the key's ${limit:.2f} is left"
    if left < NEARLY * limit:
        return f"the key is nearly spent: ${left:.2f} of ${limit:.2f} are left"
    expires = key.get("expires_at")
    if expires and datetime.fromisoformat(str(expires).replace("Z", "+00:00")) < datetime.now(UTC) + KEY_LIFE:
        return f"the key expires at {expires}"
    return None


def _leeway(amount: float) -> float:
    return max(LEAST, CLOSE * amount)


def alarms_of(since: str, until: str) -> Sql:
    """Select every alarm of the first day that the platform itself recorded: ``at``, ``alarm``, ``deployment_id``."""
    return sql(
        """
        select g.ts as at, g.event as alarm, g.deployment_id from public.agent_logs g
        join public.deployments d on d.id = g.deployment_id and d.broker_kind = 'hyperliquid-mainnet'
        where g.ts between %(since)s and %(until)s
          and g.event in ('tick_failed', 'state_drift', 'liquidation', 'cost_guard_tripped', 'daily_loss_halt',
                          'webdata2_apply_failed', 'runner_fatal')
        union all
        select coalesce(s.updated_at, d.created_at), 'heartbeat lost', d.id from public.deployments d
        left join public.agent_state s on s.deployment_id = d.id
        where d.status = 'error' and d.error_text like 'heartbeat lost:%%'
          and coalesce(s.updated_at, d.created_at) between %(since)s and %(until)s
        order by at
        """,
        since=since,
        until=until,
    )


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}
