"""A database of our own on a server that is not: made like a new Supabase project, dropped at the end.

For a local Supabase stack, or any Postgres 15 or later whose login may create databases. Roles belong to the whole
server: those it has are kept as they are, missing ones are made by a superuser's login and stay. The refusals of
the Vault show only where ``postgres`` is not a superuser, as on Supabase. The read-only role gets a new password
each time, so of two rehearsals on one server only the later can use it.
"""

from __future__ import annotations

import secrets
from typing import Any, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.postgres import snapshots
from runbook_lib.rehearsal.postgres.cluster import SQL, make_reader, make_roles, make_schemas

OLDEST = 150000  # server_version_num
OWNER, READER = "postgres", "runbook_reader"
ROLES = {OWNER, "anon", "authenticated", "service_role", "authenticator"}
MEMBERS = """
    select format('alter extension supabase_vault add function %s', oid::regprocedure)
    from pg_proc where pronamespace = 'vault'::regnamespace
    union all
    select format('alter extension supabase_vault add %s %s',
      case relkind when 'v' then 'view' else 'table' end, oid::regclass)
    from pg_class where relnamespace = 'vault'::regnamespace and relkind in ('r', 'v')
"""
VAULT, VAULT_VERSION = "supabase_vault", "0.3.1"


class ScratchDatabase:
    """A database with the properties of ``Database``; a context manager that drops it."""

    def __init__(self, address: str, name: str, *, dsn: str, reader_password: str) -> None:
        self._server = address
        self._name = name
        self.dsn = dsn
        self.reader_password = reader_password

    @classmethod
    def make(cls, address: str, *, password: str | None = None, reader_password: str | None = None) -> Self:
        """Make one on the server at ``address`` (a URL with a login).

        Role ``postgres`` gets ``password`` only where we make it; else the database is used with the address's own
        login. Raise ``ServiceError`` if the server is too old or the login may not do what is needed.
        """
        name = f"rehearsal_{secrets.token_hex(6)}"
        reader_password = reader_password or secrets.token_urlsafe(18)
        password = password or secrets.token_urlsafe(18)
        dsn = _addressed(address, name)
        try:
            with psycopg.connect(address, autocommit=True, connect_timeout=10, client_encoding="utf8") as server:
                if OWNER in _prepare(server):
                    _set_password(server, OWNER, password)
                    dsn = _addressed(address, name, OWNER, password)
                _set_password(server, READER, reader_password)
                _create(server, name)
            made = cls(address, name, dsn=dsn, reader_password=reader_password)
            made._fill()
        except psycopg.Error as problem:
            raise ServiceError(f"cannot prepare a database on the server at {_bare(address)}: {problem}") from None
        return made

    def _fill(self) -> None:
        try:
            with psycopg.connect(self.admin_dsn, autocommit=True) as database:
                make_schemas(database)
                _vault(database)
        except (psycopg.Error, ServiceError):
            self.stop()
            raise

    @property
    def url(self) -> str:
        """Address without a password."""
        return _bare(self.dsn)

    @property
    def password(self) -> str:
        """The password of the login that ``url`` names, or nothing."""
        return unquote(urlsplit(self.dsn).password or "")

    @property
    def reader_dsn(self) -> str:
        """Address with the password of the read-only role."""
        return _addressed(self._server, self._name, READER, self.reader_password)

    @property
    def admin_dsn(self) -> str:
        """Address with the login the server was given with."""
        return _addressed(self._server, self._name)

    @property
    def pid(self) -> None:
        """The server is not ours to end."""
        return None

    def stop(self) -> None:
        """Drop the database."""
        with psycopg.connect(self._server, autocommit=True, connect_timeout=10) as server:
            snapshots.drop(server, self._name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _prepare(server: psycopg.Connection[Any]) -> set[str]:
    """See that the server is new enough and has every role; the roles we had to make."""
    if server.info.server_version < OLDEST:
        raise ServiceError(f"the server is Postgres {server.info.server_version // 10000}: 15 or later is needed")
    there = {row[0] for row in server.execute("select rolname from pg_roles")}
    missing = ROLES - there
    if _superuser(server):
        make_roles(server)
    elif missing:
        names = ", ".join(sorted(missing))
        raise ServiceError(f"the server has no role {names}, and {server.info.user} cannot make it")
    make_reader(server)
    return missing


def _create(server: psycopg.Connection[Any], name: str) -> None:
    owner = OWNER if _superuser(server) else server.info.user
    server.execute(
        sql.SQL("create database {} owner {} template template0 encoding 'UTF8'").format(
            sql.Identifier(name), sql.Identifier(owner)
        )
    )


def _vault(database: psycopg.Connection[Any]) -> None:
    """Give the database the server's own Vault; where it has none, the stand-in, entered as an extension."""
    if database.execute("select from pg_available_extensions where name = %s", [VAULT]).fetchone() is not None:
        database.execute("create extension if not exists supabase_vault with schema vault")
    elif _superuser(database):
        database.execute((SQL / f"{VAULT}--{VAULT_VERSION}.sql").read_bytes())
        database.execute(
            "insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) values ("
            "pg_nextoid('pg_extension', 'oid', 'pg_extension_oid_index'), "
            "%s, 'postgres'::regrole, 'vault'::regnamespace, false, %s)",
            [VAULT, VAULT_VERSION],
        )
        for (statement,) in database.execute(MEMBERS).fetchall():
            database.execute(statement.encode())
    else:
        raise ServiceError(f"the server has no {VAULT}, and {database.info.user} is no superuser, who could stand in")


def _superuser(connection: psycopg.Connection[Any]) -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def _set_password(server: psycopg.Connection[Any], role: str, password: str) -> None:
    server.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password)))


def _addressed(address: str, database: str, role: str | None = None, password: str = "") -> str:
    """``address`` with another database and, if given, another login."""
    parts = urlsplit(address)
    login, _, place = parts.netloc.rpartition("@")
    if role is not None:
        login = f"{role}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{place}" if login else place, path=f"/{database}"))


def _bare(address: str) -> str:
    """``address`` without its password."""
    parts = urlsplit(address)
    login, _, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{place}" if user else place))
