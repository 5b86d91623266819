"""Supabase's management API, as far as an operator's checks and the password's reset need it (facts 3.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.serving import application
from runbook_lib.rehearsal.world import World

CUT = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and pid <> pg_backend_pid()"
SERVICES = ("db", "auth", "rest", "pooler", "realtime", "storage")


class Supabase:
    """The project as its dashboard knows it. ``pitr`` and ``backups`` say what could be restored."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.status = "ACTIVE_HEALTHY"
        self.pitr = True
        self.backups = True
        self.created = datetime.now(UTC)

    def project(self) -> dict[str, Any]:
        """The project, with the version of the server behind it."""
        version = self.world.query("show server_version")[0]["server_version"]
        reference = self.world.names.supabase_ref
        return {
            "id": reference,
            "ref": reference,
            "name": "agentic-trading",
            "region": "ap-northeast-1",
            "status": self.status,
            "created_at": self.created.isoformat(),
            "database": {
                "host": f"db.{reference}.supabase.co",
                "version": version,
                "postgres_engine": version.split(".")[0],
                "release_channel": "ga",
            },
        }

    def health(self, service: str) -> dict[str, Any]:
        """One service's health; the database is really asked."""
        try:
            self.world.query("select 1")
        except psycopg.OperationalError as problem:
            return {"name": service, "status": "UNHEALTHY", "healthy": False, "error": str(problem)}
        return {"name": service, "status": "ACTIVE_HEALTHY", "healthy": True}

    def restorable(self) -> dict[str, Any]:
        """The backups there are, newest first."""
        last = self.created - timedelta(hours=6)
        backup = {"is_physical_backup": True, "status": "COMPLETED", "inserted_at": last.isoformat()}
        return {
            "region": "ap-northeast-1",
            "walg_enabled": True,
            "pitr_enabled": self.pitr,
            "backups": [backup] if self.backups else [],
            "physical_backup_data": {"latest_physical_backup_date_unix": int(last.timestamp())} if self.backups else {},
        }

    def reset_password(self, password: str) -> None:
        """Give the role a new password and cut every connection it has, as the vendor does."""
        change = sql.SQL("alter role postgres with password {}").format(sql.Literal(password))
        with self.world.connect() as connection:
            connection.execute(change)
            connection.execute(CUT)
        self.world.change_secret("SUPABASE_DB_PASSWORD", password)


def app(supabase: Supabase) -> Starlette:
    """The HTTP of api.supabase.com."""
    world = supabase.world

    def refusal(request: Request) -> Response | None:
        if request.headers.get("authorization") != f"Bearer {world.secret('SUPABASE_ACCESS_TOKEN')}":
            return JSONResponse({"message": "Unauthorized"}, 401)
        if request.path_params["ref"] != world.names.supabase_ref:
            return JSONResponse({"message": "Project not found"}, 404)
        return None

    def project(request: Request) -> Response:
        return refusal(request) or JSONResponse(supabase.project())

    def health(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        wanted = [name for part in request.query_params.getlist("services") for name in part.split(",")] or ["db"]
        if unknown := [name for name in wanted if name not in SERVICES]:
            return JSONResponse({"message": f"services: Invalid option {unknown[0]!r}"}, 400)
        return JSONResponse([supabase.health(name) for name in wanted])

    def backups(request: Request) -> Response:
        return refusal(request) or JSONResponse(supabase.restorable())

    async def password(request: Request) -> Response:
        if refused := refusal(request):
            return refused
        if world.database.pid is None:
            return JSONResponse({"message": "the rehearsal changes no password of a server that is not its own"}, 400)
        wanted = (await request.json()).get("password")
        if not isinstance(wanted, str) or len(wanted) < 4:
            return JSONResponse({"message": "password: String must contain at least 4 character(s)"}, 400)
        await run_in_threadpool(supabase.reset_password, wanted)
        return JSONResponse({"message": "Successfully updated database password"})

    return application(
        Route("/v1/projects/{ref}", project),
        Route("/v1/projects/{ref}/health", health),
        Route("/v1/projects/{ref}/database/backups", backups),
        Route("/v1/projects/{ref}/database/password", password, methods=["PATCH"]),
    )
