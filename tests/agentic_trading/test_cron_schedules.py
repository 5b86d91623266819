"""The longest gap of a schedule is the longest one that occurs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, longest_gap

NOW = datetime(2026, 11, 22, 14, 53, 57, tzinfo=UTC)


@st.composite
def field(draw: st.DrawFn, low: int, high: int) -> str:
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high))
    return draw(st.sampled_from(["*", f"*/{step}", str(first), f"{first}-{last}", f"{first},{last}"]))


@settings(max_examples=40)
@given(field(0, 59), field(0, 23), st.sampled_from(["* * *", "* * 1-5", "1 * *", "*/2 * *", "* 6 *", "1 1 0"]))
def test_no_two_runs_are_further_apart_than_the_longest_gap(minute: str, hour: str, days: str) -> None:
    schedule = f"{minute} {hour} {days}"
    gap = longest_gap(schedule, NOW)
    runs = islice(CronSim(schedule, NOW), 300)
    assert all((later - earlier).total_seconds() <= gap for earlier, later in pairwise(runs))


@given(field(0, 59), field(0, 23))
def test_the_longest_gap_of_a_daily_schedule_is_reached_within_two_days(minute: str, hour: str) -> None:
    schedule = f"{minute} {hour} * * *"
    until = NOW + timedelta(days=2, hours=1)
    runs = list(takewhile(lambda run: run < until, CronSim(schedule, NOW)))
    assert longest_gap(schedule, NOW) == max((later - earlier).total_seconds() for earlier, later in pairwise(runs))


@pytest.mark.parametrize(
    ("schedule", "days"), [("0 3 * * *", 1), ("0 3 * * 1", 7), ("0 0 29 2 *", 4 * 365 + 1), ("0 0 1 1 *", 366)]
)
def test_long_gaps_are_told_in_days(schedule: str, days: int) -> None:
    assert longest_gap(schedule, NOW) == days * 86400


def test_a_schedule_that_runs_on_one_day_in_a_lifetime_has_no_longest_gap() -> None:
    assert longest_gap("0 0 29 2 */7", NOW) == math.inf
    with pytest.raises(CronSimError):
        longest_gap("0 0 30 2 *", NOW)


def test_the_limit_of_a_sweep_is_the_checklists() -> None:
    assert SWEEP_LIMIT == 15 * 60
