"""Colours change how a command looks, never what it says."""

from __future__ import annotations

from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.steps.display.highlighting import coloured
from tests.steps.display.test_cards import Tags

SQL = "select id from public.deployments where status = 'paused' -- look"
SHELL = 'curl -X POST -H "Authorization: Bearer $TOKEN" http://127.0.0.1/a'


@given(st.one_of(st.text(), st.text().map(lambda text: f"select {text}")))
def test_the_text_is_the_command_to_the_letter(command):
    plain = "".join(c for c in command if c.isprintable() or c == "\n")
    assert Tags(coloured(plain)).words == plain


@pytest.mark.parametrize("command", [SQL, SHELL])
def test_colours_are_in_the_tags_so_that_any_viewer_has_them(command):
    page = coloured(command)
    assert "style=" in page and "class=" not in page and unescape(page) != command


def test_a_command_of_several_kinds_has_no_red_boxes():
    assert "border" not in coloured(f"{SQL}\ncurl -X GET http://127.0.0.1/a \\\n  -H 'x: y'")


def test_sql_and_shell_are_told_apart():
    assert "font-weight: bold" in coloured(SQL).partition("id")[0]
    assert "font-weight: bold" not in coloured(SHELL).partition("curl")[0]
