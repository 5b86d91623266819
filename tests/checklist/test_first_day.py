"""The alarms of the first day ring for what they are for, and for nothing else."""

from __future__ import annotations

import time

import pytest

from runbook_lib.checklist import first_day
from runbook_lib.commands.command import Reply
from runbook_lib.errors import ConfigError

PERP = {"marginSummary": {"accountValue": "100.0"}, "assetPositions": []}
RISK = {"maxPositionPct": 30, "maxMonthlyCostUsd": 10, "dailyLossHaltPct": 5}

NOBODY = Reply()


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

    complaint = judged(first_day.fills_have_rows(10.0, NOBODY), answer({"cloid": "0x1"}), fills).complaint
    assert "B 1 ETH (order 7)" in complaint
    assert "BTC" not in complaint
    assert judged(first_day.fills_have_rows(12.0, NOBODY), answer({"cloid": "0x1"}), fills).complaint is None


def test_gaps_are_of_ticks_or_of_reconciliations():
    with pytest.raises(ConfigError, match="tick or reconciled"):
        first_day.gaps("heartbeat", 1, "2026-11-22T00:00:00Z", "now")


LIVE = answer({"wallet": "0xw1", "agent": "0xa1"}, {"wallet": "0xw2", "agent": "0xa2"})


def test_the_agents_of_all_live_deployments_are_asked_for_and_each_is_named():
    asked = [(question.json["type"], question.json["user"]) for question in first_day.agent_questions(LIVE)]
    assert asked == [("extraAgents", "0xw1"), ("userRole", "0xa1"), ("extraAgents", "0xw2"), ("userRole", "0xa2")]

    until = (time.time() + 90 * 86400) * 1000
    known = (answer({"address": "0xa1", "validUntil": until}), answer({"role": "agent", "data": {"user": "0xw1"}}))
    gone = (answer(), answer({"role": "missing"}))
    assert judged(first_day.agents_known(answer(LIVE.rows[0])), *known).complaint is None
    assert "0xa2: extraAgents of 0xw2 does not list" in judged(first_day.agents_known(LIVE), *known, *gone).complaint


def test_the_fills_of_every_live_wallet_need_a_row():
    assert [question.json["user"] for question in first_day.fill_questions(LIVE)] == ["0xw1", "0xw2"]
    fill = {"cloid": "0x9", "coin": "BTC", "side": "B", "sz": "1", "oid": 9, "time": 1_000_000}
    replies = (answer({"cloid": "0x1"}), Reply(at=2000.0), Reply(rows=(fill,), at=2000.0))
    assert "order 9" in judged(first_day.fills_have_rows(10.0, NOBODY), *replies).complaint


def test_a_fill_of_the_far_future_needs_a_row_too():
    fill = {"cloid": None, "coin": "BTC", "side": "B", "sz": "1", "oid": 9, "time": 9_000_000}
    assert judged(first_day.fills_have_rows(10.0, NOBODY), answer(), Reply(rows=(fill,), at=1000.0)).complaint


@pytest.mark.parametrize("accounts", ["-5.0", "NaN"])
def test_an_amount_below_zero_or_no_number_is_no_sum(accounts):
    money = (answer(text='"default"'), answer({**PERP, "marginSummary": {"accountValue": accounts}}), answer({}))
    assert judged(first_day.most_lost(110), *money, answer({"risk": RISK})).complaint


def test_spending_below_zero_is_complained_of():
    for live, total, used in ((-0.1, 1, 0), (1, 0.9, 1), (0.1, 0.1, -0.1)):
        rows, key = answer({"live_usd": live, "all_usd": total}), answer({"usage_monthly": used, "limit": 10})
        assert "cannot be" in judged(first_day.spending_confirmed(), rows, key).complaint


def held(size, leverage=1):
    position = {"coin": "SOL", "szi": size, "leverage": {"type": "cross", "value": leverage}}
    return answer({"assetPositions": [{"position": position}]})


def test_a_wallet_that_holds_what_agent_state_does_not_know_is_named_unless_an_order_is_on_its_way():
    live = answer(LIVE.rows[0])
    state = {"wallet": "0xw1", "positions": [{"symbol": "SOL", "sizeBase": 0.5}], "moving": False, "max_leverage": 1}
    assert [question.json["user"] for question in first_day.position_questions(live)] == ["0xw1"]

    agree = first_day.positions_agree(live)
    assert judged(agree, answer(state), held("0.5")).complaint is None
    assert "0xw1 SOL: 0.7 at the venue, 0.5 in agent_state" in judged(agree, answer(state), held("0.7")).complaint
    assert judged(agree, answer({**state, "moving": True}), held("0.7")).complaint is None
    assert "found 0" in judged(agree, answer(), held("0.5")).complaint
    assert "found 2" in judged(agree, answer(state, state), held("0.5")).complaint
    for moving in (False, True):
        five_times = judged(agree, answer({**state, "moving": moving}), held("0.5", 5)).complaint
        assert five_times == "0xw1 SOL: leverage 5.0, at most 1 allowed"
    assert "at most None allowed" in judged(agree, answer({**state, "max_leverage": None}), held("0.5")).complaint
    assert "leverage None" in judged(agree, answer(state), held("0.5", "")).complaint


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"limit_remaining": 5}, "nearly spent: $5.00 of $100.00"),
        ({"expires_at": "2026-01-01T00:00:00Z"}, "expires at 2026-01-01"),
        ({"limit_remaining": 50, "expires_at": "2099-01-01T00:00:00Z"}, None),
    ],
)
def test_a_key_that_will_soon_refuse_is_told_before_it_does(key, says):
    data = {"usage_monthly": 10, "limit": 100, "limit_remaining": 90, "expires_at": None, **key}
    complaint = judged(first_day.spending_confirmed(), answer({"live_usd": 10, "all_usd": 10}), answer(data)).complaint
    assert complaint is None if says is None else says in complaint
