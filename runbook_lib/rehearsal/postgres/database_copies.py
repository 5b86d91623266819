"""Copy a database within its server. This is the quickest way to keep a state and to restore it.

The functions need a superuser's connection in autocommit mode, and take 0.05 s for a platform with little data.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import errors, sql


def copy(connection: psycopg.Connection[Any], source: str, target: str, *, owner: str = "postgres") -> None:
    """Copy the database ``source`` to ``target``. Remove an existing database ``target`` first.

    Postgres copies a database only while nobody else uses it. So all other sessions are ended, and new connections are
    refused until the copy is done.
    """
    make = sql.SQL("create database {} template {} owner {}").format(
        sql.Identifier(target), sql.Identifier(source), sql.Identifier(owner)
    )
    drop(connection, target)
    _limit(connection, source, 0)
    try:
        _disconnect(connection, source)
        with suppress(errors.ObjectInUse):  # a session that began just before the limit took hold
            connection.execute(make)
            return
        _disconnect(connection, source)
        connection.execute(make)
    finally:
        _limit(connection, source, -1)


def replace(connection: psycopg.Connection[Any], source: str, target: str) -> None:
    """Replace the database ``target`` by a copy of ``source``.

    The copy is made before the old database is removed, so ``target`` is missing only for the time of a rename. The
    connection must be to another database than ``target``.
    """
    incoming = f"{target}_incoming"
    copy(connection, source, incoming)
    drop(connection, target)
    connection.execute(
        sql.SQL("alter database {} rename to {}").format(sql.Identifier(incoming), sql.Identifier(target))
    )


def drop(connection: psycopg.Connection[Any], name: str) -> None:
    """Remove a database, or a copy of a database, even while clients are connected."""
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def _limit(connection: psycopg.Connection[Any], name: str, sessions: int) -> None:
    """Limit the sessions in a database to ``sessions``. -1 means no limit. Superusers are not limited."""
    connection.execute(
        sql.SQL("alter database {} with connection limit {}").format(sql.Identifier(name), sql.Literal(sessions))
    )


def _disconnect(connection: psycopg.Connection[Any], name: str) -> None:
    """End all other sessions in a database. Wait for the end of each session, at most 5 seconds."""
    connection.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s and pid <> pg_backend_pid()",
        [name],
    )
