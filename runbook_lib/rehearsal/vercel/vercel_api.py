"""The HTTP of api.vercel.com around the Vercel stand-in, with the vendor's paths, statuses and error bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse

from runbook_lib.rehearsal.vercel.project import Variable, Vercel, milliseconds
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application

REQUIRED = ("key", "value", "type", "target")
TYPES = ("system", "encrypted", "plain", "sensitive", "secret")
TAKEN = "Another Environment Variable with the same Name and Environment exists in your project."


def app(vercel: Vercel) -> Starlette:
    """The HTTP of the project: 403 for a bad token, as the vendor's, then for another team; 404 for another project."""
    names, token = vercel.world.names, vercel.world.secret("VERCEL_TOKEN")
    known = {vercel.project_id, names.vercel_project, None}

    def admit(ask: Ask) -> None:
        if ask.bearer != token:
            raise Refusal(403, "Not authorized", "forbidden", more={"invalidToken": True})
        if ask.query.get("teamId", names.vercel_team) != names.vercel_team:
            raise Refusal(403, "Not authorized", "forbidden")
        if ask.parts.get("project", ask.query.get("projectId")) not in known:
            raise Refusal(404, "Project not found.", "not_found")

    return application("vercel", _project(vercel) | _variables(vercel) | _deployments(vercel), admit=admit)


def _project(vercel: Vercel) -> dict[str, Endpoint]:
    async def project(_: Ask) -> Json:
        names = vercel.world.names
        return {
            "id": vercel.project_id, "name": names.vercel_project, "accountId": names.vercel_team,
            "framework": "nextjs", "crons": vercel.crons(), "env": [one.view() for one in vercel.variables.values()],
            "latestDeployments": [one.detail() for one in reversed(vercel.deployments)][:5],
            "targets": {"production": vercel.live().detail()},
        }  # fmt: skip

    async def run_cron(ask: Ask) -> Json:
        wanted = ask.body().get("path")
        if wanted not in [one["path"] for one in vercel.crons()["definitions"]]:
            raise Refusal(404, f"Could not find the Cron Job: {wanted}", "not_found")
        vercel.invoke(wanted)
        return {"invocationAt": milliseconds()}

    return {"GET /v9/projects/{project}": project, "POST /v1/projects/{project}/crons/run": run_cron}


def _variables(vercel: Vercel) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> Json:
        target, decrypted = ask.query.get("target"), ask.query.get("decrypt") == "true"
        shown = [one for one in vercel.variables.values() if target is None or target in one.target]
        return {"envs": [one.view(decrypted=decrypted) for one in shown]}

    async def create(ask: Ask) -> Response:
        """Create what can be created; the rest comes back as failed, and the reply is a 201 all the same."""
        body, made, failed = ask.body(), list[Json](), list[Json]()
        for item in body if isinstance(body, list) else [body]:
            stored = _create(vercel, item, upsert=ask.query.get("upsert") == "true")
            if stored is None:
                failed.append({"error": {"code": "ENV_CONFLICT", "message": TAKEN, "envVarKey": item["key"]}})
            else:
                made.append(stored.view())
        return JSONResponse({"created": made if isinstance(body, list) or not made else made[0], "failed": failed}, 201)

    async def one(ask: Ask) -> Json:
        found = vercel.variables.get(ask.parts["id"])
        if found is None:
            raise Refusal(404, "The Environment Variable was not found.", "not_found")
        if ask.method == "DELETE":
            del vercel.variables[found.id]
        if ask.method == "PATCH":
            _patch(found, ask.body())
        return found.view(decrypted=ask.method == "GET")

    several, single = "/v10/projects/{project}/env", "/{version}/projects/{project}/env/{id}"
    alone = {f"{method} {single}": one for method in ("GET", "PATCH", "DELETE")}
    return {f"GET {several}": listed, f"POST {several}": create, **alone}


def _create(vercel: Vercel, item: Json, *, upsert: bool) -> Variable | None:
    """Store one variable; None where there is one of its name and it may not be replaced."""
    if missing := [name for name in REQUIRED if not item.get(name) and item.get(name) != ""]:
        raise Refusal(400, f"Invalid request: missing required property `{missing[0]}`.", "bad_request")
    if item["type"] not in TYPES:
        raise Refusal(400, f"Invalid request: `type` should be one of {', '.join(TYPES)}.", "bad_request")
    targets = _targets(item)
    found = next((one for target in targets if (one := vercel.variable(item["key"], target))), None)
    if found and not upsert:
        return None
    found = found or Variable(item["key"], item["value"], item["type"], targets)
    vercel.variables[found.id] = found
    _patch(found, item)
    return found


def _targets(item: Json) -> list[str]:
    return [item["target"]] if isinstance(item["target"], str) else list(item["target"])


def _patch(found: Variable, change: Json) -> None:
    for name in {"key", "value", "type", "comment"} & change.keys():
        setattr(found, name, change[name])
    if "target" in change:
        found.target = _targets(change)
    found.updated = milliseconds()


def _deployments(vercel: Vercel) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> Json:
        asked = ask.query
        states = asked["state"].split(",") if "state" in asked else None
        found = [
            one.view()
            for one in reversed(vercel.deployments)
            if asked.get("target") in (None, one.target)
            and (states is None or one.state in states)
            and int(asked.get("since", 0)) <= one.created <= int(asked.get("until", 1 << 60))
        ]
        shown = found[: int(asked.get("limit", 20))]
        return {"deployments": shown, "pagination": {"count": len(shown), "next": None, "prev": None}}

    async def one(ask: Ask) -> Json:
        return vercel.deployment(ask.parts["deployment"]).detail()

    async def create(ask: Ask) -> Json:
        body = ask.body()
        if body.get("name") != vercel.world.names.vercel_project:
            raise Refusal(400, "Invalid request: missing required property `name`.", "bad_request")
        if "deploymentId" not in body:
            raise Refusal(400, "The rehearsal can only redeploy: name a `deploymentId`.", "missing_files")
        previous, made = vercel.deployment(body["deploymentId"]), vercel.deploy()
        made.commit, made.crons, made.target = previous.commit, previous.crons, body.get("target")
        return made.detail()

    async def runtime_logs(ask: Ask) -> Response:
        found = vercel.deployment(ask.parts["deployment"])
        return StreamingResponse(_follow(vercel, found.id), media_type="application/stream+json")

    return {
        "GET /v6/deployments": listed,
        "GET /v7/deployments": listed,
        "POST /v13/deployments": create,
        "GET /v13/deployments/{deployment}": one,
        "GET /v1/projects/{project}/deployments/{deployment}/runtime-logs": runtime_logs,
    }


async def _follow(vercel: Vercel, deployment: str) -> AsyncIterator[str]:
    """The lines of a deployment's log, and those to come, until the client has had enough."""
    sent = 0
    while not vercel.world.closing.is_set():
        lines = [line for line in list(vercel.logs) if line["deploymentId"] == deployment]
        for line in lines[sent:]:
            yield json.dumps({key: value for key, value in line.items() if key != "deploymentId"}) + "\n"
        sent = len(lines)
        await asyncio.sleep(0.1)
