"""What came from outside moves no cursor and forges no line."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from runbook_lib.cli import terminal
from runbook_lib.cli.visible import visible

FORGED = (
    "\x1b[1A\x1b[2K0.4i   passed",  # the line above, written over
    "\x1b]8;;https://evil.example\x07the page\x1b]8;;\x07",  # a link that says another address
    "\x9b2J",  # the same in one character
    "\rpassed",
    "\u202edessap",  # read from the right
    "\u200b",
)


@pytest.mark.parametrize("text", FORGED)
def test_no_control_character_is_left(text):
    assert visible(f"a{text}\n\tb").isprintable() is False  # only for the line feed and the tab
    assert visible(f"a{text}b").isprintable()


@pytest.mark.parametrize("text", FORGED)
def test_no_control_character_from_outside_reaches_the_terminal(text, monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr("sys.stdout", written)
    out = terminal.console()
    event = {"event": "outcome", "step": "0.4i", "outcome": "failed", "title": text, "seen": text, "complaint": text}
    terminal.step_printer(out)({**event, "fix": text})
    table = Table("found")
    table.add_row(text)
    out.print(table)
    out.print(text, markup=False)
    assert "".join(written.getvalue().splitlines()).replace("\n", "").isprintable()


def test_ordinary_text_stays_as_it_is():
    assert visible("passed “ok” é 漢字\n") == "passed “ok” é 漢字\n"
