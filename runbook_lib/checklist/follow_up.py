"""Judge a week of real load for the follow-up (phase 5): how long fills took, and when the WebSocket was out."""

from __future__ import annotations

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.commands.command import Reply, Sql, sql
from runbook_lib.commands.expectations import Claim, Expectation, Finding, over_each

ENOUGH = 30  # fills below which a percentile proves nothing
MARGIN = 1.5  # the wait that is advised, as a multiple of the time within which 99 % of the fills came


def wait_advice(wait: float, due: str) -> Expectation:
    """Advise how long a runner should wait for a fill. The advice does not make the follow-up fail.

    The runner now waits ``wait`` seconds. The advice rests on how long the fills took. Without a fill, whether the wait
    is long enough is left for the step ``due`` to prove.

    Reply: a row ``fills``, ``slow`` (fills that took longer than ``wait``), ``median``, ``p99`` and ``slowest``
    (seconds).
    """

    def test(reply: Reply) -> Finding:
        row = reply.rows[0] if reply.rows else {}
        fills, slow, median, late = (venue_answers.number(row.get(name)) for name in ("fills", "slow", "median", "p99"))
        if fills is None or slow is None or (fills > 0 and (median is None or late is None)):
            return Finding("", f"expected fills, slow, median and p99, found {dict(row)}")
        if not fills or median is None or late is None:
            claim = Claim("the runner waits long enough for a fill", "no fill yet", due)
            return Finding("no fill yet: nothing to advise", unproven=(claim,))
        if not 0 <= median <= late or not 0 <= slow <= fills:
            return Finding("", f"times that cannot be: {dict(row)}")
        seen = f"{fills:g} fills, median {median:.2f} s, 99 % within {late:.2f} s, {slow:g} over {wait:g} s: "
        return Finding(seen + _advice(fills, late, wait))

    return over_each(f"fills against the {wait:g} s wait", test)


def _advice(fills: float, late: float, wait: float) -> str:
    if fills < ENOUGH:
        return f"too few to advise, {ENOUGH} are needed"
    return f"keep {wait:g} s" if MARGIN * late <= wait else f"wait {MARGIN * late:.1f} s instead of {wait:g} s"


def outages(since: str) -> Sql:
    """Select the spans, in the follow-up's week, in which a live deployment heard nothing from the venue.

    A span ends when the deployment reconciles, or is stopped.

    A row for each: ``deployment_id``, ``began`` (the first complaint), ``recovered`` (null while it lasts),
    ``seconds``, ``complaints``.
    """
    return sql(
        """
        with bad as (
          select l.deployment_id, l.ts, l.event, coalesce((
            select min(r.ts) from public.agent_logs r
            where r.deployment_id = l.deployment_id and r.event = 'reconciled' and r.ts > l.ts),
            case when d.status = 'stopped' then greatest(d.updated_at, l.ts) end) as recovered
          from public.agent_logs l join public.deployments d on d.id = l.deployment_id
          where d.broker_kind = 'hyperliquid-mainnet' and l.ts >= %(since)s
            and l.event in ('webdata2_apply_failed', 'all_mids_fetch_failed', 'state_drift'))
        select deployment_id, min(ts) as began, recovered, count(*) as complaints,
               extract(epoch from coalesce(recovered, now()) - min(ts)) as seconds
        from bad group by deployment_id, recovered order by began
        """,
        since=since,
    )


def holds_up() -> Expectation:
    """Expect that every outage in the follow-up's week has ended. Reply: the rows of `outages`."""

    def test(reply: Reply) -> Finding:
        lasting = [str(row.get("began")) for row in reply.rows if not row.get("recovered")]
        seconds = [venue_answers.number(row.get("seconds")) for row in reply.rows]
        if any(length is None or length < 0 for length in seconds):
            return Finding("", f"an outage whose length is no number, or below zero: {list(reply.rows)}")
        seen = f"{len(reply.rows)} outages" + (
            f", the longest {max(filter(None, seconds), default=0):.0f} s" if seconds else ""
        )
        return Finding(seen, f"not over: since {', '.join(lasting)}" if lasting else None)

    return over_each("every outage has ended", test, empty=True)
