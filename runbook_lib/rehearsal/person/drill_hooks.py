"""Let a drill change the platform directly: run SQL, set variables, keep and restore snapshots."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Self

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.fly.apps import Secret
from runbook_lib.rehearsal.vercel.project import Deployment, Variable
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal
from runbook_lib.rehearsal.world.world import World


@dataclass(frozen=True)
class Switches:
    """The settings that a drill's snapshot keeps besides the database: Vercel's variables and deployments, Fly's
    secrets.
    """

    variables: dict[str, Variable]
    deployments: list[Deployment]
    secrets: dict[str, dict[str, Secret]]  # by app

    @classmethod
    def of(cls, world: World) -> Self:
        """Return a copy of the platform's settings, so that a drill can restore them later."""
        secrets = {name: dict(app.secrets) for name, app in world.fly.apps.items()}
        return cls(deepcopy(world.vercel.variables), deepcopy(world.vercel.deployments), secrets)

    def set_in(self, world: World) -> None:
        """Restore the settings copied for a drill. Fly apps that were made after the copy stay unchanged."""
        world.vercel.variables = deepcopy(self.variables)
        world.vercel.deployments = deepcopy(self.deployments)
        for name, secrets in self.secrets.items():
            world.fly.apps[name].secrets = dict(secrets)


def endpoints(world: World) -> dict[str, Endpoint]:
    """Return the endpoints by which a drill changes the platform directly.

    ``/venue/weights`` tells what each address has spent at the venue so far. ``/sql`` runs a statement as the role
    ``postgres``, which is no superuser and so can read no file and run no program. ``/variables`` sets variables of
    Vercel (null: removed) without a redeploy. ``/snapshots/<name>`` keeps (PUT) or restores (POST) the database and the
    settings outside it. Before a restore all machines are removed, because the restored database does not know them.
    """
    switches: dict[str, Switches] = {}

    def statement(ask: Ask) -> Json:
        try:
            return {"rows": len(world.query(ask.body()["sql"], dsn=world.operator_dsn()))}
        except psycopg.Error as problem:
            raise Refusal(400, str(problem).strip()) from problem

    def variables(ask: Ask) -> Response:
        for key, value in ask.body().items():
            variable = world.vercel.variable(key)
            if value is not None:
                world.vercel.put(key, value, variable.type if variable else "encrypted")
            elif variable is not None:
                del world.vercel.variables[variable.id]
        return Response(status_code=204)

    async def keep(ask: Ask) -> Response:
        switches[ask.parts["name"]] = Switches.of(world)
        await run_in_threadpool(world.database.snapshot, ask.parts["name"])
        return Response(status_code=204)

    async def restore(ask: Ask) -> Response:
        # runners write what they remember: none may outlive the rows it remembers
        await world.fly.close()
        try:
            await run_in_threadpool(world.database.restore, ask.parts["name"])
        except ServiceError as problem:
            raise Refusal(404, str(problem)) from problem
        switches[ask.parts["name"]].set_in(world)
        return Response(status_code=204)

    def weights(_: Ask) -> Json:
        return dict(world.hyperliquid.limits.ever)

    return {
        "POST /sql": statement,
        "GET /venue/weights": weights,
        "PUT /variables": variables,
        "PUT /snapshots/{name}": keep,
        "POST /snapshots/{name}": restore,
    }
