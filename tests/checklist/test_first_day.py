"""The alarms of the first day ring for what they are for, and for nothing else."""

from __future__ import annotations

import pytest

from runbook_lib.checklist import first_day
from runbook_lib.commands.command import Reply
from runbook_lib.errors import ConfigError

PERP = {"marginSummary": {"accountValue": "100.0"}, "assetPositions": []}
RISK = {"maxPositionPct": 30, "maxMonthlyCostUsd": 10, "dailyLossHaltPct": 5}


def judged(expectation, *replies):
    return expectation.judge(replies)


def answer(*rows, text=""):
    return Reply(rows=tuple(rows), text=text)


def lost(limit, risk=RISK):
    money = (answer(text='"default"'), answer(PERP), answer({"balances": []}))
    return judged(first_day.most_lost(limit, "0x1"), *money, answer({"risk": risk}))


def test_the_most_that_can_be_lost_is_the_wallet_and_the_months_model_calls():
    found = lost(110)

    assert found.complaint is None
    assert "at most $110.00" in found.seen
    assert "a position of $30.00" in found.seen


def test_more_than_was_agreed_is_complained_of():
    assert "more than the $109" in lost(109).complaint


def test_a_cap_that_is_missing_leaves_no_sum():
    assert lost(1000, {"maxPositionPct": 30}).complaint


@pytest.mark.parametrize(
    ("used", "limit", "says"),
    [
        (10.0, 100, None),
        (14.0, 100, None),  # a backtest with a key of its own, or with this one
        (20.0, 100, "disagree"),
        (5.0, 100, "disagree"),
        (10.0, None, "no limit"),
    ],
)
def test_spending_lies_between_what_is_live_and_all_that_was_written_down(used, limit, says):
    rows, key = (
        answer({"live_usd": 10, "all_usd": 14}),
        answer({"usage_monthly": used, "limit": limit, "limit_remaining": limit}),
    )
    complaint = judged(first_day.spending_confirmed(), rows, key).complaint

    assert complaint is None if says is None else says in complaint


@pytest.mark.parametrize(
    ("used", "own", "others", "says"),
    [
        (0.0, 10.0, 0, None),  # all with the user's own provider keys
        (4.0, 6.0, 0, None),
        (0.0, 0.0, 0, "OpenRouter counts less"),
        (20.0, 0.0, 0, "others have used the key for $6.00: the web app's chat may"),
        (20.0, 0.0, 6, None),
        (20.0, 5.0, 6, "others have used the key for $11.00"),
        (10.0, -1.0, 0, "cannot be"),
        (10.0, None, 0, "expected live_usd"),
    ],
)
def test_own_provider_keys_and_others_are_told_apart(used, own, others, says):
    data = {"usage_monthly": used, "byok_usage_monthly": own, "limit": 100, "limit_remaining": 100}
    finding = judged(first_day.spending_confirmed(others), answer({"live_usd": 10, "all_usd": 14}), answer(data))

    assert finding.complaint is None if says is None else says in finding.complaint
    assert ("own provider keys" in finding.seen) == bool(own and own > 0)


def test_gaps_are_of_ticks_or_of_reconciliations():
    with pytest.raises(ConfigError, match="tick or reconciled"):
        first_day.gaps("heartbeat", 1, "2026-11-22T00:00:00Z", "now")


@pytest.mark.parametrize("accounts", ["-5.0", "NaN"])
def test_an_amount_below_zero_or_no_number_is_no_sum(accounts):
    money = (answer(text='"default"'), answer({**PERP, "marginSummary": {"accountValue": accounts}}), answer({}))
    assert judged(first_day.most_lost(110, "0x1"), *money, answer({"risk": RISK})).complaint


def test_spending_below_zero_is_complained_of():
    for live, total, used in ((-0.1, 1, 0), (1, 0.9, 1), (0.1, 0.1, -0.1)):
        rows, key = (
            answer({"live_usd": live, "all_usd": total}),
            answer({"usage_monthly": used, "limit": 10, "limit_remaining": 10}),
        )
        assert "cannot be" in judged(first_day.spending_confirmed(), rows, key).complaint


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"limit_remaining": 5}, "nearly spent: $5.00 of $100.00"),
        ({"limit_remaining": None}, "does not say how much of the key's $100.00 is left"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires at 2026-01-01"),
        ({"limit_remaining": 50, "expires_at": "2099-01-01T00:00:00Z"}, None),
    ],
)
def test_a_key_that_will_soon_refuse_is_told_before_it_does(key, says):
    data = {"usage_monthly": 10, "limit": 100, "limit_remaining": 90, "expires_at": None, **key}
    complaint = judged(first_day.spending_confirmed(), answer({"live_usd": 10, "all_usd": 10}), answer(data)).complaint
    assert complaint is None if says is None else says in complaint
