"""Shapes judge a whole body, before anybody reads rows from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.commands.answer_shapes import DEEPEST, NOT_JSON, Shape, parsed

LIST = Shape("a list of numbers", list[int])
ANY = Shape("anything", object)


def nested(levels):
    body: object = 1
    for _ in range(levels):
        body = [body]
    return body


@given(st.lists(st.integers()))
def test_what_fits_is_an_answer(body):
    assert LIST.complaint(body) is None


@given(st.none() | st.text() | st.dictionaries(st.text(), st.integers()) | st.lists(st.none(), min_size=1))
def test_what_does_not_fit_is_none_and_the_complaint_says_what_was_expected(body):
    assert LIST.complaint(body).startswith("expected a list of numbers: ")


def test_no_json_is_no_answer_but_where_any_text_is():
    assert parsed("<html>") is NOT_JSON is parsed("[" * 1_000_000)
    assert LIST.complaint(NOT_JSON) == "expected a list of numbers, found no JSON"
    assert Shape("a page").complaint(NOT_JSON) is None


@pytest.mark.parametrize(("levels", "good"), [(0, True), (DEEPEST, True), (DEEPEST + 1, False), (100_000, False)])
def test_a_body_is_only_so_deep(levels, good):
    assert (ANY.complaint(nested(levels)) is None) == good


def test_no_body_is_an_answer_only_where_the_shape_says_so():
    assert LIST.complaint(parsed("")) is not None
    assert Shape("nothing much", list[int], empty=True).complaint(parsed("")) is None
