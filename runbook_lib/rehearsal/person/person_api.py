"""Serve the gestures of the person stand-in over HTTP.

The rehearsal's faults and the changes that drills make are served here too.
"""

from __future__ import annotations

import hmac
from dataclasses import asdict

import psycopg
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response

from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal.named_faults import known
from runbook_lib.rehearsal.person import drill_hooks
from runbook_lib.rehearsal.person.gestures import GESTURES, STEPS, Declined, Person
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application
from runbook_lib.rehearsal.world.world import World

DONE = 204


def app(person: Person) -> Starlette:
    """Serve the person's gestures over HTTP (``POST /gestures/{step or name}``), and the faults and `drill_hooks`."""

    def listed(_: Ask) -> Json:
        return {"gestures": sorted(GESTURES), "steps": STEPS, "performed": person.performed}

    def perform(ask: Ask) -> Json:
        key = ask.parts["key"]
        name = key if key in GESTURES else STEPS.get(key.rstrip("abcdefghijklmnopqrstuvwxyz"))
        if name is None:
            text = f"no gesture for {key!r}: steps {', '.join(STEPS)}; names {', '.join(sorted(GESTURES))}"
            raise Refusal(404, text)
        try:
            return person.perform(name, **ask.body())
        except (Declined, psycopg.Error) as problem:  # the person did not, or the platform was not ready
            raise Refusal(409, str(problem)) from problem
        except (KeyError, TypeError) as problem:
            raise Refusal(400, str(problem)) from problem

    endpoints: dict[str, Endpoint] = {"GET /gestures": listed, "POST /gestures/{key}": perform}
    world = person.world

    def admit(ask: Ask) -> None:
        if not hmac.compare_digest(ask.bearer, world.secret("REHEARSAL_TOKEN")):
            raise Refusal(401, "the rehearsal's doors want its token: REHEARSAL_TOKEN of environment.json")

    endpoints |= _http_faults(world) | _named_faults(world) | drill_hooks.endpoints(world)
    return application("person", endpoints, admit=admit)


def _http_faults(world: World) -> dict[str, Endpoint]:
    """Return the endpoints of ``/http-faults``, which list, set and remove HTTP faults.

    A request removes one fault by its id, or all faults.
    """
    faults = world.faults

    async def listed(_: Ask) -> list[Json]:
        return [asdict(fault) for fault in faults.active.values()]

    async def add(ask: Ask) -> Response:
        try:
            return JSONResponse(asdict(faults.add(**ask.body())), 201)
        except (TypeError, ValueError) as problem:
            raise Refusal(400, str(problem)) from problem

    async def clear(_: Ask) -> Response:
        faults.active.clear()
        return Response(status_code=DONE)

    async def remove(ask: Ask) -> Response:
        return Response(status_code=DONE if faults.active.pop(int(ask.parts["id"]), None) else 404)

    return {
        "GET /http-faults": listed,
        "POST /http-faults": add,
        "DELETE /http-faults": clear,
        "DELETE /http-faults/{id:int}": remove,
    }


def _named_faults(world: World) -> dict[str, Endpoint]:
    """Return the endpoints of ``/faults``, which list named faults, put them in force and take them back."""

    def listed(_: Ask) -> list[Json]:
        return [{"name": name, "active": name in world.named_faults.active, **known()[name]} for name in known()]

    def enter(ask: Ask) -> Response:
        try:
            return JSONResponse({"name": ask.parts["name"], **world.named_faults.enter(ask.parts["name"])}, 201)
        except ConfigError as problem:
            raise Refusal(404, str(problem)) from problem

    def leave(ask: Ask) -> Response:
        name = ask.parts["name"]
        return JSONResponse({"name": name}, 200 if world.named_faults.leave(name) else 404)

    return {"GET /faults": listed, "POST /faults/{name}": enter, "DELETE /faults/{name}": leave}
