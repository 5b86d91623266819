"""The HTTP of api.vercel.com around the Vercel stand-in, with the vendor's paths, statuses and error bodies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from runbook_lib.rehearsal.serving import unknown_route
from runbook_lib.rehearsal.vercel import TYPES, Json, Variable, Vercel, VercelError, milliseconds

REQUIRED = ("key", "value", "type", "target")


def app(vercel: Vercel) -> Starlette:
    """The HTTP of the project. 403 for a bad token, as the vendor's."""
    return Starlette(
        routes=[
            *_project_routes(vercel),
            *_variable_routes(vercel),
            *_deployment_routes(vercel),
        ],
        exception_handlers={VercelError: _answer, 404: unknown_route, 405: unknown_route},
    )


async def _answer(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, VercelError)  # noqa: S101  registered for this type only
    return JSONResponse(problem.body, problem.status)


def _admit(vercel: Vercel, request: Request, project: str | None = None) -> None:
    """Refuse a bad token, another team or another project, in the vendor's order."""
    names = vercel.world.names
    if request.headers.get("authorization") != f"Bearer {vercel.world.secret('VERCEL_TOKEN')}":
        raise VercelError(403, "forbidden", "Not authorized", invalidToken=True)
    if request.query_params.get("teamId", names.vercel_team) != names.vercel_team:
        raise VercelError(403, "forbidden", "Not authorized")
    if project not in (None, vercel.project_id, names.vercel_project):
        raise VercelError(404, "not_found", "Project not found.")


async def _body(request: Request) -> Any:
    try:
        return await request.json()
    except ValueError:
        raise VercelError(400, "bad_request", "Invalid JSON") from None


def _project_routes(vercel: Vercel) -> list[Route]:
    async def project(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        live = vercel.live()
        return JSONResponse(
            {
                "id": vercel.project_id,
                "name": vercel.world.names.vercel_project,
                "accountId": vercel.world.names.vercel_team,
                "framework": "nextjs",
                "crons": vercel.crons(),
                "env": [one.view(decrypted=False) for one in vercel.variables.values()],
                "latestDeployments": [one.detail() for one in reversed(vercel.deployments)][:5],
                "targets": {"production": live.detail() if live else None},
            }
        )

    async def run_cron(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        wanted = await _body(request)
        if wanted.get("path") not in [one["path"] for one in vercel.crons()["definitions"]]:
            raise VercelError(404, "not_found", f"Could not find the Cron Job: {wanted.get('path')}")
        vercel.invoke(wanted["path"])
        return JSONResponse({"invocationAt": milliseconds()})

    return [
        Route("/v9/projects/{project}", project, methods=["GET"]),
        Route("/v1/projects/{project}/crons/run", run_cron, methods=["POST"]),
    ]


def _variable_routes(vercel: Vercel) -> list[Route]:
    async def listed(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        target, decrypted = request.query_params.get("target"), request.query_params.get("decrypt") == "true"
        shown = [one for one in vercel.variables.values() if target is None or target in one.target]
        return JSONResponse({"envs": [one.view(decrypted=decrypted) for one in shown]})

    async def create(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        body, upsert = await _body(request), request.query_params.get("upsert") == "true"
        made, failed = _create_all(vercel, body if isinstance(body, list) else [body], upsert=upsert)
        views = [one.view(decrypted=False) for one in made]
        created = views if isinstance(body, list) or not views else views[0]
        return JSONResponse({"created": created, "failed": failed}, 201)

    async def one(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        found = vercel.variables.get(request.path_params["id"])
        if found is None:
            raise VercelError(404, "not_found", "The Environment Variable was not found.")
        if request.method == "DELETE":
            del vercel.variables[found.id]
        if request.method == "PATCH":
            _patch(found, await _body(request))
        return JSONResponse(found.view(decrypted=request.method == "GET"))

    async def delete_several(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        gone = [vercel.variables.pop(each, None) for each in (await _body(request)).get("ids", [])]
        return JSONResponse({"deleted": len([each for each in gone if each]), "ids": [e.id for e in gone if e]})

    several, single = "/v10/projects/{project}/env", "/{version}/projects/{project}/env/{id}"
    return [
        Route(several, listed, methods=["GET"]),
        Route("/v9/projects/{project}/env", listed, methods=["GET"]),
        Route(several, create, methods=["POST"]),
        Route("/v1/projects/{project}/env", delete_several, methods=["DELETE"]),
        Route(single, one, methods=["GET", "PATCH", "DELETE"]),
    ]


def _create_all(vercel: Vercel, wanted: list[Json], *, upsert: bool) -> tuple[list[Variable], list[Json]]:
    """Create what can be created; the rest comes back as failed, and the reply is a 201 all the same."""
    made, failed = [], []
    for item in wanted:
        _validate(item)
        taken = any(vercel.variable(item["key"], target) for target in _targets(item))
        if taken and not upsert:
            message = "Another Environment Variable with the same Name and Environment exists in your project."
            failed.append({"error": {"code": "ENV_CONFLICT", "message": message, "envVarKey": item["key"]}})
            continue
        made.append(_store(vercel, item))
    return made, failed


def _validate(item: Json) -> None:
    if missing := [name for name in REQUIRED if not item.get(name) and item.get(name) != ""]:
        raise VercelError(400, "bad_request", f"Invalid request: missing required property `{missing[0]}`.")
    if item["type"] not in TYPES:
        raise VercelError(400, "bad_request", f"Invalid request: `type` should be one of {', '.join(TYPES)}.")


def _targets(item: Json) -> list[str]:
    return [item["target"]] if isinstance(item["target"], str) else list(item["target"])


def _store(vercel: Vercel, item: Json) -> Variable:
    found = next((one for target in _targets(item) if (one := vercel.variable(item["key"], target))), None)
    if found is None:
        found = Variable(item["key"], item["value"], item["type"], _targets(item))
        vercel.variables[found.id] = found
    _patch(found, item)
    return found


def _patch(found: Variable, change: Json) -> None:
    for name in ("key", "value", "type", "comment"):
        setattr(found, name, change.get(name, getattr(found, name)))
    if "target" in change:
        found.target = _targets(change)
    found.updated = milliseconds()


def _deployment_routes(vercel: Vercel) -> list[Route]:
    async def listed(request: Request) -> Response:
        asked = request.query_params
        _admit(vercel, request, asked.get("projectId"))
        states = asked["state"].split(",") if "state" in asked else None
        found = [
            one.view()
            for one in reversed(vercel.deployments)
            if asked.get("target") in (None, one.target)
            and (states is None or one.state in states)
            and int(asked.get("since", 0)) <= one.created <= int(asked.get("until", 1 << 60))
        ]
        shown = found[: int(asked.get("limit", 20))]
        return JSONResponse({"deployments": shown, "pagination": {"count": len(shown), "next": None, "prev": None}})

    async def one(request: Request) -> Response:
        _admit(vercel, request)
        return JSONResponse(vercel.deployment(request.path_params["deployment"]).detail())

    async def create(request: Request) -> Response:
        _admit(vercel, request)
        body = await _body(request)
        if body.get("name") != vercel.world.names.vercel_project:
            raise VercelError(400, "bad_request", "Invalid request: missing required property `name`.")
        if "deploymentId" not in body:
            raise VercelError(400, "missing_files", "The rehearsal can only redeploy: name a `deploymentId`.")
        previous = vercel.deployment(body["deploymentId"])
        made = vercel.deploy(commit=previous.commit)
        made.crons, made.target = previous.crons, body.get("target")
        return JSONResponse(made.detail())

    async def runtime_logs(request: Request) -> Response:
        _admit(vercel, request, request.path_params["project"])
        found = vercel.deployment(request.path_params["deployment"])
        return StreamingResponse(_follow(vercel, found.id), media_type="application/stream+json")

    return [
        Route("/v6/deployments", listed, methods=["GET"]),
        Route("/v7/deployments", listed, methods=["GET"]),
        Route("/v13/deployments", create, methods=["POST"]),
        Route("/v13/deployments/{deployment}", one, methods=["GET"]),
        Route("/v1/projects/{project}/deployments/{deployment}/runtime-logs", runtime_logs, methods=["GET"]),
    ]


async def _follow(vercel: Vercel, deployment: str) -> AsyncIterator[str]:
    """The lines of a deployment's log, and those to come, until the client has had enough."""
    sent = 0
    while not vercel.world.closing.is_set():
        lines = [line for line in list(vercel.logs) if line["deploymentId"] == deployment]
        for line in lines[sent:]:
            yield json.dumps({key: value for key, value in line.items() if key != "deploymentId"}) + "\n"
        sent = len(lines)
        await asyncio.sleep(0.1)
