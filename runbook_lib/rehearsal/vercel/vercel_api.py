"""Serve the HTTP API of api.vercel.com for the project and its team, with the vendor's paths, statuses and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse

from runbook_lib.rehearsal.vercel.project import USER, Variable, Vercel, milliseconds
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application

REQUIRED = ("key", "value", "type", "target")
TYPES = ("system", "encrypted", "plain", "sensitive", "secret")
TAKEN = "Another Environment Variable with the same Name and Environment exists in your project."


SENSITIVE = "You cannot change the type of a Sensitive Environment Variable."
ACCOUNT = {"id": USER, "email": "operator@rehearsal.test", "username": "operator", "name": "Operator"}
REGIONS = {"functionDefaultRegions": ["hnd1"]}
LAST_PAGE = {"count": 1, "next": None, "prev": None}


def app(vercel: Vercel) -> Starlette:
    """Serve Vercel's API with the project's endpoints.

    The endpoints of account and team are there too, because Vercel's clients call these first.
    """
    endpoints = _accounts(vercel) | _project(vercel) | _variables(vercel) | _deployments(vercel)
    return application("vercel", endpoints, admit=lambda ask: admit(vercel, ask))


def admit(vercel: Vercel, ask: Ask) -> None:
    """Raise Vercel's 403 `Refusal` for a bad token or another team.

    Raise Vercel's 404 `Refusal` for a project that the token cannot see. The project belongs to a team. A token sees
    the project only if the request names that team.
    """
    names, team = vercel.world.names, ask.query.get("teamId")
    if ask.token("Bearer") != vercel.world.secret("VERCEL_TOKEN"):
        raise Refusal(403, "Not authorized", "forbidden", more={"invalidToken": True})
    if team not in (None, names.vercel_team):
        raise Refusal(403, "Not authorized", "forbidden")
    if ask.path.startswith(("/v2/user", "/v1/teams", "/v2/teams", "/teams")):
        return
    if ask.parts.get("project", ask.query.get("projectId")) not in {vercel.project_id, names.vercel_project, None}:
        raise Refusal(404, "Project not found.", "not_found")
    if team is None:
        text = "Project not found." if "deployment" not in ask.path else "Deployment not found"
        raise Refusal(404, text, "not_found")


def _accounts(vercel: Vercel) -> dict[str, Endpoint]:
    """Return the endpoints about the token's owner and the team, which Vercel's command line calls first."""

    identifier = vercel.world.names.vercel_team
    ours = {"id": identifier, "slug": "rehearsal", "name": "Rehearsal", "avatar": None, "creatorId": ACCOUNT["id"],
            "createdAt": vercel.deployments[0].created, "membership": {"role": "OWNER", "confirmed": True}}  # fmt: skip

    async def user(_: Ask) -> Json:
        return {"user": ACCOUNT | {"defaultTeamId": None, "version": "northstar", "resourceConfig": {}}}

    async def teams(_: Ask) -> Json:
        return {"teams": [ours], "pagination": LAST_PAGE}

    async def team(ask: Ask) -> Json:
        if ask.parts["team"] != identifier:
            raise Refusal(404, "Team not found.", "not_found")
        return ours

    several = {f"GET /{version}/teams": teams for version in ("v1", "v2")}
    return {"GET /v2/user": user, "GET /v2/teams/{team}": team, "GET /teams/{team}": team} | several


def _project(vercel: Vercel) -> dict[str, Endpoint]:
    async def project(_: Ask) -> Json:
        names = vercel.world.names
        return {
            "id": vercel.project_id, "name": names.vercel_project, "accountId": names.vercel_team,
            "framework": "nextjs", "nodeVersion": "22.x", "resourceConfig": REGIONS, "deploymentExpiration": {},
            "alias": [], "crons": vercel.crons(),
            "env": [variable.view() for variable in vercel.variables.values()],
            "latestDeployments": [deployment.detail() for deployment in reversed(vercel.deployments)][:5],
            "targets": {"production": vercel.live().detail()},
        }  # fmt: skip

    async def run_cron(ask: Ask) -> Json:
        wanted = ask.body().get("path")
        if wanted not in [cron["path"] for cron in vercel.crons()["definitions"]]:
            raise Refusal(404, f"Could not find the Cron Job: {wanted}", "not_found")
        vercel.invoke(wanted)
        return {"invocationAt": milliseconds()}

    async def promote(ask: Ask) -> Response:
        vercel.promote(vercel.deployment(ask.parts["deployment"]))
        return Response(status_code=201)

    async def roll_back(ask: Ask) -> Response:
        vercel.roll_back(vercel.deployment(ask.parts["deployment"]))
        return Response(status_code=201)

    async def projects(ask: Ask) -> Json:
        return {"projects": [await project(ask)], "pagination": LAST_PAGE}

    return {
        "GET /v9/projects": projects,
        "GET /v10/projects": projects,
        "GET /v9/projects/{project}": project,
        "POST /v1/projects/{project}/crons/run": run_cron,
        "POST /v10/projects/{project}/promote/{deployment}": promote,
        "POST /v1/projects/{project}/rollback/{deployment}": roll_back,
    }


def _variables(vercel: Vercel) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> Json:
        target, decrypted = ask.query.get("target"), ask.query.get("decrypt") == "true"
        shown = [variable for variable in vercel.variables.values() if target is None or target in variable.target]
        pagination = LAST_PAGE | {"count": len(shown)}
        return {"envs": [variable.view(decrypted=decrypted) for variable in shown], "pagination": pagination}

    async def create(ask: Ask) -> Response:
        """Create one Vercel variable, or several.

        For several, answer 201 even if some fail, and list the failed variables under ``failed``.
        """
        body, upsert = ask.body(), ask.query.get("upsert") == "true"
        if not isinstance(body, list):
            return JSONResponse({"created": _create(vercel, body, upsert=upsert).view(), "failed": []}, 201)
        made, failed = list[Json](), list[Json]()
        for item in body:
            try:
                made.append(_create(vercel, item, upsert=upsert).view())
            except Conflict as conflict:
                words = {"code": conflict.code, "message": str(conflict), "envVarKey": item["key"]}
                failed.append({"error": words})
        return JSONResponse({"created": made, "failed": failed}, 201)

    async def single(ask: Ask) -> Json:
        variable = vercel.variables.get(ask.parts["id"])
        if variable is None:
            raise Refusal(404, "The Environment Variable was not found.", "not_found")
        if ask.method == "DELETE":
            del vercel.variables[variable.id]
        if ask.method == "PATCH":
            _patch(variable, ask.body())
        return variable.view(decrypted=ask.method == "GET")

    async def pulled(ask: Ask) -> Json:
        """Answer ``vercel pull`` with the variables of an environment, by name. Sensitive variables come without their
        values.
        """
        shown = [variable for variable in vercel.variables.values() if ask.parts["target"] in variable.target]
        values = {variable.key: variable.view(decrypted=True)["value"] for variable in shown}
        return {"env": values, "buildEnv": values}

    async def custom_environments(_: Ask) -> Json:
        return {"environments": []}

    several, alone = "/v10/projects/{project}/env", "/{version}/projects/{project}/env/{id}"
    return {
        f"GET {several}": listed,
        f"POST {several}": create,
        "GET /v3/env/pull/{project}/{target}": pulled,
        "GET /projects/{project}/custom-environments": custom_environments,
        **{f"{method} {alone}": single for method in ("GET", "PATCH", "DELETE")},
    }


class Conflict(Refusal):
    """A refusal of Vercel's API to create a variable that already exists.

    It answers 400 if the variable was sent alone; among several, the variable is listed under ``failed``.
    """


def _create(vercel: Vercel, item: Json, *, upsert: bool) -> Variable:
    """Store one variable of the Vercel project.

    Raise `Conflict` if there is one with the same name and environment, and ``upsert`` does not allow to replace it.
    """
    needed = [name for name in REQUIRED if not item.get(name) and item.get(name) != ""]
    if item.get("customEnvironmentIds"):
        needed = [name for name in needed if name != "target"]
    if needed:
        raise Refusal(400, f"Invalid request: missing required property `{needed[0]}`.", "bad_request")
    if item["type"] not in TYPES:
        raise Refusal(400, f"Invalid request: `type` should be one of {', '.join(TYPES)}.", "bad_request")
    wanted = Variable(item["key"], item["value"], item["type"], _targets(item))
    wanted.custom_environments, wanted.branch = list(item.get("customEnvironmentIds") or ()), item.get("gitBranch")
    existing = next((variable for variable in vercel.variables.values() if _overlap(variable, wanted)), None)
    if existing and not upsert:
        raise Conflict(400, TAKEN, "ENV_CONFLICT")
    variable = existing or wanted
    _patch(variable, item)
    vercel.variables[variable.id] = variable
    return variable


def _overlap(variable: Variable, other: Variable) -> bool:
    """Return whether two variables have the same name and share an environment and branch."""
    (places, branch), (other_places, other_branch) = variable.scope, other.scope
    return variable.key == other.key and bool(places & other_places) and branch == other_branch


def _targets(item: Json) -> list[str]:
    target = item.get("target") or []
    return [target] if isinstance(target, str) else list(target)


def _patch(variable: Variable, change: Json) -> None:
    """Change the given fields of a variable of the Vercel project.

    A sensitive variable stays sensitive, so that its value stays hidden.
    """
    if variable.type == "sensitive" and change.get("type", "sensitive") != "sensitive":
        raise Conflict(400, SENSITIVE, "bad_request")
    for name in {"key", "value", "type", "comment"} & change.keys():
        setattr(variable, name, change[name])
    if "target" in change:
        variable.target = _targets(change)
    variable.updated = milliseconds()


def _deployments(vercel: Vercel) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> Json:
        asked = ask.query
        states = asked["state"].split(",") if "state" in asked else None
        matching = [
            deployment.view()
            for deployment in reversed(vercel.deployments)
            if asked.get("target") in (None, deployment.target)
            and (states is None or deployment.state in states)
            and int(asked.get("since", 0)) <= deployment.created <= int(asked.get("until", 1 << 60))
        ]
        shown = matching[: int(asked.get("limit", 20))]
        return {"deployments": shown, "pagination": {"count": len(shown), "next": None, "prev": None}}

    async def single(ask: Ask) -> Json:
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
        deployment = vercel.deployment(ask.parts["deployment"])
        return StreamingResponse(_follow(vercel, deployment.id), media_type="application/stream+json")

    return {
        "GET /v6/deployments": listed,
        "GET /v7/deployments": listed,
        "POST /v13/deployments": create,
        "GET /v13/deployments/{deployment}": single,
        "GET /v1/projects/{project}/deployments/{deployment}/runtime-logs": runtime_logs,
    }


async def _follow(vercel: Vercel, deployment: str) -> AsyncIterator[str]:
    """Stream new lines of a Vercel deployment's log until the client disconnects.

    Earlier lines are not sent, as with the vendor (vercel/vercel issue 14147).
    """
    sent = vercel.lines
    while not vercel.world.closing.is_set():
        new = [line for line in vercel.logs if line["number"] > sent and line["deploymentId"] == deployment]
        sent = vercel.lines
        for line in new:
            yield (
                json.dumps({key: value for key, value in line.items() if key not in ("deploymentId", "number")}) + "\n"
            )
        await asyncio.sleep(0.1)
