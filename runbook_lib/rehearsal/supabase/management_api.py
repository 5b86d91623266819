"""Serve the part of Supabase's Management API that the checks and the password reset need (facts 3.5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql
from starlette.applications import Starlette

from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application
from runbook_lib.rehearsal.world.world import World

CUT = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and pid <> pg_backend_pid()"
SERVICES = ("db", "auth", "rest", "pooler", "realtime", "storage")


class Supabase:
    """The Supabase project that the dashboard shows.

    ``pitr`` says whether point-in-time recovery is on, and ``backups`` says whether there are backups.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.pitr = True
        self.backups = True
        self.created = datetime.now(UTC)

    def project(self) -> Json:
        """Return Supabase's project in the API's form, with the version of the database server."""
        version = self.world.query("show server_version")[0]["server_version"]
        reference = self.world.names.supabase_ref
        host, engine = f"db.{reference}.supabase.co", version.split(".")[0]
        return {
            "id": reference, "ref": reference, "name": "agentic-trading", "region": "ap-northeast-1",
            "status": "ACTIVE_HEALTHY", "created_at": self.created.isoformat(),
            "database": {"host": host, "version": version, "postgres_engine": engine, "release_channel": "ga"},
        }  # fmt: skip

    def health(self, service: str) -> Json:
        """Return the health of a Supabase service. It is healthy if the database answers a query."""
        try:
            self.world.query("select 1")
        except psycopg.OperationalError as problem:
            return {"name": service, "status": "UNHEALTHY", "healthy": False, "error": str(problem)}
        return {"name": service, "status": "ACTIVE_HEALTHY", "healthy": True}

    def restorable(self) -> Json:
        """Return the Supabase project's backups, newest first, and whether point-in-time recovery is on."""
        last = self.created - timedelta(hours=6)
        backup = {"is_physical_backup": True, "status": "COMPLETED", "inserted_at": last.isoformat()}
        physical = {"latest_physical_backup_date_unix": int(last.timestamp())}
        return {
            "region": "ap-northeast-1", "walg_enabled": True, "pitr_enabled": self.pitr,
            "backups": [backup] if self.backups else [], "physical_backup_data": physical if self.backups else {},
        }  # fmt: skip

    def reset_password(self, password: str) -> None:
        """Give the role ``postgres`` a new password and end its connections, as Supabase's API does."""
        change = sql.SQL("alter role postgres with password {}").format(sql.Literal(password))
        with self.world.connect() as connection:
            connection.execute(change)
            connection.execute(CUT)
        self.world.change_secret("SUPABASE_DB_PASSWORD", password)


def app(supabase: Supabase) -> Starlette:
    """Serve Supabase's Management API, that is, the HTTP API of api.supabase.com."""
    world = supabase.world

    def admit(ask: Ask) -> None:
        if ask.bearer != world.secret("SUPABASE_ACCESS_TOKEN"):
            raise Refusal(401, "Unauthorized")
        if ask.parts["ref"] != world.names.supabase_ref:
            raise Refusal(404, "Project not found")

    def health(ask: Ask) -> list[Json]:
        wanted = [name for part in ask.query.getlist("services") for name in part.split(",")] or ["db"]
        if unknown := [name for name in wanted if name not in SERVICES]:
            raise Refusal(400, f"services: Invalid option {unknown[0]!r}")
        return [supabase.health(name) for name in wanted]

    def password(ask: Ask) -> Json:
        wanted = ask.body().get("password")
        if not isinstance(wanted, str) or len(wanted) < 4:
            raise Refusal(400, "password: String must contain at least 4 character(s)")
        supabase.reset_password(wanted)
        return {"message": "Successfully updated database password"}

    endpoints: dict[str, Endpoint] = {
        "GET /v1/projects/{ref}": lambda _: supabase.project(),
        "GET /v1/projects/{ref}/health": health,
        "GET /v1/projects/{ref}/database/backups": lambda _: supabase.restorable(),
        "PATCH /v1/projects/{ref}/database/password": password,
    }
    return application("supabase", endpoints, admit=admit)
