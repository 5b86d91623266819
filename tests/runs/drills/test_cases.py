"""Cases are read whole or refused by name, and chosen by notebook or by name."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.runs.drills import cases
from runbook_lib.runs.drills.cases import NOTHING, cases_of, chosen, notebooks, undisturbed

NOTEBOOK = "phase_0_platform_prep"


@pytest.fixture
def write(monkeypatch, tmp_path):
    monkeypatch.setattr(cases, "FOLDER", tmp_path)
    return (tmp_path / f"{NOTEBOOK}.yaml").write_text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{name: x, step: 0.1a, says: y, sqll: []}", "unknown key 'sqll': did you mean 'sql'"),
        ("{name: x, step: 0.1zz, says: y}", r"no step '0\.1zz'"),
        ("{name: x, step: 0.1a, says: y, before: 0.9x}", r"no step '0\.9x'"),
        ("{name: x, step: 0.1a, says: y}, {name: x, step: 0.1b, says: y}", "two cases are named 'x'"),
    ],
)
def test_what_is_written_wrong_is_refused_by_name(write, text, complaint):
    write(f"cases: [{text}]")

    with pytest.raises(ConfigError, match=complaint):
        cases_of(NOTEBOOK)


def test_what_holds_for_every_case_holds_unless_it_says_otherwise(write):
    write("every: {anew: true, before: 0.1b}\ncases: [{name: x, step: 0.1c, says: y, before: 0.1c}]")

    [one] = cases_of(NOTEBOOK)

    assert (one.anew, one.before) == (True, "0.1c")


def test_a_notebook_chosen_by_its_beginning_is_also_run_undisturbed():
    assert [one.name for one in chosen(["phase_0"])] == [NOTHING, *(one.name for one in cases_of(NOTEBOOK))]


def test_a_notebook_that_only_names_causes_is_not_run_where_there_is_none():
    assert undisturbed("diagnose_boot") == []


def test_without_names_every_case_of_every_notebook_is_chosen():
    assert {one.notebook for one in chosen([])} == set(notebooks())


def test_a_case_is_chosen_by_its_name_once():
    assert [one.step for one in chosen(["Vault missing", "vault Missing"])] == ["0.1ha"]


def test_a_name_that_is_neither_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="no notebook or case 'vault mising': did you mean 'Vault missing'"):
        chosen(["vault mising"])


def test_no_case_of_the_first_day_restores_the_database_and_so_removes_the_runner_that_the_others_watch():
    assert [case.name for case in cases_of("phase_4_first_day") if case.restored or case.anew] == []
