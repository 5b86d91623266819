"""Rows that nobody judges: shown with their command, whole, and a frame like any other."""

from __future__ import annotations

from runbook_lib.steps.display.dataframe import Frame


def frame(*rows, command="select 1;"):
    made = Frame(list(rows))
    made.attrs["command"] = command
    return made


def test_a_frame_shows_its_command_and_every_value_whole():
    message = "password authentication failed for user postgres, and then something that stands at the end"
    page = frame({"message": message, "rule": None, "usd": 1.5})._repr_html_()
    assert message in page and "1.5" in page and "NaN" not in page and "None" not in page
    assert page.index("select") < page.index(message) and "mathjax_ignore" in page


def test_what_has_no_rows_says_so():
    assert "no rows" in frame()._repr_html_()


def test_what_is_computed_from_it_is_an_ordinary_frame():
    found = frame({"n": 2}, {"n": 3})
    assert type(found[found["n"] > 2]).__name__ == "DataFrame" and found["n"].sum() == 5
