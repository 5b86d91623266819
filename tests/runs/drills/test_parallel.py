"""Lanes drill for real, in rehearsals of their own; whatever is not caught is a row that says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runbook_lib.runs.drills import parallel
from runbook_lib.runs.drills.cases import cases_of, chosen

ABSENT = "a deployment that is not there"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One fault as it is written, one whose words nobody says, one that cannot be broken, one that breaks nothing."""
    [right] = chosen([ABSENT])
    asked = [
        right,
        replace(right, name="other words", says="words that nobody uses"),
        replace(right, name="no such table", sql=("delete from public.no_such_table",)),
        replace(right, name="too early", before="1.6d", step="1.6d"),
    ]
    return {row.fault: row for row in parallel.rows(asked, 2, tmp_path_factory.mktemp("records"))}


def test_a_fault_that_its_step_names_is_caught_in_its_words(found):
    row = found[ABSENT]

    assert (row.verdict, row.expected, row.noticed) == ("caught", "1.6a", "1.6a")
    assert "copy its id" in row.words and row.seconds > 0 and row.fix


def test_a_fault_that_is_named_in_other_words_is_missed(found):
    assert (found["other words"].verdict, found["other words"].noticed) == ("missed", "1.6a")


def test_a_fault_that_cannot_be_injected_is_missed_and_says_why(found):
    assert found["no such table"].verdict == "missed"
    assert found["no such table"].noticed == "" and found["no such table"].words.startswith("not drilled: ")
    assert "public.no_such_table" in found["no such table"].words


def test_a_complaint_before_anything_is_broken_is_a_false_alarm(found):
    assert (found["too early"].verdict, found["too early"].noticed) == ("false alarm", "1.6a")


def test_a_lane_that_dies_leaves_a_row_that_says_so(tmp_path):
    work = parallel._Work([replace(one, name=str(n)) for n, one in enumerate(chosen([ABSENT]) * 2)])
    pipe, process = parallel._lane(tmp_path)
    assert parallel._heard(pipe, work, {pipe: process}) is None  # it asks, and is given one
    process.kill()

    row = parallel._heard(pipe, work, {pipe: process})

    assert row is not None and (row.verdict, row.words) == ("missed", "the drill's process ended")
    assert [one.name for one in work.rest()] == ["1"]


def test_a_lane_stays_with_its_notebook_and_then_goes_where_most_is_left():
    boot, vault = cases_of("diagnose_boot")[:2], cases_of("phase_0_platform_prep")
    work, [one, other] = parallel._Work([*boot, *vault]), ["lane", "other"]

    first = [work.next(one) for _ in vault]
    moved = work.next(one)

    assert first == vault  # as they are written: some take away what the next ones rest on
    assert moved is not None and moved.notebook == "diagnose_boot"
    assert work.next(other) is not None
    assert work.next(one) is None
