"""A person trades in any book of the venue by hand, at once or with an order that rests."""

from __future__ import annotations

import pytest

from runbook_lib.rehearsal.exchange import by_hand
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange

USER = "0x" + "ab" * 20


@pytest.fixture
def exchange():
    exchange = Exchange()
    exchange.fund(USER, 100)
    return exchange


@pytest.mark.parametrize("coin", ["BTC", "xyz:GOLD", "flx:TSLA"])
def test_a_trade_leaves_a_position_in_its_book(exchange, coin):
    status = by_hand.place(exchange, USER, coin, 15, buy=True, rest=False)
    assert "filled" in status
    assert 15 <= exchange.account(USER).szi(coin) * exchange.market.mid(coin) < 20


@pytest.mark.parametrize("coin", ["BTC", "xyz:GOLD", "@107"])
def test_an_order_rests_in_its_book(exchange, coin):
    status = by_hand.place(exchange, USER, coin, 15, buy=True, rest=True)
    assert "resting" in status
    assert [order.coin for order in exchange.account(USER).resting.values()] == [coin]


def test_tokens_are_bought(exchange):
    assert "filled" in by_hand.place(exchange, USER, "@107", 15, buy=True, rest=False)
    assert exchange.account(USER).held("HYPE") > 0
    assert exchange.account(USER).positions == {}


def test_a_coin_there_is_not_is_refused(exchange):
    with pytest.raises(KeyError):
        by_hand.place(exchange, USER, "xyz:NOPE", 15, buy=True, rest=False)
