"""What a drill does to the platform behind its back: statements as superuser, states kept and brought back."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Self

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.fly import Secret
from runbook_lib.rehearsal.vercel import Deployment, Variable
from runbook_lib.rehearsal.world import World

__all__ = ["routes"]


@dataclass(frozen=True)
class Switches:
    """What is set outside the database: Vercel's variables and deployments, Fly's secrets."""

    variables: dict[str, Variable]
    deployments: list[Deployment]
    secrets: dict[str, dict[str, Secret]]  # by app

    @classmethod
    def of(cls, world: World) -> Self:
        """As it is now."""
        secrets = {name: dict(app.secrets) for name, app in world.fly.apps.items()}
        return cls(deepcopy(world.vercel.variables), list(world.vercel.deployments), secrets)

    def set_in(self, world: World) -> None:
        """As it was; apps made since stay."""
        world.vercel.variables = deepcopy(self.variables)
        world.vercel.deployments = list(self.deployments)
        for name, secrets in self.secrets.items():
            world.fly.apps[name].secrets = dict(secrets)


def routes(world: World) -> list[Route]:
    """``/sql`` runs a statement, ``/snapshots/<name>`` keeps (PUT) or brings back (POST) the database and the switches.

    A database that is brought back knows nothing of the machines there are now: they are removed first.
    """
    switches: dict[str, Switches] = {}

    async def statement(request: Request) -> Response:
        try:
            found = await run_in_threadpool(world.query, (await request.json())["sql"])
        except psycopg.Error as error:
            return JSONResponse({"error": str(error).strip()}, 400)
        return JSONResponse({"rows": len(found)})

    async def keep(request: Request) -> Response:
        switches[request.path_params["name"]] = Switches.of(world)
        await run_in_threadpool(world.database.snapshot, request.path_params["name"])
        return Response(status_code=204)

    async def restore(request: Request) -> Response:
        await world.fly.close()
        try:
            await run_in_threadpool(world.database.restore, request.path_params["name"])
        except ServiceError as error:
            return JSONResponse({"error": str(error)}, 404)
        switches[request.path_params["name"]].set_in(world)
        return Response(status_code=204)

    return [
        Route("/sql", statement, methods=["POST"]),
        Route("/snapshots/{name}", keep, methods=["PUT"]),
        Route("/snapshots/{name}", restore, methods=["POST"]),
    ]
