"""Requests weigh what the venue says they do, and a minute is counted per source address."""

from __future__ import annotations

import pytest

from runbook_lib.rehearsal.exchange.limits import WEIGHT, Limits, more, weight


@pytest.mark.parametrize(
    ("path", "ask", "expected"),
    [
        ("/info", {"type": "clearinghouseState"}, 2),
        ("/info", {"type": "frontendOpenOrders"}, 20),
        ("/info", {"type": "userRole"}, 60),
        ("/exchange", {"action": {"type": "order", "orders": [{}]}}, 1),
        ("/exchange", {"action": {"type": "cancel", "cancels": [{}] * 80}}, 3),
        ("/exchange", {"action": {"type": "noop"}}, 1),
    ],
)
def test_a_request_weighs_what_the_venue_says(path, ask, expected):
    assert weight(path, ask) == expected


def test_a_long_list_weighs_more_and_other_answers_do_not():
    assert more({"type": "userFills"}, [{}] * 45) == 2
    assert more({"type": "candleSnapshot"}, [{}] * 119) == 1
    assert more({"type": "meta"}, {}) == 0


def test_what_was_ever_spent_is_counted_whether_or_not_anything_is_enforced():
    for minute in (None, 60):
        limits = Limits(lambda: 0.0, minute=minute)
        assert limits.admit("127.0.0.1", 20)
        limits.spend("127.0.0.1", 2)
        assert limits.ever == {"127.0.0.1": 22}


def test_a_minute_is_counted_per_source_address_and_passes():
    clock = [0.0]
    limits = Limits(lambda: clock[0], minute=60)
    assert limits.admit("127.0.0.1", WEIGHT)
    assert not limits.admit("127.0.0.1", 1)
    assert limits.admit("127.0.0.2", 1)
    clock[0] = 59.9
    assert not limits.admit("127.0.0.1", 1)
    clock[0] = 60.1
    assert limits.admit("127.0.0.1", WEIGHT)


def test_what_was_answered_already_is_counted_even_beyond_the_minute():
    limits = Limits(lambda: 0.0, minute=60)
    assert limits.admit("127.0.0.1", WEIGHT)
    limits.spend("127.0.0.1", 5)
    assert limits.spent("127.0.0.1") == WEIGHT + 5


def test_without_a_minute_nothing_is_enforced():
    limits = Limits(lambda: 0.0)
    assert all(limits.admit("127.0.0.1", WEIGHT) for _ in range(3))
