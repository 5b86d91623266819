"""Serve the part of Supabase's Management API that our checks, a password reset and ``supabase link`` use."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
from psycopg import sql
from starlette.applications import Starlette
from starlette.responses import JSONResponse

from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application
from runbook_lib.rehearsal.world.world import World

CUT = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and pid <> pg_backend_pid()"
ORGANIZATION = "qrstabcdefghijklmnop"
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
            "organization_id": ORGANIZATION, "organization_slug": ORGANIZATION,
            "status": "ACTIVE_HEALTHY", "created_at": self.created.isoformat(),
            "database": {"host": host, "version": version, "postgres_engine": engine, "release_channel": "ga"},
        }  # fmt: skip

    def keys(self) -> list[Json]:
        """Return the Supabase project's keys as the API lists them."""
        kinds = (("publishable", "NEXT_PUBLIC_SUPABASE_ANON_KEY"), ("secret", "SUPABASE_SERVICE_ROLE_KEY"))
        return [{"id": kind, "type": kind, "name": "default", "api_key": self.world.secret(key)} for kind, key in kinds]

    def poolers(self) -> list[Json]:
        """Return where the session pooler of Supabase's project listens, and the name with which ``postgres`` logs in
        there.
        """
        user = self._admit("postgres", self.world.secret("SUPABASE_DB_PASSWORD"))
        address = urlsplit(self.world.database.url)
        host, port = address.hostname, address.port
        string = f"postgresql://{user}:[YOUR-PASSWORD]@{host}:{port}/postgres"
        return [{
            "identifier": self.world.names.supabase_ref, "database_type": "PRIMARY", "is_using_scram_auth": True,
            "db_user": user, "db_host": host, "db_port": port, "db_name": "postgres", "pool_mode": "session",
            "connection_string": string, "connectionString": string,
            "default_pool_size": 15, "max_client_conn": 200,
        }]  # fmt: skip

    def login_role(self) -> Json:
        """Make a role with which Supabase's command line can log in without the database password."""
        role, password = "cli_login_postgres", secrets.token_hex(16)
        self._admit(role, password)
        return {"role": role, "password": password, "ttl_seconds": 300}

    def _admit(self, role: str, password: str) -> str:
        """Let a role log in with the name that Supabase's session pooler demands for it. Return that name.

        A session with that name acts as ``postgres``.
        """
        user = f"{role}.{self.world.names.supabase_ref}"
        name = sql.Identifier(user)
        with self.world.connect() as connection:
            if not connection.execute("select from pg_roles where rolname = %s", [user]).rowcount:
                connection.execute(sql.SQL("create role {} login in role postgres").format(name))
                connection.execute(sql.SQL("alter role {} set role = 'postgres'").format(name))
            connection.execute(sql.SQL("alter role {} password {}").format(name, sql.Literal(password)))
        return user

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
        if ask.parts.get("ref", world.names.supabase_ref) != world.names.supabase_ref:
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
        "GET /v1/projects": lambda _: [supabase.project()],
        "GET /v1/projects/{ref}/api-keys": lambda _: supabase.keys(),
        "GET /v1/projects/{ref}/config/database/pooler": lambda _: supabase.poolers(),
        "GET /v1/projects/{ref}": lambda _: supabase.project(),
        "GET /v1/projects/{ref}/health": health,
        "GET /v1/projects/{ref}/database/backups": lambda _: supabase.restorable(),
        "PATCH /v1/projects/{ref}/database/password": password,
        "POST /v1/projects/{ref}/cli/login-role": lambda _: JSONResponse(supabase.login_role(), 201),
    }
    return application("supabase", endpoints, admit=admit)
