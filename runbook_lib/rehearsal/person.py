"""The person's stand-in: does what a human does in dashboards, web pages and the wallet, by step number or name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal import faults
from runbook_lib.rehearsal.serving import application
from runbook_lib.rehearsal.world import World

Answer = dict[str, Any]


class Person:
    """One human. ``unwilling`` names the gestures this person refuses, for scenarios."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.unwilling: set[str] = set()
        self.performed: list[Answer] = []

    def perform(self, name: str, **parameters: Any) -> Answer:
        """Do a gesture by its name; the answer's ``performed`` says in words what was done."""
        answer = GESTURES[name](self, **parameters)
        self.performed.append({"gesture": name, "at": datetime.now(UTC).isoformat()} | answer)
        return answer

    def backup(self) -> Answer:
        """Look into the dashboard for a backup or point-in-time recovery."""
        found = self.world.supabase.restorable()
        if found["pitr_enabled"]:
            return {"performed": "point-in-time recovery is on", "backups": len(found["backups"])}
        return {"performed": f"{len(found['backups'])} backups are listed", "backups": len(found["backups"])}

    def deploy_token(self, days: float = 180) -> Answer:
        """Vouch that Vercel's Fly token was made for this app alone, with an expiry (C10)."""
        app = self.world.names.fly_app
        expires = datetime.now(UTC) + timedelta(days=days)
        command = f"fly tokens create deploy -a {app} --expiry {days * 24:.0f}h"
        return {"performed": f"made a deploy token: {command}", "expires_at": expires.isoformat()}


Gesture = Callable[..., Answer]
GESTURES: dict[str, Gesture] = {"backup": Person.backup, "deploy_token": Person.deploy_token}
STEPS = {"0.1": "backup", "0.4": "deploy_token"}  # the checklist's numbers; letters after them are ours


def gesture_of(key: str) -> str | None:
    """The gesture a step number (`0.1`, `0.1c`) or a name stands for."""
    return key if key in GESTURES else STEPS.get(key.rstrip("abcdefghijklmnopqrstuvwxyz"))


def app(person: Person) -> Starlette:
    """``POST /gestures/{step or name}`` with an optional JSON object of parameters; and ``/faults``."""

    def known(_: Request) -> Response:
        return JSONResponse({"gestures": sorted(GESTURES), "steps": STEPS, "performed": person.performed})

    async def perform(request: Request) -> Response:
        key = request.path_params["key"]
        name = gesture_of(key)
        if name is None:
            text = f"no gesture for {key!r}: steps {', '.join(STEPS)}; names {', '.join(sorted(GESTURES))}"
            return JSONResponse({"error": text}, 404)
        if name in person.unwilling:
            return JSONResponse({"error": f"the person declined: {name}"}, 409)
        parameters = await request.json() if await request.body() else {}
        try:
            return JSONResponse(await run_in_threadpool(person.perform, name, **parameters))
        except Refused as problem:
            return JSONResponse({"error": str(problem)}, 409)
        except TypeError as problem:
            return JSONResponse({"error": str(problem)}, 400)

    return application(
        Route("/gestures", known, methods=["GET"]),
        Route("/gestures/{key}", perform, methods=["POST"]),
        *faults.routes(person.world.faults),
    )


class Refused(Exception):
    """The page did not let the person do it; the text is what the page said."""
