"""Start the rehearsal's database: a real Postgres server that looks like a new Supabase project."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.postgres import database_copies
from runbook_lib.rehearsal.postgres.cluster import ADMIN, prepared
from runbook_lib.rehearsal.postgres.server import Server

NAME = "postgres"  # of the database, as on Supabase
READER = "runbook_reader"
SNAPSHOT = "snapshot_"


class Database:
    """The rehearsal's running database, as a context manager that stops the database's server.

    ``password`` is that of the role ``postgres`` (not a superuser), ``reader_password`` that of the read-only role
    ``runbook_reader``.
    """

    def __init__(self, server: Server, *, password: str, reader_password: str, admin_password: str) -> None:
        self._server = server
        self.password = password
        self.reader_password = reader_password
        self._admin_password = admin_password

    @classmethod
    def start(
        cls, folder: Path, *, password: str | None = None, reader_password: str | None = None, timezone: str = "UTC"
    ) -> Self:
        """Start the rehearsed database, with its data in ``folder/postgres`` and its log in ``folder/logs``.

        Passwords that are not given are made up. ``timezone`` is the server's default, which a careful session does not
        rely on. Raise ``ServiceError`` if the server does not start.
        """
        source = prepared()
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        source.copy(folder / "postgres")
        log = folder / "logs" / "postgres.log"
        server = Server(source.programs / "postgres", folder / "postgres", log, settings={"timezone": timezone})
        started = cls(
            server,
            password=password or secrets.token_urlsafe(18),
            reader_password=reader_password or secrets.token_urlsafe(18),
            admin_password=source.password,
        )
        started._change_passwords()
        return started

    @property
    def url(self) -> str:
        """Return the rehearsed database's address for the role ``postgres``, without a password."""
        return self._address("postgres", None)

    @property
    def dsn(self) -> str:
        """Return the rehearsed database's address with the password of the role ``postgres``."""
        return self._address("postgres", self.password)

    @property
    def reader_dsn(self) -> str:
        """Return the rehearsed database's address with the password of the read-only role."""
        return self._address(READER, self.reader_password)

    @property
    def admin_dsn(self) -> str:
        """Return the rehearsed database's address with the superuser's password, which never changes."""
        return self._address(ADMIN, self._admin_password)

    @property
    def port(self) -> int:
        """Return the port on 127.0.0.1 at which the rehearsed database listens."""
        return self._server.port

    @property
    def pid(self) -> int:
        """Return the process id of the rehearsed database's server."""
        return self._server.pid

    def snapshot(self, name: str) -> None:
        """Keep a snapshot of the rehearsed database under ``name``. All clients of the database are disconnected."""
        with self._as_admin(NAME) as connection:
            database_copies.copy(connection, NAME, f"{SNAPSHOT}{name}")

    def restore(self, name: str) -> None:
        """Restore the rehearsed database from the snapshot ``name``. All clients of the database are disconnected.

        Raise ``ServiceError`` if there is no such snapshot.
        """
        if name not in self.snapshots():
            raise ServiceError(f"no snapshot {name!r}: there are {', '.join(self.snapshots()) or 'none'}")
        with self._as_admin(f"{SNAPSHOT}{name}") as connection:
            database_copies.replace(connection, f"{SNAPSHOT}{name}", NAME)

    def snapshots(self) -> list[str]:
        """Return the names of the rehearsed database's snapshots."""
        with self._as_admin(NAME) as connection:
            rows = connection.execute("select datname from pg_database where starts_with(datname, %s)", [SNAPSHOT])
            return sorted(row[0].removeprefix(SNAPSHOT) for row in rows)

    def stop(self) -> None:
        """End the server of the rehearsed database. The database's data stays in the folder."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _change_passwords(self) -> None:
        fresh = secrets.token_urlsafe(24)  # the cached one is known to every rehearsal of this user
        with self._as_admin(NAME) as connection:
            for role, password in (("postgres", self.password), (READER, self.reader_password), (ADMIN, fresh)):
                connection.execute(
                    sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
                )
        self._admin_password = fresh

    def _as_admin(self, database: str) -> psycopg.Connection[Any]:
        return psycopg.connect(self._address(ADMIN, self._admin_password, database), autocommit=True)

    def _address(self, role: str, password: str | None, database: str = NAME) -> str:
        login = role if password is None else f"{role}:{quote(password, safe='')}"
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"
