"""The person's stand-in over HTTP: gestures by step number or name, and the controls of a drill."""

from __future__ import annotations

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal import control, faults, scenarios
from runbook_lib.rehearsal.gestures import GESTURES, STEPS, Person, Refused
from runbook_lib.rehearsal.serving import application


def gesture_of(key: str) -> str | None:
    """The gesture a step number (`0.1`, `0.1c`) or a name stands for."""
    return key if key in GESTURES else STEPS.get(key.rstrip("abcdefghijklmnopqrstuvwxyz"))


def app(person: Person) -> Starlette:
    """``POST /gestures/{step or name}`` with an optional JSON object of parameters; and the controls."""

    def known(_: Request) -> Response:
        return JSONResponse({"gestures": sorted(GESTURES), "steps": STEPS, "performed": person.performed})

    async def perform(request: Request) -> Response:
        key = request.path_params["key"]
        name = gesture_of(key)
        if name is None:
            text = f"no gesture for {key!r}: steps {', '.join(STEPS)}; names {', '.join(sorted(GESTURES))}"
            return JSONResponse({"error": text}, 404)
        parameters = await request.json() if await request.body() else {}
        try:
            return JSONResponse(await run_in_threadpool(person.perform, name, **parameters))
        except (Refused, psycopg.Error) as problem:
            return JSONResponse({"error": str(problem)}, 409)
        except (KeyError, TypeError) as problem:
            return JSONResponse({"error": str(problem)}, 400)

    return application(
        Route("/gestures", known, methods=["GET"]),
        Route("/gestures/{key}", perform, methods=["POST"]),
        *faults.routes(person.world.faults),
        *scenarios.routes(person.world.scenarios),
        *control.routes(person.world),
    )
