"""Refused log-ins: a few tries, seconds apart, counted for the whole process."""

from __future__ import annotations

from itertools import pairwise

import pytest

from runbook_lib.errors import ServiceError
from runbook_lib.services import refusals
from runbook_lib.services.refusals import MOST_INCOMING, SPACING, Refusals
from runbook_lib.settings.profiles import INCOMING


class Pooler:
    """A clock that sleeping moves, and log-ins that are refused until a moment on it."""

    def __init__(self, monkeypatch, accepts_from=float("inf"), words="password authentication failed for user"):
        self.now, self.accepts_from, self.words, self.tried = 1000.0, accepts_from, words, []
        monkeypatch.setattr(refusals.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(refusals.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds

    def log_in(self):
        self.tried.append(self.now)
        if self.now - 1000 < self.accepts_from:
            raise ServiceError(self.words)
        return "in"


def polled(pooler, variable, seconds, patience=0.0):
    """Who polls twice a second for so long; what came of it at last."""
    found, mine = None, Refusals()
    until = pooler.now + seconds
    while pooler.now < until and found != "in":
        try:
            found = mine.guarded("host", variable, "password", pooler.log_in, patience)
        except ServiceError as error:
            found = str(error)
        pooler.sleep(0.5)
    return found


def test_a_wrong_password_is_tried_twice_a_minute_seconds_apart_however_often_it_is_asked_for(monkeypatch):
    pooler = Pooler(monkeypatch)
    assert "password authentication failed" in polled(pooler, "PASSWORD", 59.0)
    assert len(pooler.tried) == 2 and pooler.tried[1] - pooler.tried[0] >= SPACING


def test_one_look_with_patience_tries_twice(monkeypatch):
    pooler = Pooler(monkeypatch, accepts_from=2.0)
    assert Refusals().guarded("host", "PASSWORD", "password", pooler.log_in, 10.0) == "in"
    assert len(pooler.tried) == 2


def test_a_password_just_set_is_taken_by_a_pooler_that_learns_of_it_late(monkeypatch):
    pooler = Pooler(monkeypatch, accepts_from=6.0)
    assert polled(pooler, INCOMING, 20.0) == "in"
    assert len(pooler.tried) == 3 <= MOST_INCOMING


def test_a_password_just_set_is_tried_at_most_five_times_within_any_minute_seconds_apart(monkeypatch):
    pooler = Pooler(monkeypatch)
    assert "password authentication failed" in polled(pooler, INCOMING, 180.0)
    spaced = [later - earlier for earlier, later in pairwise(pooler.tried)]
    assert min(spaced) >= SPACING
    within = [sum(begin <= at < begin + 60 for at in pooler.tried) for begin in pooler.tried]
    assert max(within) == MOST_INCOMING == 5


def test_an_address_that_is_blocked_is_left_alone_until_it_is_not(monkeypatch):
    pooler = Pooler(monkeypatch, accepts_from=121.0, words="ECIRCUITBREAKER: too many failures")
    assert "not tried again for" in polled(pooler, "PASSWORD", 119.0)
    assert len(pooler.tried) == 1


@pytest.mark.parametrize("words", ["connection refused", "timeout expired"])
def test_what_is_no_refusal_is_raised_at_once(monkeypatch, words):
    pooler = Pooler(monkeypatch, words=words)
    with pytest.raises(ServiceError, match=words):
        Refusals().guarded("host", "PASSWORD", "password", pooler.log_in, 10.0)
    assert len(pooler.tried) == 1
