"""The wallets of all live deployments: agents known, positions as agent_state says, a row for every fill."""

from __future__ import annotations

import time

from runbook_lib.checklist import live_wallets
from runbook_lib.commands.command import Reply

NOBODY = Reply()


def judged(expectation, *replies):
    return expectation.judge(replies)


def answer(*rows, text=""):
    return Reply(rows=tuple(rows), text=text)


def test_a_fill_that_no_row_tells_of_is_named_once_a_row_could_have_been_written():
    old = {"cloid": None, "coin": "ETH", "side": "B", "sz": "1", "oid": 7, "time": 1_000_000}
    fills = Reply(rows=({"cloid": "0x1", "coin": "BTC", "time": 1_000_000}, old), at=1_011.0)

    complaint = judged(live_wallets.fills_have_rows(10.0, NOBODY), answer({"cloid": "0x1"}), fills).complaint
    assert "B 1 ETH (order 7)" in complaint
    assert "BTC" not in complaint
    assert judged(live_wallets.fills_have_rows(12.0, NOBODY), answer({"cloid": "0x1"}), fills).complaint is None


LIVE = answer({"wallet": "0xw1", "agent": "0xa1"}, {"wallet": "0xw2", "agent": "0xa2"})


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
    assert "order 9" in judged(live_wallets.fills_have_rows(10.0, NOBODY), *replies).complaint


def test_a_fill_of_the_far_future_needs_a_row_too():
    fill = {"cloid": None, "coin": "BTC", "side": "B", "sz": "1", "oid": 9, "time": 9_000_000}
    assert judged(live_wallets.fills_have_rows(10.0, NOBODY), answer(), Reply(rows=(fill,), at=1000.0)).complaint


def held(size, leverage=1):
    position = {"coin": "SOL", "szi": size, "leverage": {"type": "cross", "value": leverage}}
    return answer({"assetPositions": [{"position": position}]})


def test_a_wallet_that_holds_what_agent_state_does_not_know_is_named_unless_an_order_is_on_its_way():
    live = answer(LIVE.rows[0])
    state = {"wallet": "0xw1", "positions": [{"symbol": "SOL", "sizeBase": 0.5}], "moving": False, "max_leverage": 1}
    assert [question.json["user"] for question in live_wallets.position_questions(live)] == ["0xw1"]

    agree = live_wallets.positions_agree(live)
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
