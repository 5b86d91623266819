"""A mutant of a step is the step with one thing changed, and its name says what."""

from __future__ import annotations

import ast

from runbook_lib.runs.drills.mutants import of_step

ID = "11111111-2222-4333-8444-555555555555"
CHECK = """
phase.check(
    "7.1a", "Ours is well",
    sql("select status from public.things where id = %(id)s and kind = 'ours'", id=ours),
    expect=rows(1) & each(status="well", seconds=between(0, budget)) & entries("name", None, "one", "two"),
    within=budget,
    fix="Look.",
)
"""
ACT = """
phase.act(
    "7.1b", "Mend it", sql("update public.things set kind = 'x'"), expect=reply(200, done=True), fix="No.",
)
"""


def changed(source: str = CHECK, number: str = "7.1a") -> dict[str, str]:
    def value(node: ast.expr):
        try:
            return eval(compile(ast.Expression(node), "cell", "eval"), {"ours": ID, "budget": 5})  # noqa: S307
        except (NameError, TypeError):
            return None

    return {mutant.change: mutant.source for mutant in of_step(source, number, value)}


def test_every_mutant_is_another_source_that_python_reads():
    found = changed()

    assert CHECK not in found.values() and len(set(found.values())) == len(found)
    assert all(ast.parse(source) for source in found.values())


def test_an_expected_value_is_dropped_and_widened():
    found = changed()

    assert "each(seconds=between(0, budget))" in found["each: status dropped"]
    assert "status=not_null, seconds" in found["each: status widened"]


def test_a_name_of_a_list_is_dropped_and_misspelt():
    found = changed()

    assert 'entries("name", None, "two")' in found["entries: 'one' dropped"]
    assert "'twox'" in found["entries: 'two' misspelt"]


def test_a_bound_is_moved_and_each_end_is_taken_away():
    found = changed()

    assert "between(0, 10 * (budget))" in found["between: budget tenfold"]
    assert "between(-1e12, budget)" in found["between: no lower end, up to budget"]
    assert "between(0, 1e12)" in found["between: no upper end, from 0"]


def test_another_id_is_asked_for():
    assert "id='00000000-0000-4000-8000-000000000001'" in changed()["another id: ours"]


def test_a_condition_that_is_dropped_takes_its_value_along():
    assert "where kind = 'ours'\")" in changed()["sql dropped: id = %(id)s"].replace('", )', '")').replace('",)', '")')


def test_the_budget_is_removed():
    assert "within" not in changed()["within removed"]


def test_an_act_is_changed_in_what_it_expects_only():
    found = changed(ACT, "7.1b")

    assert "reply: done dropped" in found and not any(name.startswith("sql") for name in found)
