"""The platform's machines at Fly: which deployment each belongs to, and whether it can run.

Names and order are no identity: a machine belongs to the deployment in its environment (C38).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import inner

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEPLOYMENT = "DEPLOYMENT_ID"  # the variable that carries it
DOWN = ("stopped", "suspended", "failed", "destroyed")  # every other state runs, or is on its way to or from it
GONE = "destroyed"  # a stopped machine can start again (C14)


def is_machine(row: Mapping[str, Any]) -> bool:
    """Whether a row of Fly's list is a machine: it has an id, and a configuration that tells whose it is."""
    return bool(row.get("id")) and isinstance(row.get("config"), dict)


def environment(machine: Mapping[str, Any]) -> Mapping[str, Any]:
    """The variables of the machine's own configuration, without the app's secrets."""
    return inner(inner(machine, "config"), "env")


def deployment_of(machine: Mapping[str, Any]) -> str | None:
    """The deployment a machine belongs to, None if it carries none."""
    return environment(machine).get(DEPLOYMENT) or None


def machines_of(machines: Iterable[Mapping[str, Any]], deployment: str) -> list[Mapping[str, Any]]:
    """The machines that belong to a deployment, in the order of the list."""
    return [machine for machine in machines if deployment_of(machine) == deployment]


def is_down(machine: Mapping[str, Any]) -> bool:
    """Whether a machine does not run, and is not about to."""
    return machine.get("state") in DOWN


def is_gone(machine: Mapping[str, Any]) -> bool:
    """Whether a machine can never start again."""
    return machine.get("state") == GONE
