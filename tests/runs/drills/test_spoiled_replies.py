"""Copies of replies have one thing wrong each: both sides of every bound, other words, other ids, missing rows."""

from __future__ import annotations

import math

from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import between, each, judge
from runbook_lib.runs.drills.spoiled_replies import ours, spoiled

ID = "11111111-2222-4333-8444-555555555555"
REPLY = Reply(({"id": ID, "seconds": 0.5, "status": "well", "at": "2026-11-27T10:00:00Z", "caps": {"most": 3}},))


def flaws(**options) -> dict[tuple[str, str], Reply]:
    return {(spoil.column, spoil.flaw): bad[0] for spoil, bad in spoiled([REPLY], **options)}


def values(column: str, **options) -> list[object]:
    return [reply.rows[0][column] for (name, _), reply in flaws(**options).items() if name == column]


def test_a_number_is_put_on_both_sides_of_every_bound():
    found = values("seconds", bounds=[0, 1])

    assert -1e-6 in found and 0 in found and 1 in found and 1 + 1e-6 in found
    assert None in found and any(isinstance(value, float) and math.isnan(value) for value in found)


def test_a_bound_that_is_moved_says_something_else_to_a_copy():
    right, moved = each(seconds=between(0, 1)), each(seconds=between(0, 10))
    copies = [bad for _, bad in spoiled([REPLY], bounds=[0, 1])]

    assert any(judge(right, bad).complaint and not judge(moved, bad).complaint for bad in copies)


def test_a_text_becomes_each_word_that_the_step_knows():
    assert {None, "ill", ""} <= set(values("status", words=["ill"]))


def test_an_id_a_time_and_an_inner_value_are_spoiled():
    assert any(value and value != ID and len(str(value)) == len(ID) for value in values("id"))
    assert "2026-10-18T10:00:00+00:00" in values("at")
    assert ("caps.most", "null") in flaws() and ("caps", "without most") in flaws()


def test_rows_are_taken_away_doubled_and_joined_by_strangers():
    found = flaws()

    assert found["", "no row"].rows == () and len(found["", "row 1 twice"].rows) == 2
    assert found["", "a stranger like row 1"].rows[1]["id"] != ID


def test_only_one_reply_is_spoiled_at_a_time():
    for spoil, bad in spoiled([REPLY, REPLY]):
        assert bad[1 - spoil.place] is REPLY


def test_what_is_known_of_others_is_said_of_ours():
    other = ID.replace("1", "9")

    [(_, answer)] = ours(REPLY, ["no id", other])

    assert answer.rows[0]["id"] == other and answer.rows[0]["status"] == "well"
