"""The proxy in front of the database spoils the statements it is told to, and no others."""

from __future__ import annotations

import time

import psycopg
import pytest

from runbook_lib.rehearsal.postgres.sql_faults import SqlFault, SqlFaults


@pytest.fixture
def proxy(rehearsal):
    with SqlFaults(rehearsal.addresses["database"]) as made:
        yield made


@pytest.fixture
def connection(proxy, rehearsal):
    password = rehearsal.environment["SUPABASE_DB_PASSWORD"]
    with psycopg.connect(proxy.url, password=password, autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error", psycopg.errors.UndefinedTable),
        ("timeout", psycopg.errors.QueryCanceled),
        ("read-only", psycopg.errors.ReadOnlySqlTransaction),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_chosen_statement_is_refused_in_the_servers_words_and_the_next_is_not(proxy, connection, kind, error, inside):
    proxy.fault = SqlFault("pg_class", kind)
    assert connection.execute("select 1").fetchone() == (1,)
    with pytest.raises(error):
        if inside:
            with connection.transaction():
                connection.execute("select count(*) from pg_class", prepare=True)
        else:
            connection.execute("select count(*) from pg_class")
    assert connection.execute("select 2").fetchone() == (2,)


def test_a_lost_connection_is_lost(proxy, connection):
    proxy.fault = SqlFault("pg_class", "lost")
    with pytest.raises(psycopg.OperationalError):
        connection.execute("select count(*) from pg_class")


def test_every_query_takes_longer(proxy, connection):
    proxy.delay = 0.2
    began = time.monotonic()
    connection.execute("select 1")
    assert time.monotonic() - began >= 0.2


def test_an_unknown_fault_names_those_there_are():
    with pytest.raises(ValueError, match="choose one of error, timeout, read-only, hang, lost"):
        SqlFault("", "explode")
