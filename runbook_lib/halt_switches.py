"""The platform's two switches, the redeploy that makes them live, and the proof that a deployment is refused.

``DEPLOYMENTS_DISABLED`` and ``HYPERLIQUID_LIVE_ENABLED`` do nothing until the web app is deployed anew (C26), and
nothing at all to machines that run (C25): they fence what comes after.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.commands import Http, Reply, http
from runbook_lib.errors import ServiceError
from runbook_lib.halt_turns import insist, look

if TYPE_CHECKING:
    from collections.abc import Mapping

    from runbook_lib.halt_board import Board
    from runbook_lib.services import Services

__all__ = ["DISABLED", "LIVE", "fly_switch", "switches", "throw"]

DISABLED, LIVE = "DEPLOYMENTS_DISABLED", "HYPERLIQUID_LIVE_ENABLED"
COMING = ("READY", "BUILDING", "QUEUED", "INITIALIZING")  # states of a deployment that is, or will be, live
POLL = 0.2, 5.0  # seconds between two looks at a build, at first and at most


def switches(services: Services, board: Board) -> None:
    """The web app's switches, redeployed, and the proof (parts ``switches`` and ``refusal``)."""
    wanted = {DISABLED: "true"} | ({LIVE: "false"} if board.request.mode == "halt" else {})
    try:
        live = throw(services, board, "switches", wanted)
    except ServiceError as error:
        board.end("switches", "unknown" if error.sent else "failed", complaint=str(error))
        live = None
    refused(services, board, live)


def throw(services: Services, board: Board, part: str, wanted: Mapping[str, str]) -> str | None:
    """Set production variables, redeploy, and wait until that is live; its id. Ends the part; None when not live.

    What is so already is not sent again. All times are Vercel's own clock, in milliseconds.
    """
    until = services.settings.budgets.redeploy
    since = already(services, board, part, wanted, until)
    if since is None:
        put = upsert(services, wanted)
        reply = insist(services, board, part, put, until)
        created = [row for row in _items(reply, "created") if row.get("updatedAt")]
        failed = [str(row.get("error")) for row in _items(reply, "failed")]
        if reply.error or failed or not created:
            board.end(part, "failed", complaint=reply.error or "; ".join(failed) or "Vercel's answer names no variable")
            return None
        since = max(int(row["updatedAt"]) for row in created)
    board.tell(part, "set; the redeploy is under way")
    made = redeploy(services, board, part, since, until)
    live = await_live(services, board, part, since, made=made, until=until)
    if live is not None:
        values = ", ".join(f"{name}={value}" for name, value in wanted.items())
        board.end(part, "passed", f"{values}, live in {live}")
    return live


def upsert(services: Services, wanted: Mapping[str, str]) -> Http:
    """The request that sets production variables."""
    body = [{"key": key, "value": value, "type": "plain", "target": ["production"]} for key, value in wanted.items()]
    return vercel(services, "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)


def already(services: Services, board: Board, part: str, wanted: Mapping[str, str], until: float) -> int | None:
    """Since when every variable has its value; None if one has not, or cannot be read."""
    try:
        listed = vercel(services, "GET /v10/projects/{vercel.project}/env", query={"decrypt": "true"}, pick="envs")
        found = look(services, board, part, listed, min(until, board.now() + board.limits.answer))
    except ServiceError:
        return None
    live = {str(row.get("key")): row for row in found.rows if "production" in _listed(row.get("target"))}
    if any(str((live.get(key) or {}).get("value")) != value for key, value in wanted.items()):
        return None
    return max(int(live[key].get("updatedAt") or 0) for key in wanted)


def redeploy(services: Services, board: Board, part: str, since: int, until: float) -> str | None:
    """Build the newest production deployment again, unless one younger than the variables is coming; its id."""
    query = {"projectId": services.settings.vercel.project, "target": "production", "limit": 20}
    listed = look(
        services, board, part, vercel(services, "GET /v7/deployments", query=query, pick="deployments"), until
    )
    if any(int(row.get("created") or 0) > since and state(row) in COMING for row in listed.rows):
        return None
    ready = [row for row in listed.rows if state(row) == "READY"]
    if not ready:
        raise ServiceError(
            f"no production deployment to build again: {listed.error or 'Vercel lists none that is READY'}"
        )
    project = services.settings.vercel.project
    body = {"name": project, "deploymentId": ready[0].get("uid"), "target": "production"}
    made = insist(services, board, part, vercel(services, "POST /v13/deployments", json=body), until)
    if made.error:
        raise ServiceError(f"the redeploy was refused: {made.error}")
    return str(made.rows[0].get("id") or made.rows[0].get("uid")) if made.rows else None


def await_live(
    services: Services, board: Board, part: str, since: int, *, made: str | None, until: float
) -> str | None:
    """Wait until the deployment that serves production is younger than the variables; its id. Ends the part if not."""
    delay, found = POLL[0], {}
    project = vercel(services, "GET /v9/projects/{vercel.project}", pick="targets.production")
    while board.now() < until:
        reply = look(services, board, part, project, until)
        found = reply.rows[0] if reply.rows else {}
        young = found.get("id") == made or int(found.get("createdAt") or found.get("created") or 0) > since
        if young and state(found) == "READY":
            return str(found.get("id") or found.get("uid"))
        if made and (ended := _ended(services, board, part, made, until)):
            board.end(part, "failed", complaint=f"the redeploy {made} ended {ended}; the switches are set and not live")
            return None
        time.sleep(delay)
        delay = min(delay * 1.5, POLL[1])
    board.end(
        part, "failed", complaint=f"set, and not live within {until:g} s: production is served by {found.get('id')}"
    )
    return None


def _ended(services: Services, board: Board, part: str, made: str, until: float) -> str | None:
    """How a build ended that will not be live."""
    found = look(services, board, part, http("vercel", "GET /v13/deployments/{made}", made=made), until)
    word = state(found.rows[0]) if found.rows else ""
    return word if word in ("ERROR", "CANCELED", "DELETED", "BLOCKED") else None


def fly_switch(services: Services, board: Board, value: str = "false", part: str = "fly") -> None:
    """The runners' own switch, as an app secret: machines made or updated from now on get it (part ``fly``)."""
    command = http("fly", "POST /v1/apps/{fly.app}/secrets", json={"values": {LIVE: value}})
    try:
        reply = insist(services, board, part, command, board.limits.stop)
    except ServiceError as error:
        board.end(part, "unknown" if error.sent else "failed", complaint=str(error))
        return
    if reply.error:
        board.end(part, "failed", complaint=reply.error)
    else:
        board.end(part, "passed", f"{LIVE}={value} for every machine made from now on")


def refused(services: Services, board: Board, live: str | None) -> None:
    """Prove that a new deployment is refused: by a person's try in rehearsal, else by the environment that is live."""
    if live is None:
        board.end("refusal", "unknown", complaint="not proven: the switch is not known to be live")
        return
    if services.settings.person is None:
        by_environment(services, board, live)
        return
    reply = _tried(services)
    words = reply.error or ""
    if DISABLED in words:
        board.end("refusal", "passed", f"a person tried: {words}")
    elif not words:
        made = reply.rows[0] if reply.rows else {}
        board.end("refusal", "failed", complaint=f"a deployment was made: {made.get('deployment_id')}; halt again")
    else:
        board.end("refusal", "unknown", complaint=f"the web app's refusal is not proven: {words}")


def _tried(services: Services) -> Reply:
    try:
        return services.change(http("person", "POST /gestures/deploy_paper"))
    except ServiceError as error:
        return Reply(error=str(error))


def by_environment(services: Services, board: Board, live: str) -> None:
    """Nobody tries in production: the live deployment was made after the switch was set, and the web app answers."""
    proof = f"proven by the environment: {live}, which serves production, was made after {DISABLED} was set"
    try:
        reply = services.look(http("web", "GET /"))
    except ServiceError as error:
        board.end("refusal", "unknown", complaint=f"{proof}; the web app itself does not answer: {error}")
        return
    if (reply.status or 0) >= 500:
        board.end("refusal", "unknown", complaint=f"{proof}; the web app itself answers {reply.error}")
    else:
        board.end("refusal", "passed", proof)


def vercel(services: Services, request: str, **options: Any) -> Http:
    """A request to Vercel, in the profile's team if it names one."""
    team = services.settings.vercel.team
    options["query"] = {**options.get("query", {}), **({"teamId": team} if team else {})}
    return http("vercel", request, **options)


def state(row: Mapping[str, Any]) -> str:
    return str(row.get("readyState") or row.get("state"))


def _items(reply: Reply, name: str) -> list[dict[str, Any]]:
    """The objects under a key of the answer, which may be one or a list."""
    found = reply.rows[0].get(name) if reply.rows else None
    return [found] if isinstance(found, dict) else [one for one in found or () if isinstance(one, dict)]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
