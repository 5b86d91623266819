"""Read the platform's machines at Fly: which deployment each machine belongs to, and whether it can run.

Neither a machine's name nor its place in the list identifies it: the deployment's id in its environment does (C38).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import inner
from runbook_lib.commands.command import http

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEPLOYMENT = "DEPLOYMENT_ID"  # the variable of a machine that holds its deployment's id
DOWN = ("stopped", "suspended", "failed", "destroyed")  # in every other state a machine runs, starts or still stops
MACHINES = http("fly", "GET /v1/apps/{fly.app}/machines")  # asks for every machine of the app
GONE = "destroyed"  # a stopped machine can start again (C14)


def is_machine(row: Mapping[str, Any]) -> bool:
    """Return whether a row of Fly's list is a machine: it has an id and a configuration."""
    return bool(row.get("id")) and isinstance(row.get("config"), dict)


def environment(machine: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the environment variables in a Fly machine's own configuration. The app's secrets are not among them."""
    return inner(inner(machine, "config"), "env")


def deployment_of(machine: Mapping[str, Any]) -> str | None:
    """Return the id of the deployment that a Fly machine belongs to.

    Return None if its environment holds no such id.
    """
    return environment(machine).get(DEPLOYMENT) or None


def machines_of(machines: Iterable[Mapping[str, Any]], deployment: str) -> list[Mapping[str, Any]]:
    """Return the machines in Fly's list that belong to a deployment, in the order of the list."""
    return [machine for machine in machines if deployment_of(machine) == deployment]


def is_down(machine: Mapping[str, Any]) -> bool:
    """Return whether a Fly machine is down: it does not run, start or stop."""
    return machine.get("state") in DOWN


def is_gone(machine: Mapping[str, Any]) -> bool:
    """Return whether a Fly machine can never start again."""
    return machine.get("state") == GONE
