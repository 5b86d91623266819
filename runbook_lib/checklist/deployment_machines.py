"""Judge machines at Fly: each belongs to a deployment, and each running deployment has one, on the pinned image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import (
    DOWN,
    MACHINES,
    deployment_of,
    is_down,
    is_gone,
    is_machine,
    machines_of,
)
from runbook_lib.checklist.web_app_variables import in_production
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IMAGE_VARIABLE = "FLY_LIVE_RUNNER_IMAGE"


def machine_id(machines: Reply, deployment: str) -> str:
    """Return the id of the only machine whose environment carries the deployment's id (C38).

    Raise `ConfigError` if there is no such machine, or more than one.
    """
    ids = [str(machine["id"]) for machine in machines_of(machines.rows, deployment)]
    if len(ids) != 1:
        raise ConfigError(f"deployment {deployment} has {len(ids)} machines, expected exactly 1")
    return ids[0]


def machine_of(deployment: str) -> Expectation:
    """Expect that the deployment has exactly one machine, which is started and runs the pinned image (C30).

    Replies: Fly's machines, Vercel's variables.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        machines, variables = replies
        mine = machines_of(machines.rows, deployment)
        if len(mine) != 1:
            return Finding(f"{len(mine)} machines", f"expected exactly 1 machine of {deployment}, found {len(mine)}")
        pinned = str(in_production(variables).get(IMAGE_VARIABLE, {}).get("value"))  # previews may pin another image
        digest = str((mine[0].get("image_ref") or {}).get("digest"))
        seen = f"{mine[0]['id']} {mine[0].get('state')} {digest[:19]}…"
        if mine[0].get("state") != "started":
            return Finding(seen, f"machine {mine[0]['id']} is {mine[0].get('state')}, expected started")
        if not digest.startswith("sha256:") or not pinned.endswith(f"@{digest}"):
            return Finding(seen, f"machine runs {digest}, {IMAGE_VARIABLE} names {pinned}")
        return Finding(seen)

    return over_all("exactly one started machine, on the pinned image", test)


def each_machine(live: Reply) -> Expectation:
    """Expect that every deployment in ``live`` (``id``, ``status``) passes `machine_of`. Skip deployments still
    booting.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        up = [str(row["id"]) for row in live.rows if row.get("status") != "provisioning"]
        findings = [machine_of(deployment).judge(replies) for deployment in up]
        bad = [finding.complaint for finding in findings if finding.complaint]
        return Finding(f"{len(up)} deployments, a machine each", "; ".join(bad) or None)

    return over_all("exactly one machine for every live deployment", test)


def machine_gone(deployment: str) -> Expectation:
    """Expect that every machine of the deployment is destroyed.

    A machine that is only stopped can start again (C14).
    """

    def test(reply: Reply) -> Finding:
        if not all(map(is_machine, reply.rows)):
            return Finding("", "the list holds something that is no machine")
        mine = machines_of(reply.rows, deployment)
        left = [f"{machine['id']} is {machine.get('state')}" for machine in mine if not is_gone(machine)]
        return Finding("gone", f"still there: {', '.join(left)}" if left else None)

    # An empty list passes; only a machine of the deployment fails.
    return over_each("no machine of the deployment is left", test, empty=True, about=[MACHINES])


def owned_machines() -> Expectation:
    """Expect that every machine carries a deployment's id, and that no stopped deployment has a running machine (C38).

    Replies: Fly's machines, rows ``id`` and ``status`` of every deployment.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        machines, deployments = replies
        statuses = {str(row.get("id")): row.get("status") for row in deployments.rows}
        bad = [complaint for machine in machines.rows if (complaint := _unowned(machine, statuses))]
        return Finding(f"{len(machines.rows)} machines", "; ".join(bad) or None)

    return over_all("no machine but deployments' own", test, empty=True, about=[MACHINES])


def _unowned(machine: Mapping[str, Any], statuses: Mapping[str, Any]) -> str | None:
    owner = deployment_of(machine)
    if not owner or str(owner) not in statuses:
        return f"machine {machine.get('id')} is of no deployment" + (f": {owner} has no row" if owner else "")
    if statuses[str(owner)] == "stopped" and machine.get("state") not in DOWN:
        return f"machine {machine.get('id')} is {machine.get('state')}, and its deployment {owner} has stopped"
    return None


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
