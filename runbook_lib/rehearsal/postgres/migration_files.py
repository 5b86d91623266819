"""Read migration files and the database's migration history, and apply files as Supabase's command line does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

FILE_NAME = re.compile(r"([0-9]+)_(.*)\.sql")
HISTORY = (
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.schema_migrations ("
    "version text not null primary key, statements text[], name text)",
)
TOKEN = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|\\.|'')*'     # a string with escapes
    | '(?:[^']|'')*'                 # a string
    | "(?:[^"]|"")*"                 # a name
    | \$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$   # a dollar-quoted body
    | --[^\n]*
    | /\*.*?\*/
    | .
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Migration:
    """One file of the migrations folder."""

    version: str
    name: str
    path: Path

    @property
    def statements(self) -> list[str]:
        """Return the statements in the migration file, split where Postgres would split them."""
        return list(split(self.path.read_text()))


def split(text: str) -> Iterator[str]:
    """Yield the statements of a migration's SQL in order, without semicolons.

    A comment is part of the statement that follows.
    """
    statement, code = "", False
    for token in TOKEN.finditer(text):
        if token[0] == ";":
            if code:
                yield statement.strip()
            statement, code = "", False
        else:
            statement += token[0]
            code = code or not (token[0].isspace() or token[0].startswith(("--", "/*")))
    if code:
        yield statement.strip()


def local(folder: Path) -> tuple[list[Migration], list[str]]:
    """Return the migration files in a folder, sorted by version.

    Also return the names of the SQL files there that are no migrations.
    """
    migrations, skipped = [], []
    for path in sorted(folder.glob("*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            migrations.append(Migration(match[1], match[2], path))
        else:
            skipped.append(path.name)
    return sorted(migrations, key=lambda migration: migration.version), skipped


def applied(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the versions in a database's migration history, in order.

    If the database has no history yet, return no versions.
    """
    if connection.execute("select to_regclass('supabase_migrations.schema_migrations')").fetchone() == (None,):
        return []
    rows = connection.execute("select version from supabase_migrations.schema_migrations order by version")
    return [row[0] for row in rows]


def apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    """Run a migration file and add it to the database's migration history, in one transaction.

    The connection must be in autocommit mode. A ``psycopg.Error`` carries a note that says which statement failed.
    """
    for statement in HISTORY:
        connection.execute(statement)
    with connection.transaction():
        for position, statement in enumerate(migration.statements):
            try:
                connection.execute(statement.encode())
            except psycopg.Error as problem:
                problem.add_note(f"At statement: {position}\n{statement}")
                raise
        connection.execute(
            "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
            (migration.version, migration.name, migration.statements),
        )


def apply_all(dsn: str, folder: Path) -> list[str]:
    """Apply every migration that the database's history lacks. Return the versions of the applied migrations.

    States are made with this, where nobody watches a command line push migrations.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        known = set(applied(connection))
        pending = [migration for migration in local(folder)[0] if migration.version not in known]
        for migration in pending:
            apply(connection, migration)
    return [migration.version for migration in pending]
