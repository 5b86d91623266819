"""Compute the longest time between two runs of a cron schedule. Hold the limit for the heartbeat sweep's schedule."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

AHEAD = timedelta(days=9 * 366)  # how far ahead schedules are read: every weekday, month and leap year occurs
SWEEP_PATH = "/api/jobs/heartbeat-sweep"
SWEEP_LIMIT = 15 * 60  # seconds between two heartbeat sweeps at most, before phase 2 may open (C9)


def longest_gap(schedule: str, now: datetime) -> float:
    """Return the longest time, in seconds, between two runs of a cron schedule.

    Infinite if it runs on fewer than two days within `AHEAD`. Days are compared too, not only the runs of one day:
    ``*/5 * * * 1-5`` looks tight until the first weekend. Raise `CronSimError` if ``schedule`` is no cron schedule.
    """
    fields = schedule.split()
    if len(fields) != 5:
        raise CronSimError("expected five fields")
    cron = CronSim(schedule, now)
    times = sorted(hour * 60 + minute for hour in cron.hours for minute in cron.minutes)
    overnight = _days_apart(fields[2:], now) - (times[-1] - times[0]) * 60
    return max([overnight, *((later - earlier) * 60.0 for earlier, later in pairwise(times))])


def _days_apart(fields: Sequence[str], now: datetime) -> float:
    """Return the longest time, in seconds, from one day with runs of a cron schedule to the next such day."""
    if all(field == "*" for field in fields):
        return timedelta(days=1).total_seconds()
    days = list(takewhile(lambda day: day < now + AHEAD, CronSim(" ".join(["0", "0", *fields]), now)))
    if len(days) < 2:
        return math.inf
    return max(later - earlier for earlier, later in pairwise(days)).total_seconds()
