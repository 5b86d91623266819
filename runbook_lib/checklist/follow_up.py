"""Judge a week of real load (phase 5): how long fills took, outages of the WebSocket, the cost guard's query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.commands.command import Reply, Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ENOUGH = 30  # fills below which a percentile proves nothing
MARGIN = 1.5  # the wait that is advised, as a multiple of the time within which 99 % of the fills came
SHARE = 0.01  # of a core: the most that the guard's query may use at the largest number of deployments
DEPLOYMENTS = (10, 100, 1000)
MONTH = 30 * 86_400  # seconds
PROPOSAL = (
    "propose create index on decision_snapshots (deployment_id, tick_at) include (cost_usd), "
    "and from 100 deployments an hourly rollup with primary key (deployment_id, hour)"
)


def wait_advice(wait: float) -> Expectation:
    """Compare how long fills took with how long the runner waits for one (``wait``, in seconds), and recommend a wait.

    Reply: a row ``fills``, ``slow`` (fills that took longer than ``wait``), ``median``, ``p99`` and ``slowest``
    (seconds).
    """

    def test(reply: Reply) -> Finding:
        row = reply.rows[0] if reply.rows else {}
        fills, slow, median, late = (venue_answers.number(row.get(name)) for name in ("fills", "slow", "median", "p99"))
        if fills is None or slow is None or (fills > 0 and (median is None or late is None)):
            return Finding("", f"expected fills, slow, median and p99, found {dict(row)}")
        if not fills or median is None or late is None:
            return Finding("no fill yet: nothing to advise")
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
    """Select the spans in which a live deployment did not hear from the venue; each ends with the next `reconciled`.

    A row for each: ``deployment_id``, ``began`` (the first complaint), ``recovered`` (null while it lasts),
    ``seconds``, ``complaints``.
    """
    return sql(
        """
        with bad as (
          select l.deployment_id, l.ts, l.event, (
            select min(r.ts) from public.agent_logs r
            where r.deployment_id = l.deployment_id and r.event = 'reconciled' and r.ts > l.ts) as recovered
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
    """Expect that every outage has ended. Reply: the rows of `outages`."""

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


def guard_plan(deployment: str) -> Sql:
    """Ask Postgres to explain the cost guard's query: what it reads and how long it takes (checklist, last section)."""
    return sql(
        """
        explain (analyze, buffers, format json)
        select coalesce(sum(cost_usd), 0) from public.decision_snapshots
        where deployment_id = %(deployment)s and tick_at >= date_trunc('month', now(), 'UTC')
        """,
        deployment=deployment,
    )


def guard_projection() -> Expectation:
    """Project the load of the guard's query for 10, 100 and 1000 deployments; propose an index if it is too high.

    Replies: `guard_plan`, and a row ``rows`` (the deployment's ticks this month) and ``tick_seconds``. The time of one
    query is projected to a full month of ticks. Each deployment runs the query once a tick, so that the load grows with
    their number.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        plan, counted = _plan(replies[0]), replies[1].rows[0] if replies[1].rows else {}
        took, rows, every = (
            venue_answers.number(plan.get("Execution Time")),
            venue_answers.number(counted.get("rows")),
            venue_answers.number(counted.get("tick_seconds")),
        )
        top = venue_answers.inner(plan, "Plan")
        if took is None or rows is None or every is None or every <= 0 or min(took, rows) < 0 or not top:
            return Finding("", f"expected a plan with its time, rows and tick_seconds, found {took}, {rows}, {every}")
        return Finding(f"{took:.2f} ms for {rows:g} rows ({_scans(top)}); {_projected(took, rows, every)}")

    return over_all("the cost guard's query and its growth", test)


def _projected(took: float, rows: float, every: float) -> str:
    """Describe the projected load; the query took ``took`` ms for ``rows`` rows, and a tick comes ``every`` seconds."""
    full = took * max(1.0, MONTH / every / max(rows, 1.0))
    words = [f"a full month {full:.1f} ms a tick"]
    loads = [(count, count * full / 1000 / every) for count in DEPLOYMENTS]
    words += [f"{count} deployments {load:.1%} of a core" for count, load in loads]
    worst = loads[-1][1]
    return ", ".join(words) + (": " + PROPOSAL if worst > SHARE else ": it can stay as it is")


def _plan(reply: Reply) -> Mapping[str, Any]:
    """Return the query plan: Postgres replies with one row, whose only value is a list that holds the plan."""
    value = next(iter(reply.rows[0].values()), None) if reply.rows else None
    plan = value[0] if isinstance(value, list | tuple) and value else None
    return plan if isinstance(plan, dict) else {}


def _scans(node: Mapping[str, Any]) -> str:
    """Describe what a query plan scans, and how many blocks it takes from the cache or the disk."""
    kinds = dict.fromkeys(_kinds(node))
    blocks = sum(venue_answers.number(node.get(key)) or 0 for key in ("Shared Hit Blocks", "Shared Read Blocks"))
    return f"{', '.join(kinds)}, {blocks:g} blocks"


def _kinds(node: Mapping[str, Any]) -> Iterator[str]:
    if "Scan" in str(node.get("Node Type")):
        yield f"{node.get('Node Type')} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()
    for inner in node.get("Plans") or ():
        yield from _kinds(inner)
