"""A profile is chosen once: by the option, else by RUNBOOK_PROFILE, else by ./runbook use."""

from __future__ import annotations

import pytest

from runbook_lib.cli import main  # noqa: F401 - it has every command
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError
from runbook_lib.settings import choice


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(choice, "FILE", tmp_path / "profile")
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    return tmp_path / "profile"


def test_nobody_has_chosen():
    assert choice.chosen() is None


def test_the_option_wins_over_the_variable_and_the_variable_over_what_is_remembered(monkeypatch):
    choice.remember("one")
    assert choice.chosen() == ("one", "./runbook use")
    monkeypatch.setenv(choice.VARIABLE, "two")
    assert choice.chosen() == ("two", "RUNBOOK_PROFILE")
    assert choice.chosen("three") == ("three", "--profile")


def test_an_empty_file_chooses_nothing(file):
    file.write_text("\n")
    assert choice.chosen() is None


def test_a_choice_that_cannot_be_read_or_noted_says_so(file):
    file.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        choice.chosen()
    with pytest.raises(ConfigError, match="cannot be written"):
        choice.remember("one")


@pytest.mark.parametrize(
    ("words", "carried"),
    [
        ("It spreads: ./runbook halt --all, at once.", "It spreads: ./runbook halt --profile live --all, at once."),
        ("`./runbook run rotate_secret`.", "`./runbook run --profile live rotate_secret`."),
        (
            "./runbook status, then ./runbook open phase_1",
            "./runbook status --profile live, then ./runbook open --profile live phase_1",
        ),
        ("./runbook unhalt --profile other --yes", "./runbook unhalt --profile other --yes"),
        ("./runbook resume RECORD; ./runbook undo RECORD", "./runbook resume RECORD; ./runbook undo RECORD"),
        ("./runbook rehearse --keep", "./runbook rehearse --keep"),
        ("runbooks run and halt", "runbooks run and halt"),
    ],
)
def test_a_printed_command_names_the_profile_it_needs(words, carried):
    assert choice.addressed(words, "live") == carried
    assert choice.addressed(carried, "rehearsal") == carried


def test_every_command_that_goes_where_a_profile_says_is_known():
    """But for the list of records, which --profile only makes shorter."""
    takes = {name for name, command in cli.commands.items() if any("--profile" in p.opts for p in command.params)}

    assert {name for name in cli.commands if choice.UNADDRESSED.match(f"./runbook {name}")} == takes - {"records"}
