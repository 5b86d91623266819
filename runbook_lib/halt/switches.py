"""Set the platform's two switches, put them in force by a redeploy, and prove that new deployments are refused.

The switches are DEPLOYMENTS_DISABLED and HYPERLIQUID_LIVE_ENABLED.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.switch_values import DISABLED, LIVE, NOTHING_TO_DEPLOY, stopped
from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.errors import ServiceError
from runbook_lib.halt.retries import insist, look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook_lib.halt.state import Halting
    from runbook_lib.services.services import Services


COMING = ("READY", "BUILDING", "QUEUED", "INITIALIZING")  # states of a deployment that is, or will be, live
Row = dict[str, Any]
POLL = 0.2, 5.0  # seconds between two looks at a build, at first and at most


def switches(services: Services, halting: Halting) -> None:
    """Set the web app's switches, redeploy, and prove that new deployments are refused (parts ``switches`` and
    ``refusal``).
    """
    wanted = stopped(positions_stay=halting.request.mode == "reduce")
    try:
        live = throw(services, halting, "switches", wanted)
    except ServiceError as error:
        halting.end("switches", "unknown" if error.sent else "failed", complaint=str(error))
        live = None
    refused(services, halting, live)


def throw(services: Services, halting: Halting, part: str, wanted: Mapping[str, str]) -> str | None:
    """Set the switches at Vercel for production, and redeploy. Return the id of the Vercel deployment that then serves.

    Return None if no such deployment gets live in time. The part is ended either way. Variables that have their values
    already are not sent again. All times are of Vercel's own clock, in milliseconds.
    """
    until = services.settings.budgets.redeploy
    known = variables(services, halting, part)
    since = so_since(known, wanted)
    if since is None:
        reply = insist(services, halting, part, upsert(wanted, known), until, answer_by=until)
        created = {str(row.get("key")): row for row in _items(reply, "created") if row.get("updatedAt")}
        failed = [str(row.get("error")) for row in _items(reply, "failed")]
        missing = [f"Vercel's answer does not name {key}" for key in wanted if key not in created]
        if reply.error or failed or missing:
            halting.end(part, "failed", complaint=reply.error or "; ".join(failed or missing))
            return None
        since = max(int(row["updatedAt"]) for row in created.values())
    halting.tell(part, "set; the redeploy is under way")
    made = redeploy(services, halting, part, since, until)
    live = await_live(services, halting, part, since, made=made, until=until)
    if live is not None:
        values = ", ".join(f"{name}={value}" for name, value in wanted.items())
        halting.end(part, "passed", f"{values}, live in {live}")
    return live


def variables(services: Services, halting: Halting, part: str) -> dict[str, Row]:
    """Return the web app's production variables by name. The switches are among them.

    Return none if Vercel is silent: the caller then sets the switches anew.
    """
    asked = http("vercel", "GET /v10/projects/{vercel.project}/env", query={"decrypt": "true"}, pick="envs")
    redeployed_by = services.settings.budgets.redeploy
    try:
        reply = look(
            services, halting, part, asked, halting.now(), answer_by=redeployed_by
        )  # one try: setting them matters more
    except ServiceError:
        return {}
    return {str(row.get("key")): row for row in reply.rows if "production" in _listed(row.get("target"))}


def so_since(known: Mapping[str, Row], wanted: Mapping[str, str]) -> int | None:
    """Return the time at which the switches got their ``wanted`` values.

    Return None if a switch has another value, or a hidden one.
    """
    if any(str(known.get(key, {}).get("value")) != value for key, value in wanted.items()):
        return None
    return max(int(known[key].get("updatedAt") or 0) for key in wanted)


def upsert(wanted: Mapping[str, str], known: Mapping[str, Row]) -> Http:
    """Return the request that sets the switches for production. Each variable keeps its type; a new variable is plain.

    A sensitive variable cannot become a plain one.
    """
    body = [
        {"key": key, "value": value, "type": known.get(key, {}).get("type") or "plain", "target": ["production"]}
        for key, value in wanted.items()
    ]
    return http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)


def redeploy(services: Services, halting: Halting, part: str, since: int, until: float) -> str | None:
    """Have Vercel rebuild the production deployment, so that the switches take effect. Return the new deployment's id.

    Return None if a deployment younger than the variables (``since``) already serves, or is being built. After a
    rollback, the deployment that serves is not the newest one.
    """
    project = services.settings.vercel.project
    serving = serves(services, halting, part, until)
    asked = http(
        "vercel",
        "GET /v7/deployments",
        query={"projectId": project, "target": "production", "limit": 20},
        pick="deployments",
    )
    listed = look(services, halting, part, asked, until)
    if any(_created(row) > since and state(row) in COMING for row in (serving, *listed.rows)):
        return None
    if not serving.get("id"):
        raise ServiceError("no deployment serves production that could be built again: none is named")
    body = {"name": project, "deploymentId": serving["id"], "target": "production"}
    made = insist(services, halting, part, http("vercel", "POST /v13/deployments", json=body), until, answer_by=until)
    if made.error:
        raise ServiceError(f"the redeploy was refused: {made.error}")
    return str(made.rows[0]["id"])


def serves(services: Services, halting: Halting, part: str, until: float) -> Row:
    """Return the Vercel deployment that serves production. Return an empty row if Vercel names none."""
    project = http("vercel", "GET /v9/projects/{vercel.project}", pick="targets.production")
    reply = look(services, halting, part, project, until)
    return reply.rows[0] if reply.rows else {}


def await_live(
    services: Services, halting: Halting, part: str, since: int, *, made: str | None, until: float
) -> str | None:
    """Wait until a Vercel deployment made after the switches were set serves production. Return its id.

    End the part as failed and return None if the build fails or the time is over.
    """
    delay, serving = POLL[0], Row()
    while halting.now() < until:
        serving = serves(services, halting, part, until)
        young = bool(serving.get("id")) and (serving.get("id") == made or _created(serving) > since)
        if young and state(serving) == "READY":
            return str(serving["id"])
        if made and (ended := _ended(services, halting, part, made, until)):
            halting.end(
                part, "failed", complaint=f"the redeploy {made} ended {ended}; the switches are set and not live"
            )
            return None
        time.sleep(delay)
        delay = min(delay * 1.5, POLL[1])
    halting.end(
        part, "failed", complaint=f"set, and not live within {until:g} s: production is served by {serving.get('id')}"
    )
    return None


def _ended(services: Services, halting: Halting, part: str, made: str, until: float) -> str | None:
    """Return the final state of the redeploy with the id ``made`` if it failed. Return None if it may still succeed."""
    reply = look(services, halting, part, http("vercel", "GET /v13/deployments/{made}", made=made), until)
    word = state(reply.rows[0])
    return word if word in ("ERROR", "CANCELED", "DELETED", "BLOCKED") else None


def fly_switch(services: Services, halting: Halting, value: str = "false", part: str = "fly") -> None:
    """Set the runners' switch as a secret of the Fly app (part ``fly``).

    Only machines that are made or updated from now on get the new value.
    """
    command = http("fly", "POST /v1/apps/{fly.app}/secrets", json={"values": {LIVE: value}})
    until = halting.limits.stop
    try:
        reply = insist(services, halting, part, command, until, answer_by=until)
        if reply.error:
            halting.end(part, "failed", complaint=reply.error)
            return
        digest = _digest(reply)
        listed = look(services, halting, part, http("fly", "GET /v1/apps/{fly.app}/secrets"), until)
    except ServiceError as error:
        halting.end(part, "unknown" if error.sent else "failed", complaint=str(error))
        return
    if digest and _digest(listed) == digest:
        halting.end(part, "passed", f"{LIVE}={value} for every machine made from now on")
    else:
        halting.end(part, "unknown", complaint=f"{LIVE} was sent, and Fly does not list it as it was sent")


def _digest(reply: Reply) -> str | None:
    """Return the digest that Fly shows for the runners' switch, which is a secret of the app.

    Return None if Fly does not list it.
    """
    secrets = {str(row.get("name")): row.get("digest") for row in _items(reply, "secrets")}
    return secrets.get(LIVE)


def refused(services: Services, halting: Halting, live: str | None) -> None:
    """Prove that the web app refuses new deployments, because its switches are set.

    In a rehearsal, the person stand-in tries to make one.

    Otherwise, the proof is that of `by_environment`.
    """
    if live is None:
        halting.end("refusal", "unknown", complaint="not proven: the switch is not known to be live")
        return
    if services.settings.person is None:
        by_environment(services, halting, live)
        return
    reply = _tried(services, halting)
    words = reply.error or ""
    if DISABLED in words:
        halting.end("refusal", "passed", f"a person tried: {words}")
    elif NOTHING_TO_DEPLOY in words:
        by_environment(services, halting, live)
    elif not words:
        made = reply.rows[0] if reply.rows else {}
        halting.end("refusal", "failed", complaint=f"a deployment was made: {made.get('deployment_id')}; halt again")
    else:
        halting.end("refusal", "unknown", complaint=f"the web app's refusal is not proven: {words}")


def _tried(services: Services, halting: Halting) -> Reply:
    trial = http("person", "POST /gestures/deploy_paper")
    halting.book.sending("refusal", services.shown(trial))
    try:
        return services.change(trial, within=halting.limits.answer)
    except ServiceError as error:
        return Reply(error=str(error))


def by_environment(services: Services, halting: Halting, live: str) -> None:
    """Prove from the switches now in force that the web app would refuse a deployment. No deployment is tried.

    The proof is that the live deployment was made after the switch was set, and that the web app answers.
    """
    proof = f"proven by the environment: {live}, which serves production, was made after {DISABLED} was set"
    try:
        reply = services.look(http("web", "GET /"), within=services.settings.budgets.halt.answer)
    except ServiceError as error:
        halting.end("refusal", "unknown", complaint=f"{proof}; the web app itself does not answer: {error}")
        return
    if (reply.status or 0) >= 500:
        halting.end("refusal", "unknown", complaint=f"{proof}; the web app itself answers {reply.error}")
    else:
        halting.end("refusal", "passed", proof)


def state(row: Mapping[str, Any]) -> str:
    return str(row.get("readyState") or row.get("state"))


def _created(row: Mapping[str, Any]) -> int:
    """Return when a Vercel deployment was made, in milliseconds of Vercel's clock."""
    return int(row.get("createdAt") or row.get("created") or 0)


def _items(reply: Reply, name: str) -> list[dict[str, Any]]:
    """Return the objects under ``name`` in Vercel's answer, which holds one object or a list of them."""
    inside = reply.rows[0].get(name) if reply.rows else None
    return [inside] if isinstance(inside, dict) else [item for item in inside or () if isinstance(item, dict)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
