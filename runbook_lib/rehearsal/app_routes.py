"""The routes of Fly's Machines API that concern apps, their secrets and their tokens (facts 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.host import FlyError
from runbook_lib.rehearsal.machine_routes import body_of, seconds

if TYPE_CHECKING:
    from runbook_lib.rehearsal.fly import Fly

DEFAULT_EXPIRY = 20 * 365 * 86400.0  # seconds: a deploy token made without one (C10)


def routes(fly: Fly) -> list[Route]:
    """Everything below ``/v1`` that is not a machine."""

    async def list_apps(request: Request) -> Response:
        wanted = request.query_params.get("org_slug", fly.organization)
        found = [one.view() for one in fly.apps.values() if one.org_slug == wanted]
        return JSONResponse({"apps": found, "total_apps": len(found)})

    async def create_app(request: Request) -> Response:
        body = await body_of(request)
        made = fly.create_app(str(body.get("name") or body.get("app_name") or ""), body.get("org_slug"))
        return JSONResponse(made.view(), 201)

    async def get_app(request: Request) -> Response:
        return JSONResponse(fly.app(request.path_params["app"]).view())

    async def list_secrets(request: Request) -> Response:
        found = fly.app(request.path_params["app"])
        return JSONResponse({"secrets": [one.view(name) for name, one in sorted(found.secrets.items())]})

    async def set_secrets(request: Request) -> Response:
        body = await body_of(request)
        found = fly.set_secrets(request.path_params["app"], body.get("values") or {})
        listed = [one.view(name) for name, one in sorted(found.secrets.items())]
        version = found.secrets_version
        return JSONResponse({"secrets": listed, "version": version, "Version": version})

    async def one_secret(request: Request) -> Response:
        found, name = fly.app(request.path_params["app"]), request.path_params["name"]
        if request.method == "POST":
            fly.set_secrets(found.name, {name: (await body_of(request)).get("value", "")})
        elif name not in found.secrets:
            raise FlyError(404, f"secret not found: {name}")
        elif request.method == "DELETE":
            fly.set_secrets(found.name, {name: None})
            return JSONResponse({"version": found.secrets_version, "Version": found.secrets_version})
        view = found.secrets[name].view(name) | {"version": found.secrets_version}
        return JSONResponse(view, 201 if request.method == "POST" else 200)

    async def deploy_token(request: Request) -> Response:
        expiry = seconds((await body_of(request)).get("expiry"), DEFAULT_EXPIRY)
        return JSONResponse({"token": f"FlyV1 {fly.deploy_token(request.path_params['app'], expiry)}"})

    async def current_tokens(_: Request) -> Response:
        return JSONResponse({"tokens": [{"token_id": fly.organization, "org_slug": fly.organization}]})

    return [
        Route("/v1/apps", list_apps, methods=["GET"]),
        Route("/v1/apps", create_app, methods=["POST"]),
        Route("/v1/apps/{app}", get_app, methods=["GET"]),
        Route("/v1/apps/{app}/secrets", list_secrets, methods=["GET"]),
        Route("/v1/apps/{app}/secrets", set_secrets, methods=["POST"]),
        Route("/v1/apps/{app}/secrets/{name}", one_secret, methods=["GET", "POST", "DELETE"]),
        Route("/v1/apps/{app}/deploy_token", deploy_token, methods=["POST"]),
        Route("/v1/tokens/current", current_tokens, methods=["GET"]),
    ]
