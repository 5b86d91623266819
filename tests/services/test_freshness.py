"""Whether an answer is about now, by its own time, its Date and its Age."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from runbook_lib.services.freshness import ServiceClock

NOW = 1_800_000_000.0


def complaint(clock, *, moment=None, age=None, date=None):
    headers = {"age": age} if age else {}
    headers |= {"date": formatdate(date, usegmt=True)} if date else {}
    return clock.complaint(headers, moment, NOW - 0.1, NOW)


def test_an_answer_of_now_draws_no_complaint():
    assert complaint(ServiceClock(), moment=NOW - 0.5, age="0", date=NOW) is None
    assert complaint(ServiceClock()) is None


@pytest.mark.parametrize("old", [{"age": "600"}, {"date": NOW - 600}, {"moment": NOW - 600}, {"moment": NOW + 600}])
def test_an_answer_of_another_time_draws_one(old):
    assert complaint(ServiceClock(), **old) is not None


def test_an_answers_own_time_is_judged_by_the_services_clock_and_not_by_ours():
    clock = ServiceClock()
    assert complaint(clock, date=NOW - 40, moment=NOW - 40) is None  # its clock, or ours, is 40 s off
    assert "its own time" in complaint(clock, date=NOW - 40, moment=NOW - 70)
    assert "its own time" in complaint(clock, moment=NOW - 70)  # without a Date, by the clock as it was seen


def test_who_was_fresher_before_shows_that_an_answer_is_old():
    clock = ServiceClock()
    assert complaint(clock, date=NOW) is None
    assert "its Date" in complaint(clock, date=NOW - 20)


@pytest.mark.parametrize("header", ["no date", "-1", ""])
def test_a_header_that_cannot_be_read_says_nothing(header):
    assert ServiceClock().complaint({"age": header, "date": header}, None, NOW, NOW) is None
