"""What is typed arms a button for a while, and only for what it will act on."""

from __future__ import annotations

import pytest

from runbook_lib.steps.display.arming import Field, Word
from tests.core_fixtures import eventually


@pytest.mark.parametrize(
    ("word", "typed", "opens"),
    [
        (Word("7f3c2a10-0000"), "7f3c", True),
        (Word("7f3c2a10-0000"), "7f3c2a", True),
        (Word("7f3c2a10-0000"), "7f3", False),
        (Word("7f3c2a10-0000"), "7f3d", False),
        (Word("7f3c2a10-0000"), "", False),
        (Word("abc"), "abc", True),
        (Word("abc"), "ab", False),
        (Word("production", whole=True), "production", True),
        (Word("production", whole=True), "prod", False),
    ],
)
def test_the_beginning_of_the_name_opens_and_where_it_must_be_whole_the_whole(word, typed, opens):
    assert word.opens(typed) == opens


def test_a_hint_says_what_is_to_be_typed():
    assert Word("7f3c2a10-0000").hint == "to arm it, type 7f3c…"
    assert Word("production", whole=True).hint == "to arm it, type production"


@pytest.fixture
def seen():
    return []


@pytest.fixture
def field(seen):
    word = Word("7f3c2a10")
    return Field(word.hint, word.opens, lambda: seen.append(1), lasts=60.0)


def test_only_what_opens_counts_and_everything_else_is_answered_with_the_hint(field, seen):
    field.box.value = "7f3"
    assert not field.counts and field.note == "to arm it, type 7f3c…"
    field.box.value = " 7f3c "
    assert field.counts and field.note == "armed for 60 s"
    field.box.value = "7f3c9"
    assert not field.counts and len(seen) == 3


def test_what_was_typed_for_one_deployment_arms_no_other(field):
    field.box.value = "7f3c"
    other = Word("9999aaaa")
    field.ask(other.hint, other.opens)
    assert not field.counts and field.box.value == "" and field.box.placeholder == other.hint
    field.ask(other.hint, other.opens)
    field.box.value = "9999"
    field.ask(other.hint, other.opens)
    assert field.counts, "asked for the same again, it stays armed"


def test_the_time_ends_by_itself_and_a_late_timer_decides_nothing(seen):
    field = Field("type it", bool, lambda: seen.append(1), lasts=0.05)
    field.box.value = "x"
    eventually(lambda: field.box.value == "", "the end of its time")
    assert field.note == "no longer armed: type it again"
    field.box.value = "x"
    field._over.cancel()
    eventually(lambda: not field.counts, "its time is over")


def test_without_an_end_it_counts_for_ever():
    field = Field("your initials", bool, lambda: None)
    field.box.value = "AL"
    assert field.counts and field.note == ""


def test_enter_presses(field):
    pressed = []
    field.on_enter(lambda: pressed.append(1))
    field.box._handle_custom_msg({"event": "submit"}, [])
    field.box._handle_custom_msg({"event": "else"}, [])
    assert pressed == [1]
