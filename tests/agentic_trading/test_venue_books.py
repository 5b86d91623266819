"""Every book in which a wallet can hold something, and what counts as held."""

from __future__ import annotations

import pytest

from runbook_lib.agentic_trading import venue_books
from runbook_lib.agentic_trading.venue_books import MAIN, SPOT
from runbook_lib.commands.command import Reply

WALLET = "0x1"


def test_each_book_is_asked_by_its_name_and_the_main_one_without():
    assert venue_books.state(WALLET, MAIN).json == {"type": "clearinghouseState", "user": WALLET}
    assert venue_books.state(WALLET, "flx").json == {"type": "clearinghouseState", "user": WALLET, "dex": "flx"}
    assert venue_books.state(WALLET, SPOT).json == {"type": "spotClearinghouseState", "user": WALLET}
    assert venue_books.orders(WALLET, "flx").json["dex"] == "flx" and venue_books.orders(WALLET, MAIN).read_only


def test_the_main_book_has_no_name_in_the_list():
    assert venue_books.names(Reply(({"value": None}, {"name": "flx"}, {"name": "xyz"}))) == ("flx", "xyz")


@pytest.mark.parametrize(
    ("coin", "book"), [("BTC", MAIN), ("kPEPE", MAIN), ("@107", SPOT), ("PURR/USDC", SPOT), ("flx:GOLD", "flx")]
)
def test_a_coin_tells_its_book(coin, book):
    assert venue_books.book_of(coin) == book


def test_positions_and_tokens_are_held_and_money_is_not():
    positions = [{"position": {"coin": coin, "szi": size}} for coin, size in (("BTC", "-0.1"), ("ETH", "0.0"))]
    assert venue_books.held({"time": 1, "assetPositions": positions}) == {"BTC": "-0.1"}
    balances = [{"coin": coin, "total": size} for coin, size in (("USDC", "90.0"), ("HYPE", "3.0"), ("PURR", "0"))]
    assert venue_books.held({"balances": balances}) == {"HYPE": "3.0"}


def test_a_full_list_of_the_newest_does_not_tell_of_all():
    assert venue_books.complete([{}] * 1999) and not venue_books.complete([{}] * 2000)
