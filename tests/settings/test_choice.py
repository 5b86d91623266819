"""A profile is chosen once: by the option, else by RUNBOOK_PROFILE, else by ./runbook use."""

from __future__ import annotations

import pytest

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
