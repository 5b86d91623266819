"""Judge a deployment's health from its row: whether it is live, sends heartbeats, has ended, and what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.runner_commands import LIVE_BROKER

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUSES = ("running", "paused", "halted", "error", "stopped", "provisioning")
BEATING = ("running", "paused", "halted")  # statuses in which a runner beats


def is_live(row: Mapping[str, Any]) -> bool:
    """Return whether a deployment trades with real money."""
    return bool(row["broker"] == LIVE_BROKER)


def has_ended(row: Mapping[str, Any]) -> bool:
    """Return whether a deployment has stopped for good."""
    return bool(row["status"] == "stopped")


def is_beating(row: Mapping[str, Any]) -> bool:
    """Return whether a deployment's runner should send heartbeats."""
    return row["status"] in BEATING


def worries(row: Mapping[str, Any]) -> list[str]:
    """Return a line for each thing that is wrong with a deployment.

    The list is empty if nothing is known to be wrong.
    """
    stale, limit = row["seconds_stale"], row["limit_seconds"]
    wrong = []
    if row["status"] == "error":
        wrong.append(row["error_text"] or "error without words")
    if row["status"] == "halted":
        wrong.append("halted by its own limits")
    if is_beating(row) and (stale is None or stale > limit):
        wrong.append("never beat" if stale is None else f"no heartbeat for {stale:.0f} s")
    if row["unheard"]:
        wrong.append(f"{row['unheard']} commands not acknowledged")
    if row["cap_usd"] is not None and (row["month_usd"] or 0) >= row["cap_usd"]:
        wrong.append("monthly cap reached")
    if row["unpriced"]:
        wrong.append(f"{row['unpriced']} ticks without a price")
    if row["problems"]:
        wrong.append(f"{row['problems']} in the log this hour, last {row['newest']}")
    return wrong
