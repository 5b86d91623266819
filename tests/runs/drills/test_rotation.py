"""Each commit has its part of the drills; the parts of many commits are the whole."""

from __future__ import annotations

from runbook_lib.records import plan
from runbook_lib.runs.drills import rotation
from runbook_lib.runs.drills.cases import cases_of, notebooks
from runbook_lib.runs.drills.mutation import Fate

COMMITS = [f"{number:08x}" for number in range(rotation.CASES)]


def test_the_parts_of_successive_commits_cover_every_case_once_and_none_is_empty():
    for notebook in notebooks():
        parts = [rotation.cases(notebook, commit) for commit in COMMITS]

        assert all(parts)
        if len(cases_of(notebook)) >= rotation.CASES:
            assert sorted(case.name for part in parts for case in part) == sorted(c.name for c in cases_of(notebook))


def test_every_notebooks_mutants_have_their_turn_and_a_commit_always_the_same():
    turns = {rotation.mutants(f"{number:08x}")[0] for number in range(40)}

    assert turns == set(plan.notebooks()) - set(rotation.LONG)
    fates = [Fate("phase_1_paper", "1.5d", f"change {number}", "") for number in range(50)]
    first, again = (list(map(rotation.mutants("abcd1234")[1], fates)) for _ in range(2))
    assert first == again


def test_the_parts_of_many_commits_cover_every_mutant():
    fates = [Fate("phase_1_paper", "1.5d", f"change {number}", "") for number in range(50)]
    picks = [rotation.mutants(f"{number:040x}")[1] for number in range(150)]

    assert all(any(pick(fate) for pick in picks) for fate in fates)


def test_a_run_says_how_many_cases_it_leaves_out():
    every = sum(len(cases_of(notebook)) for notebook in notebooks())
    drilled = sum(len(rotation.cases(notebook, "0" * 8)) for notebook in notebooks())

    assert rotation.sentence("0" * 8).startswith(f"drills of this commit: {drilled} of {every} cases")
    assert f"the {every - drilled} others" in rotation.sentence("0" * 8)


def test_a_checkout_names_its_commit():
    assert len(rotation.commit()) >= 40 and int(rotation.commit(), 16)
