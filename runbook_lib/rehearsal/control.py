"""What a drill does to the platform behind its back: statements as superuser, states kept and brought back."""

from __future__ import annotations

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.world import World

__all__ = ["routes"]


def routes(world: World) -> list[Route]:
    """``/sql`` runs a statement, ``/snapshots/<name>`` keeps (PUT) or brings back (POST) the database.

    A database that is brought back knows nothing of the machines there are now: they are removed first.
    """

    async def statement(request: Request) -> Response:
        try:
            found = await run_in_threadpool(world.query, (await request.json())["sql"])
        except psycopg.Error as error:
            return JSONResponse({"error": str(error).strip()}, 400)
        return JSONResponse({"rows": len(found)})

    async def keep(request: Request) -> Response:
        await run_in_threadpool(world.database.snapshot, request.path_params["name"])
        return Response(status_code=204)

    async def restore(request: Request) -> Response:
        await world.fly.close()
        try:
            await run_in_threadpool(world.database.restore, request.path_params["name"])
        except ServiceError as error:
            return JSONResponse({"error": str(error)}, 404)
        return Response(status_code=204)

    return [
        Route("/sql", statement, methods=["POST"]),
        Route("/snapshots/{name}", keep, methods=["PUT"]),
        Route("/snapshots/{name}", restore, methods=["POST"]),
    ]
