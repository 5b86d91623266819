"""Copies of tables are spoiled where nobody else sees it, and their clock stands still."""

from __future__ import annotations

import pytest

from runbook_lib.commands.command import Sql, sql
from tests.core_fixtures import connect

OURS = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def asked(running, table) -> Sql:
    with connect(running) as connection:
        connection.execute(f"insert into public.{table} values ('{OURS}', 'red')")
    return sql(f"select word, now() as at from public.{table} where id = %(id)s", id=OURS)


def answer(copies, asked, *changes):
    [reply] = copies.answers(changes, [copies.written(asked)])
    return reply


def test_a_copy_answers_as_its_table_did_with_the_clock_of_then(copies, asked):
    copies.hold(copies.take([asked]))

    first, second = answer(copies, asked), answer(copies, asked)

    assert first.value("word") == "red" and first == second


def test_a_change_is_seen_in_its_own_answer_only(copies, asked, table, count):
    copies.hold(copies.take([asked]))

    assert answer(copies, asked, f"delete from pg_temp.{table}").rows == ()
    assert answer(copies, asked).value("word") == "red" and count() == 1


def test_a_copy_takes_what_its_table_refuses_and_tells_what_cannot_be_changed(copies, asked, table):
    copies.hold(copies.take([asked]))

    assert answer(copies, asked, f"update pg_temp.{table} set word = null").value("word") is None
    assert copies.answers([f"update pg_temp.{table} set no_such_column = 1"], [copies.written(asked)]) is None


def test_a_statement_that_is_refused_leaves_the_others_their_answers(copies, asked):
    copies.hold(copies.take([asked]))

    refused, good = copies.answers([], ["select 1 / 0", copies.written(asked)])

    assert "division by zero" in refused.error and good.value("word") == "red"


def test_a_copy_takes_the_newest_rows_by_whatever_name_a_table_has_for_its_time(copies, running, table):
    with connect(running) as connection:
        connection.execute(f"alter table public.{table} add logged_at timestamptz")
        connection.execute(
            f"insert into public.{table} select gen_random_uuid(), 'at ' || n, now() + n * interval '1 minute' "
            "from generate_series(1, 100) n"
        )
    newest = sql(f"select word from public.{table} order by logged_at desc limit 1")

    copies.hold(copies.take([newest]))

    assert answer(copies, newest).value("word") == "at 100"
