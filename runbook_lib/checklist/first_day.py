"""Judge the first day with real size: the upgrade before it, and the alarms during it (phase 4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.checklist.wallet import agent_known, info
from runbook_lib.commands.command import Http, Reply, Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError
from runbook_lib.records import history, ledger

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.records.ledger import Record
    from runbook_lib.steps.phase import Phase

DAY = timedelta(hours=24)
NOW = "now"  # Postgres reads this as the time at which its transaction began
CLOSE = 0.05  # share by which OpenRouter's figure and the rows may differ: a tick may be under way, prices are rounded
NEARLY = 0.1  # share of the key's limit below which the key counts as nearly spent
KEY_LIFE = timedelta(days=3)  # a key that expires sooner may stop every decision before somebody has made another
LEAST = 0.50  # US dollars by which OpenRouter's figure and the rows may always differ


def window(phase: Phase) -> dict[str, str]:
    """Return the time span (``since``, ``until``) in which alarms count: at most 24 hours, and only after the dry runs.

    ``until`` is ``now``, which Postgres reads by its own clock, except when a watch looks at the past.
    """
    until = datetime.now(UTC) if phase.until == NOW else datetime.fromisoformat(phase.until)
    return {"since": max(until - DAY, _dry_runs_ended(phase)).isoformat(), "until": phase.until}


def _dry_runs_ended(phase: Phase) -> datetime:
    """Return the end of the dry runs, whose alarms are raised on purpose; 1970 if this run follows no dry runs."""
    since = phase.record.opened().get("since") if phase.mode == "watch" else _sealed_before(phase.record)
    return datetime.fromisoformat(since) if since else datetime.fromtimestamp(0, UTC)


def _sealed_before(record: Record) -> str | None:
    """Return when the record that opened this record's gate was sealed; None if no record opened it."""
    rests_on = (history.read(record).root.get("rests_on") or {}).get("record")
    seal = ledger.find(record.root, rests_on).sealed() if rests_on else None
    return str(seal["at"]) if seal else None


# --- the upgrade ----------------------------------------------------------------------------------------------------


def most_lost(limit: float) -> Expectation:
    """Expect that at most ``limit`` US dollars can be lost: the whole wallet, and one month's cost of the model.

    Replies: ``userAbstraction``, ``clearinghouseState``, ``spotClearinghouseState``, and a row with the Skill's
    ``risk``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        mode, perp, spot, skill = replies
        caps = venue_answers.inner(_first(skill), "risk")
        wallet = venue_answers.equity(mode.text.strip().strip('"'), _first(perp), _first(spot))
        model, position, halt = (
            venue_answers.number(caps.get(n)) for n in ("maxMonthlyCostUsd", "maxPositionPct", "dailyLossHaltPct")
        )
        if wallet is None or model is None or position is None or halt is None:
            return Finding("", f"expected the wallet's equity and three caps, found {wallet} and {dict(caps)}")
        if min(wallet, model, position, halt) < 0:
            return Finding("", f"an amount below zero: ${wallet:.2f} in the wallet, caps {dict(caps)}")
        worst = wallet + model
        seen = (
            f"at most ${worst:.2f}: ${wallet:.2f} in the wallet, ${model:g} of model calls a month; "
            f"a position of ${wallet * position / 100:.2f}, a halt at a loss of ${wallet * halt / 100:.2f} a day"
        )
        return Finding(seen, None if worst <= limit else f"{seen}: more than the ${limit:g} that were agreed")

    return over_all(f"at most ${limit:g} can be lost", test, empty=True)  # of spot, where the money is elsewhere


# --- what should happen ---------------------------------------------------------------------------------------------


def gaps(kind: str, slack: float, since: str, until: str) -> Sql:
    """Select each span in which a live deployment ran but wrote no ``tick``, or no ``reconciled``, for too long.

    Too long is more than 1.5 times the Skill's interval plus ``slack`` seconds; ``at`` is when the span became too
    long. A span is left out if a pause, a flatten, a resume, a stop or a tick_failed explains it: a person wanted it,
    or another alarm reports it.
    """
    if kind not in ("tick", "reconciled"):
        raise ConfigError(f"no gaps of {kind!r}: tick or reconciled")
    return sql(
        """
        with live as (
          select d.id, (sv.payload #>> '{schedule,every}')::interval as every,
                 greatest(d.created_at, %(since)s::timestamptz) as since,
                 least(c.stopped_at, %(until)s::timestamptz) as until
          from public.deployments d
          join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
          left join lateral (select min(acked_at) as stopped_at from public.agent_commands
                             where deployment_id = d.id and kind = 'stop') c on true
          where d.broker_kind = 'hyperliquid-mainnet' and d.created_at < %(until)s::timestamptz
            and (d.status = 'running' or c.stopped_at > %(since)s::timestamptz)),
        marks as (
          select id, every, since as at from live
          union all select id, every, until from live
          union all select l.id, l.every, ds.tick_at from live l join public.decision_snapshots ds
            on ds.deployment_id = l.id and ds.tick_at between l.since and l.until where %(kind)s = 'tick'
          union all select l.id, l.every, g.ts from live l join public.agent_logs g
            on g.deployment_id = l.id and g.ts between l.since and l.until and g.event = 'reconciled'
            where %(kind)s = 'reconciled'),
        gaps as (select id, at as until, lag(at) over (partition by id order by at) as after,
                        1.5 * every + make_interval(secs => %(slack)s) as allowed from marks)
        select extract(epoch from until - after) as seconds, after, until, after + allowed as at,
               until = %(until)s::timestamptz as lasts, id as deployment_id
        from gaps where after is not null and (until - after <= allowed) is not true
          and not exists (select from public.agent_commands c where c.deployment_id = gaps.id
                          and c.kind in ('pause', 'flatten', 'resume', 'stop') and c.acked_at between after and until)
          and not exists (select from public.agent_logs g where g.deployment_id = gaps.id
                          and g.event = 'tick_failed' and g.ts between after and until and %(kind)s = 'tick')
        order by after
        """,
        kind=kind,
        slack=slack,
        since=since,
        until=until,
    )


# --- what should not happen -----------------------------------------------------------------------------------------


def spending_confirmed() -> Expectation:
    """Expect that OpenRouter's sum for this month matches the platform's rows, and that the key has a spending limit.

    Replies: a row ``live_usd`` (deployments) and ``all_usd`` (backtests too), then ``data`` of ``/key``. Backtests may
    use another key, so OpenRouter's sum must lie between the two amounts, give or take 5 % or 50 cents.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        rows, key = map(_first, replies)
        live, total, used = (
            venue_answers.number(v) for v in (rows.get("live_usd"), rows.get("all_usd"), key.get("usage_monthly"))
        )
        if live is None or total is None or used is None:
            return Finding("", f"expected live_usd, all_usd and usage_monthly, found {live}, {total}, {used}")
        if not 0 <= live <= total or used < 0:
            return Finding(
                "", f"amounts that cannot be: ${live:.2f} live of ${total:.2f} in all, OpenRouter ${used:.2f}"
            )
        seen = f"OpenRouter ${used:.2f}, written down ${live:.2f} live and ${total:.2f} with backtests"
        agree = live - _leeway(live) <= used <= total + _leeway(total)
        bad = [None if agree else f"{seen}: they disagree", _short_lived(key)]
        return Finding(seen, "; ".join(filter(None, bad)) or None)

    return over_all("spending as OpenRouter counts it", test)


def _short_lived(key: Mapping[str, Any]) -> str | None:
    """Return why OpenRouter may soon refuse the key, or that the key has no limit; None if the key is fine."""
    limit, left = (venue_answers.number(key.get(name)) for name in ("limit", "limit_remaining"))
    if limit is None:
        return "the key has no limit at OpenRouter"
    if left is not None and left < NEARLY * limit:
        return f"the key is nearly spent: ${left:.2f} of ${limit:.2f} are left"
    expires = key.get("expires_at")
    if expires and datetime.fromisoformat(str(expires).replace("Z", "+00:00")) < datetime.now(UTC) + KEY_LIFE:
        return f"the key expires at {expires}"
    return None


def _leeway(amount: float) -> float:
    return max(LEAST, CLOSE * amount)


def agent_questions(live: Reply) -> list[Http]:
    """Ask the venue, for each live deployment, for the agents of its wallet and for the role of its own agent.

    ``live`` has ``wallet`` and ``agent`` for each deployment.
    """
    asked = ((info("extraAgents", user=wallet), info("userRole", user=agent)) for wallet, agent in _pairs(live))
    return [question for questions in asked for question in questions]


def agents_known(live: Reply) -> Expectation:
    """Expect that the venue knows the agent of every live deployment. Replies: those of `agent_questions`."""

    def test(replies: Sequence[Reply]) -> Finding:
        pairs = _pairs(live)
        answered = zip(pairs, zip(replies[::2], replies[1::2], strict=True), strict=True)
        findings = [(agent, agent_known(agent, wallet).judge(both)) for (wallet, agent), both in answered]
        bad = [f"{agent}: {finding.complaint}" for agent, finding in findings if finding.complaint]
        return Finding("; ".join(finding.seen for _, finding in findings), "; ".join(bad) or None)

    return over_all("the venue knows every live agent", test)


def position_questions(live: Reply) -> list[Http]:
    """Ask what each wallet of a live deployment holds in the venue's main book, the only one in which runners trade."""
    return [info("clearinghouseState", user=wallet) for wallet in _wallets(live)]


def positions_agree(live: Reply) -> Expectation:
    """Expect that every wallet holds what ``agent_state`` says, and that its leverage stays within the Skill's limit.

    Sizes are not compared while an order of the wallet is under way (``moving``). Replies: rows ``wallet``,
    ``positions``, ``max_leverage``, ``moving``, then those of `position_questions`. If two deployments share a wallet,
    their positions cannot be told apart, so that a shared wallet is a complaint.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        states, *held = replies
        bad = []
        for wallet, at_venue in zip(_wallets(live), held, strict=True):
            states_of_wallet = [row for row in states.rows if row.get("wallet") == wallet]
            if len(states_of_wallet) != 1:
                bad.append(f"{wallet}: expected one deployment with a state, found {len(states_of_wallet)}")
                continue
            [state], perp = states_of_wallet, _first(at_venue)
            differing = [] if state.get("moving") else venue_answers.differing_sizes(perp, state.get("positions"))
            differing += venue_answers.over_levered(perp, state.get("max_leverage"))
            bad += [f"{wallet} {difference}" for difference in differing]
        return Finding(f"{len(held)} wallets as agent_state says", "; ".join(bad) or None)

    about = position_questions(live)
    phrase = "every wallet in the main book as agent_state says, no more levered than its Skill allows"
    return over_all(phrase, test, empty=True, about=about)


def fill_questions(live: Reply) -> list[Http]:
    """Ask for the fills of every wallet of a live deployment."""
    return [info("userFills", user=wallet) for wallet in _wallets(live)]


def _wallets(live: Reply) -> list[str]:
    return list(dict.fromkeys(wallet for wallet, _ in _pairs(live)))


def _pairs(live: Reply) -> list[tuple[str, str]]:
    """Return the wallet and the agent of each live deployment, the same pair only once."""
    return list(dict.fromkeys((str(row["wallet"]), str(row["agent"])) for row in live.rows))


def fills_have_rows(settled: float, live: Reply) -> Expectation:
    """Expect that every fill of the wallets belongs to an order in ``mainnet_orders``, unless the fill is very recent.

    Replies: a row ``cloid`` for every order of the wallets, then each wallet's ``userFills`` (``time`` in ms, UTC). The
    row of a fill may come up to ``settled`` seconds after the fill.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        orders, *fills = replies
        known = {str(cloid) for cloid in orders.column("cloid") if cloid}
        strange = [row for reply in fills for row in reply.rows if _due(row, reply.at, settled, known)]
        named = [
            venue_answers.of_no_order(row)
            or f"{row.get('side')} {row.get('sz')} {row.get('coin')} (order {row.get('oid')})"
            for row in strange
        ]
        count = sum(len(reply.rows) for reply in fills)
        return Finding(f"{count} fills", f"fills without a row: {', '.join(named)}" if named else None)

    return over_all("a row for every fill", test, empty=True, about=fill_questions(live))


def _due(fill: Mapping[str, Any], now: float, settled: float, known: set[str]) -> bool:
    """Return whether a fill lacks its row although it is old enough; a very recent fill's row may be on its way."""
    age = now - (venue_answers.number(fill.get("time")) or 0) / 1000
    return str(fill.get("cloid")) not in known and not -settled <= age <= settled


def alarms_of(since: str, until: str) -> Sql:
    """Select every alarm that the platform itself recorded: ``at``, ``alarm``, ``deployment_id``."""
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
