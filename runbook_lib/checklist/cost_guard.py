"""Judge the platform's cost guard: it must pause a deployment in time, and its query must stay cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.commands.command import Reply, Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ENOUGH = 3  # ticks after which a guard that has not tripped will not trip any more

SHARE = 0.01  # of a core: the most that the guard's query may use at the largest number of deployments
DEPLOYMENTS = (10, 100, 1000)
MONTH = 30 * 86_400  # seconds
PROPOSAL = (
    "propose create index on decision_snapshots (deployment_id, tick_at) include (cost_usd), "
    "and from 100 deployments an hourly rollup with primary key (deployment_id, hour)"
)


def guard_tripped(deployment: str, limit: float) -> Expectation:
    """Expect that the cost guard paused this deployment, and no other, in time.

    The guard has ``limit`` seconds after the deployment's cap changed. Replies: the guard's commands since then
    (``deployment_id``, ``reason``, ``seconds`` after the change, ``acked``, ``status``, ``logged``), and a row
    ``ticks``, the number of decisions since then. If the guard did not trip, the verdict is unknown: a runner that has
    not read the Skill again since it booted does not know the lower cap (C22).
    """

    def test(replies: Sequence[Reply]) -> Finding:
        commands, ticks = replies
        mine = [row for row in commands.rows if row.get("deployment_id") == deployment]
        strangers = [str(row.get("deployment_id")) for row in commands.rows if row.get("deployment_id") != deployment]
        if strangers:
            return Finding("", f"the guard paused another deployment: {', '.join(strangers)}", final=True)
        if not mine:
            return _not_tripped(venue_answers.number(ticks.value("ticks")) if ticks.rows else None)
        seen = f"{mine[0].get('reason')}, after {mine[0].get('seconds')} s"
        return Finding(seen, _tripped_wrongly(mine[0], limit))

    return over_all(f"the cost guard trips within {limit:g} s", test, empty=True)  # of ticks, once it has tripped


def _tripped_wrongly(command: Mapping[str, Any], limit: float) -> str | None:
    seconds = venue_answers.number(command.get("seconds"))
    if not str(command.get("reason")).startswith("cost_guard:"):
        return f"reason: expected cost_guard: …, found {command.get('reason')}"
    if seconds is None or not 0 <= seconds <= limit:
        return f"seconds after the change: expected 0 to {limit:g}, found {command.get('seconds')}"
    if command.get("acked") is not True:
        return "the guard's pause is not acknowledged"
    if command.get("logged") is not True:
        return "no cost_guard_tripped in the log"
    return None if command.get("status") == "paused" else f"status is {command.get('status')}, expected paused"


def _not_tripped(ticks: float | None) -> Finding:
    if ticks is None or ticks < 2:  # one tick may have been under way when the cap was changed
        seen = f"{ticks:g} decisions" if ticks is not None else "nothing"
        return Finding("", f"it did not trip, and {seen} came since the change: the runner does not tick")
    said = (
        f"it did not trip in {ticks:g} ticks; nothing tells whether the runner has read the Skill again since it booted"
    )
    return Finding("", said, final=ticks >= ENOUGH, unsure=True)


def guard_plan(deployment: str) -> Sql:
    """Ask Postgres to explain the cost guard's query: what it reads, and how long it takes.

    The query is the one in the checklist's last section.
    """
    return sql(
        """
        explain (analyze, buffers, format json)
        select coalesce(sum(cost_usd), 0) from public.decision_snapshots
        where deployment_id = %(deployment)s and tick_at >= date_trunc('month', now(), 'UTC')
        """,
        deployment=deployment,
    )


def guard_projection() -> Expectation:
    """Project the load of the cost guard's query for 10, 100 and 1000 deployments.

    Propose an index if the load is too high.

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
    """Describe the load that the cost guard's query would put on the database with more deployments.

    The query took ``took`` ms for ``rows`` rows, and a tick comes every ``every`` seconds.
    """
    full = took * max(1.0, MONTH / every / max(rows, 1.0))
    words = [f"a full month {full:.1f} ms a tick"]
    loads = [(count, count * full / 1000 / every) for count in DEPLOYMENTS]
    words += [f"{count} deployments {load:.1%} of a core" for count, load in loads]
    worst = loads[-1][1]
    return ", ".join(words) + (": " + PROPOSAL if worst > SHARE else ": it can stay as it is")


def _plan(reply: Reply) -> Mapping[str, Any]:
    """Return the query plan. Postgres replies with one row, whose only value is a list that holds the plan."""
    value = next(iter(reply.rows[0].values()), None) if reply.rows else None
    plan = value[0] if isinstance(value, list | tuple) and value else None
    return plan if isinstance(plan, dict) else {}


def _scans(node: Mapping[str, Any]) -> str:
    """Describe the kinds of scan in a query plan, and how many blocks they read from the cache or the disk."""
    kinds = dict.fromkeys(_kinds(node))
    blocks = sum(venue_answers.number(node.get(key)) or 0 for key in ("Shared Hit Blocks", "Shared Read Blocks"))
    return f"{', '.join(kinds)}, {blocks:g} blocks"


def _kinds(node: Mapping[str, Any]) -> Iterator[str]:
    if "Scan" in str(node.get("Node Type")):
        yield f"{node.get('Node Type')} {node.get('Index Name') or node.get('Relation Name') or ''}".strip()
    for inner in node.get("Plans") or ():
        yield from _kinds(inner)
