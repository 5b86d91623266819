"""Judge whether the platform's safety nets work when phase 3 provokes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.agentic_trading.machines import MACHINES, is_down, is_machine, machines_of
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ENOUGH = 3  # ticks after which a guard that has not tripped will not trip any more


def guard_tripped(deployment: str, limit: float) -> Expectation:
    """Expect that the cost guard paused this deployment, and no other, within ``limit`` seconds after its cap changed.

    Replies: the guard's commands since then (``deployment_id``, ``reason``, ``seconds`` after the change, ``acked``,
    ``status``, ``logged``), and a row ``ticks``, the number of decisions since then. If the guard did not trip, the
    verdict is unknown: a runner that has not read the Skill again since it booted does not know the lower cap (C22).
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
        return f"it tripped {command.get('seconds')} s after the change, at most {limit:g} s are allowed"
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


def machine_down(deployment: str) -> Expectation:
    """Expect that no machine of the deployment runs, starts or stops."""

    def test(reply: Reply) -> Finding:
        if not all(map(is_machine, reply.rows)):
            return Finding("", "the list holds something that is no machine")
        mine = machines_of(reply.rows, deployment)
        up = [f"{row.get('id')} is {row.get('state')}" for row in mine if not is_down(row)]
        seen = ", ".join(f"{row.get('id')} {row.get('state')}" for row in mine) or "no machine left"
        return Finding(seen, f"not down: {', '.join(up)}" if up else None)

    return over_each("no machine of the deployment runs", test, empty=True, about=[MACHINES])
