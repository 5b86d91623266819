"""What a statement leaves out is put beside our rows, so that a condition that is gone says something else."""

from __future__ import annotations

import pytest

from runbook_lib.commands.command import Sql, sql
from runbook_lib.runs.drills import sql_mutants
from runbook_lib.runs.drills.spoiled_rows import Spoiling
from tests.core_fixtures import connect

OURS = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def asked(running, table) -> Sql:
    with connect(running) as connection:
        connection.execute(f"insert into public.{table} values ('{OURS}', 'red')")
    return sql(f"select id from public.{table} where id = %(id)s and word in ('red', 'blue')", id=OURS)


def test_every_change_of_a_statement_answers_otherwise_to_some_change_of_the_rows(copies, asked):
    copies.hold(copies.take([asked]))
    changes = Spoiling(copies, [asked], []).changes()

    def answers(statement: str) -> list[object]:
        written = copies.written(Sql(statement, asked.values))
        return [copies.answers(change, [written]) for change in changes]

    right = answers(asked.statement)
    for name, changed in sql_mutants.mutants(asked.statement):
        assert answers(changed) != right, name


def test_an_empty_table_gets_first_rows(copies, table):
    empty = sql(f"select id from public.{table} where word = 'red'")
    copies.hold(copies.take([empty]))

    found = [copies.answers(change, [copies.written(empty)]) for change in Spoiling(copies, [empty], []).changes()]

    assert any(answers and answers[0].rows for answers in found)


def test_the_pairs_are_the_same_at_every_run(copies, asked):
    copies.hold(copies.take([asked]))
    spoiling = Spoiling(copies, [asked], [])

    assert list(spoiling.pairs()) == list(spoiling.pairs())
