"""Hold what the stand-ins of one rehearsal share within the platform process."""

from __future__ import annotations

import http.client
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg.rows import dict_row

from runbook_lib.rehearsal.world import processes
from runbook_lib.rehearsal.world.folders import write_json
from runbook_lib.rehearsal.world.names_and_secrets import Names

CALL_TIMEOUT = 30.0  # seconds one part of the platform waits for another


@dataclass
class World:
    """What all stand-ins of one rehearsal share, and the stand-ins themselves."""

    folder: Path
    addresses: dict[str, str]
    secrets: dict[str, str]
    tick: float  # seconds between two decisions of a Skill, unless the Skill says otherwise
    names: Names = field(default_factory=Names)
    closing: threading.Event = field(default_factory=threading.Event)
    database: Any = None
    fly: Any = None
    vercel: Any = None
    web: Any = None
    supabase: Any = None
    openrouter: Any = None
    hyperliquid: Any = None
    person: Any = None
    faults: Any = None
    named_faults: Any = None

    def secret(self, name: str) -> str:
        """Return the current value of one of the rehearsed world's secrets."""
        return self.secrets[name]

    def change_secret(self, name: str, value: str) -> None:
        """Change a secret of the rehearsed world.

        The new value holds for this process and for all that attach to the rehearsal from now on.
        """
        self.secrets[name] = value
        write_json(self.folder / "environment.json", self.secrets)

    def connect(self, dsn: str | None = None) -> psycopg.Connection[dict[str, Any]]:
        """Open a superuser's connection to the world's database.

        The connection stays open when the operator's password changes. With ``dsn``, connect to that address instead.
        """
        return psycopg.connect(
            dsn or self.database.admin_dsn, autocommit=True, row_factory=dict_row, options="-c TimeZone=UTC"
        )

    def operator_dsn(self) -> str:
        """Return the address of the world's database for the role ``postgres``, with the role's current password."""
        return psycopg.conninfo.make_conninfo(self.database.url, password=self.secret("SUPABASE_DB_PASSWORD"))

    def query(
        self, sql: LiteralString, parameters: dict[str, Any] | None = None, *, dsn: str | None = None
    ) -> list[dict[str, Any]]:
        """Run one statement on the world's database over a new connection. Return its rows, if there are any."""
        with self.connect(dsn) as connection:
            cursor = connection.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def call(
        self,
        service: str,
        method: str,
        path: str,
        *,
        body: object = None,
        headers: dict[str, str] | None = None,
        source: str | None = None,
    ) -> tuple[int, Any]:
        """Send a request to another stand-in, as the platform would.

        Return the reply's status, and its JSON or text. ``source`` is the loopback address to send from. Raise
        ``OSError`` if the stand-in does not answer.
        """
        place, bound = urlsplit(self.addresses[service]).netloc, (source, 0) if source else None
        connection = http.client.HTTPConnection(place, timeout=CALL_TIMEOUT, source_address=bound)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            text = reply.read().decode()
            return reply.status, _read(text)
        except http.client.HTTPException as problem:
            raise OSError(f"{service}: {type(problem).__name__} {problem}") from problem
        finally:
            connection.close()

    def record(self, role: str, pid: int) -> None:
        """Record a process of the rehearsed world.

        If this rehearsal cannot end the process, the next rehearsal does.
        """
        processes.record(self.folder, role, pid)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
