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
    return judged(first_day.most_lost(limit), *money, answer({"risk": risk}))


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
    rows, key = answer({"live_usd": 10, "all_usd": 14}), answer({"usage_monthly": used, "limit": limit})
    complaint = judged(first_day.spending_confirmed(), rows, key).complaint

    assert complaint is None if says is None else says in complaint


def test_a_fill_that_no_row_tells_of_is_named_once_a_row_could_have_been_written():
    old = {"cloid": None, "coin": "ETH", "side": "B", "sz": "1", "oid": 7, "time": 1_000_000}
    fills = Reply(rows=({"cloid": "0x1", "coin": "BTC", "time": 1_000_000}, old), at=1_011.0)

    complaint = judged(first_day.fills_have_rows(10.0), answer({"cloid": "0x1"}), fills).complaint
    assert "B 1 ETH (order 7)" in complaint
    assert "BTC" not in complaint
    assert judged(first_day.fills_have_rows(12.0), answer({"cloid": "0x1"}), fills).complaint is None


def test_gaps_are_of_ticks_or_of_reconciliations():
    with pytest.raises(ConfigError, match="tick or reconciled"):
        first_day.gaps("heartbeat", 1, "2026-11-22T00:00:00Z", "now")
