"""Each mutant of a statement has one thing changed, and is SQL still."""

from __future__ import annotations

from runbook_lib.runs.drills.sql_mutants import mutants

STATEMENT = """
    select id, data ->> 'size' as size from public.things t join public.owners o on o.id = t.owner
    where t.owner = %(owner)s and t.at between %(since)s and %(until)s and kind in ('red', 'blue')
      and (status <> 'gone' or tries >= 3) order by at limit 1
"""


def changed() -> dict[str, str]:
    return {name: " ".join(statement.split()) for name, statement in mutants(STATEMENT)}


def test_each_condition_is_dropped_and_a_between_is_one_condition():
    dropped = {name: text for name, text in changed().items() if name.startswith("dropped")}

    assert len(dropped) == 5
    assert "on true where" in dropped["dropped: o.id = t.owner"]
    assert "%(owner)s and kind in" in dropped["dropped: t.at between %(since)s and %(until)s"]
    assert "'blue') order by" in dropped["dropped: (status <> 'gone' or tries >= 3)"]


def test_each_comparison_is_turned():
    turned = [text for name, text in changed().items() if name.startswith("turned")]

    assert any("on o.id <> t.owner" in text for text in turned)
    assert any("status = 'gone'" in text for text in turned)
    assert any("tries < 3" in text for text in turned)
    assert not any("data -< 'size'" in text or "->> 'size'" not in text for text in turned)


def test_each_name_is_misspelt_and_each_item_of_a_list_left_out():
    found = changed()

    assert "'redx', 'blue'" in found["misspelt: 'red'"] and "->> 'sizex'" in found["misspelt: 'size'"]
    assert "in ('blue')" in found["delisted: 'red'"] and "in ('red')" in found["delisted: 'blue'"]


def test_a_number_is_moved_tenfold():
    assert any("tries >= 30" in text for text in changed().values())
    assert any("limit 10" in text for text in changed().values())


def test_a_text_that_names_nothing_is_left_alone():
    statement = "select date_trunc('month', now(), 'UTC') - interval '5 minutes', coalesce(a, 'none')"

    assert [name for name, _ in mutants(statement)] == ["misspelt: 'none'"]
