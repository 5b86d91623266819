"""What a halt spends at the venue: within its limit, and first of all on the book that runners trade in."""

from __future__ import annotations

import pytest

from runbook_lib.errors import ServiceError
from runbook_lib.halt import rate_limit
from runbook_lib.halt.rate_limit import Purse


@pytest.fixture
def clock(monkeypatch):
    """A clock that sleeping moves."""
    times = [100.0]
    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: times[0])
    monkeypatch.setattr(rate_limit.time, "sleep", lambda seconds: times.append(times.pop() + seconds))
    return times


def test_what_the_limit_does_not_let_through_yet_is_waited_for_or_not_asked(clock):
    purse = Purse(full=40.0, rate=20.0)
    purse.pay(40.0, within=0.0)
    purse.pay(20.0, within=2.0)
    assert (clock, purse.spent) == ([101.0], 60.0)
    with pytest.raises(ServiceError, match="not asked"):
        purse.pay(60.0, within=2.0)


def test_what_is_kept_for_the_main_book_is_spent_on_nothing_else(clock):
    purse = Purse(full=100.0, rate=0.5)
    purse.pay(20.0, within=0.0, kept=80.0)
    with pytest.raises(
        ServiceError, match="not asked: what the venue's limit lets through goes to the main book first"
    ):
        purse.pay(20.0, within=9.0, kept=80.0)
    purse.pay(20.0, within=0.0)
    assert purse.spent == 40.0
