"""The wallets of all live deployments: agents known, positions as agent_state says, a row for every fill."""

from __future__ import annotations

import time

import pytest

from runbook_lib.checklist import live_wallets
from runbook_lib.commands.command import Reply


def judged(expectation, *replies):
    return expectation.judge(replies)


def answer(*rows, text=""):
    return Reply(rows=tuple(rows), text=text)


LIVE = answer({"wallet": "0xw1", "agent": "0xa1"}, {"wallet": "0xw2", "agent": "0xa2"})
ONE = answer(LIVE.rows[0])


def test_a_fill_that_no_row_tells_of_is_named_once_a_row_could_have_been_written():
    old = {"cloid": None, "coin": "ETH", "side": "B", "sz": "1", "oid": 7, "time": 1_000_000}
    fills = Reply(rows=({"cloid": "0x1", "coin": "BTC", "time": 1_000_000}, old), at=1_011.0)

    complaint = judged(live_wallets.fills_have_rows(10.0, ONE), answer({"cloid": "0x1"}), fills).complaint
    assert "B 1 ETH (order 7)" in complaint
    assert "BTC" not in complaint
    assert judged(live_wallets.fills_have_rows(12.0, ONE), answer({"cloid": "0x1"}), fills).complaint is None


def test_the_agents_of_all_live_deployments_are_asked_for_and_each_is_named():
    asked = [(question.json["type"], question.json["user"]) for question in live_wallets.agent_questions(LIVE)]
    assert asked == [("extraAgents", "0xw1"), ("userRole", "0xa1"), ("extraAgents", "0xw2"), ("userRole", "0xa2")]

    until = (time.time() + 90 * 86400) * 1000
    known = (answer({"address": "0xa1", "validUntil": until}), answer({"role": "agent", "data": {"user": "0xw1"}}))
    gone = (answer(), answer({"role": "missing"}))
    assert judged(live_wallets.agents_known(answer(LIVE.rows[0])), *known).complaint is None
    assert "0xa2: extraAgents of 0xw2 does not list" in judged(live_wallets.agents_known(LIVE), *known, *gone).complaint


def test_the_fills_of_every_live_wallet_need_a_row():
    assert [question.json["user"] for question in live_wallets.fill_questions(LIVE)] == ["0xw1", "0xw2"]
    fill = {"cloid": "0x9", "coin": "BTC", "side": "B", "sz": "1", "oid": 9, "time": 1_000_000}
    replies = (answer({"cloid": "0x1"}), Reply(at=2000.0), Reply(rows=(fill,), at=2000.0))
    assert "order 9" in judged(live_wallets.fills_have_rows(10.0, LIVE), *replies).complaint


def test_a_fill_of_the_far_future_needs_a_row_too():
    fill = {"cloid": None, "coin": "BTC", "side": "B", "sz": "1", "oid": 9, "time": 9_000_000}
    assert judged(live_wallets.fills_have_rows(10.0, ONE), answer(), Reply(rows=(fill,), at=1000.0)).complaint


@pytest.mark.parametrize(
    ("at", "named"), [({"time": 999_999}, False), ({"time": 1_000_001}, True), ({"time": None}, True), ({}, True)]
)
def test_a_fill_from_before_the_wallets_first_deployment_needs_no_row(at, named):
    live = answer({"wallet": "0xw1", "agent": "0xa1", "first_ms": 1_000_000})
    fills = Reply(rows=({"cloid": None, "coin": "BTC", "side": "B", "sz": "1", "oid": 9, **at},), at=5_000.0)

    assert bool(judged(live_wallets.fills_have_rows(10.0, live), answer(), fills).complaint) == named


def test_a_deployment_that_boots_has_no_state_to_compare_yet():
    booting = answer({"wallet": "0xw1", "agent": "0xa1", "status": "provisioning"})

    assert live_wallets.position_questions(booting) == []
    assert judged(live_wallets.positions_agree(booting), answer()).complaint is None


UNIFIED = answer(text='"unifiedAccount"')


def held(size, leverage=1, value="50.0", pnl="0.0", usdc="100.0"):
    """What the venue answers about a wallet that holds SOL: its mode, its main book, its spot balances."""
    lever = {"type": "cross", "value": leverage}
    position = {"coin": "SOL", "szi": size, "leverage": lever, "positionValue": value, "unrealizedPnl": pnl}
    spot = answer({"balances": [{"coin": "USDC", "total": usdc}]})
    return UNIFIED, answer({"assetPositions": [{"position": position}]}), spot


STATE = {
    **{"wallet": "0xw1", "positions": [{"symbol": "SOL", "sizeBase": 0.5}], "equity_usd": 100.0},
    **{"moving": False, "max_leverage": 1},
}
AGREE = live_wallets.positions_agree(answer(LIVE.rows[0]))


def test_a_wallet_that_holds_what_agent_state_does_not_know_is_named_unless_an_order_is_on_its_way():
    asked = [(q.json["type"], q.json["user"]) for q in live_wallets.position_questions(answer(LIVE.rows[0]))]
    assert {user for _, user in asked} == {"0xw1"} and len(asked) == 3

    assert judged(AGREE, answer(STATE), *held("0.5")).complaint is None
    assert "0xw1 SOL: 0.7 at the venue, 0.5 in agent_state" in judged(AGREE, answer(STATE), *held("0.7")).complaint
    assert judged(AGREE, answer({**STATE, "moving": True}), *held("0.7")).complaint is None
    assert "found 0" in judged(AGREE, answer(), *held("0.5")).complaint
    assert "found 2" in judged(AGREE, answer(STATE, STATE), *held("0.5")).complaint
    for moving in (False, True):
        five_times = judged(AGREE, answer({**STATE, "moving": moving}), *held("0.5", 5)).complaint
        assert five_times == "0xw1 SOL: leverage 5.0, 1 to at most 1 allowed"
    assert "at most None allowed" in judged(AGREE, answer({**STATE, "max_leverage": None}), *held("0.5")).complaint
    assert "leverage None" in judged(AGREE, answer(STATE), *held("0.5", "")).complaint


@pytest.mark.parametrize(("told", "usdc"), [(103.4, "100.0"), (96.6, "100.0"), (100.0, "103.4")])
def test_equity_may_differ_by_as_much_as_marks_move(told, usdc):
    state = answer({**STATE, "equity_usd": told})

    assert judged(AGREE, state, *held("0.5", usdc=usdc)).complaint is None
    assert "agent_state" in judged(AGREE, state, *held("0.5", value="40.0", usdc=usdc)).complaint


@pytest.mark.parametrize(
    ("told", "at_venue", "says"),
    [
        (105.0, held("0.5"), "equity: $100.00 at the venue, $105.00 in agent_state"),
        (100.0, held("0.5", pnl="-9"), "equity: $91.00 at the venue, $100.00"),
        (None, held("0.5"), "None in agent_state"),
        (100.0, held("0.5", value="nan"), "positions worth None"),
        (100.0, (answer(text='"other"'), *held("0.5")[1:]), "equity: None at the venue"),
    ],
)
def test_a_wallet_that_is_worth_another_sum_than_agent_state_says_is_named(told, at_venue, says):
    assert says in judged(AGREE, answer({**STATE, "equity_usd": told}), *at_venue).complaint


def test_two_wallets_are_judged_each_by_its_own_answers():
    agree, second = live_wallets.positions_agree(LIVE), {**STATE, "wallet": "0xw2", "equity_usd": 20.0}

    complaint = judged(agree, answer(STATE, second), *held("0.5"), *held("0.5", usdc="30.0")).complaint

    assert complaint == "0xw2 equity: $30.00 at the venue, $20.00 in agent_state"
