"""hyperliquid-python-sdk, as it is published, drives the stand-in exchange as it does mainnet: every book of it."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from eth_account import Account
from hyperliquid.utils.types import Cloid

from runbook_lib.rehearsal.exchange.mainnet_client import mainnet_client
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from tests.venue import serving

GTC = {"limit": {"tif": "Gtc"}}
DEXES = ["xyz", "flx"]


@pytest.fixture(scope="module")
def venue():
    exchange = Exchange()
    with serving(exchange) as address:
        yield exchange, address


@pytest.fixture
def agent(venue):
    """A client that signs with an agent of a funded wallet, and knows every book."""
    exchange, address = venue
    master = Account.create()
    exchange.fund(master.address, 1_000)
    exchange.account(master.address).receive("USDC", Decimal(1_000))  # in spot, as a transfer between accounts does
    reply, key = mainnet_client(master, address).approve_agent("runner")
    assert reply["status"] == "ok"
    return mainnet_client(Account.from_key(key), address, account=master.address, dexes=DEXES)


def statuses(reply):
    assert reply["status"] == "ok", reply
    return reply["response"]["data"]["statuses"]


def dex_of(coin):
    return coin.partition(":")[0] if ":" in coin else ""


@pytest.mark.parametrize("coin", ["BTC", "xyz:GOLD", "flx:TSLA"])
def test_a_position_is_opened_and_closed_in_every_book_of_perpetuals(agent, coin):
    user, dex = agent.account_address, dex_of(coin)
    [opened] = statuses(agent.market_open(coin, True, 0.05))
    assert opened["filled"]["totalSz"] == "0.05"
    [held] = agent.info.user_state(user, dex)["assetPositions"]
    assert (held["position"]["coin"], held["position"]["szi"]) == (coin, "0.05")
    assert "filled" in statuses(agent.market_close(coin))[0]
    assert agent.info.user_state(user, dex)["assetPositions"] == []


@pytest.mark.parametrize("coin", ["BTC", "xyz:GOLD", "@107", "HYPE/USDC"])
def test_an_order_rests_in_its_book_and_is_cancelled_by_number_and_by_cloid(agent, coin):
    user, name, cloid = agent.account_address, agent.info.name_to_coin[coin], Cloid.from_int(7)
    mid = float(agent.info.all_mids(dex_of(coin))[name])
    price = float(f"{mid * 0.8:.4g}")
    size = {"BTC": 0.001, "xyz:GOLD": 0.01}.get(coin, 1.0)
    [by_number, by_cloid] = statuses(
        agent.bulk_orders(
            [
                {"coin": coin, "is_buy": True, "sz": size, "limit_px": price, "order_type": GTC, "reduce_only": False},
                {"coin": coin, "is_buy": True, "sz": size, "limit_px": price, "order_type": GTC, "reduce_only": False,
                 "cloid": cloid},
            ]
        )
    )  # fmt: skip
    assert [order["coin"] for order in agent.info.frontend_open_orders(user, dex_of(coin))] == [name, name]
    assert statuses(agent.cancel(coin, by_number["resting"]["oid"])) == ["success"]
    reply = agent.cancel_by_cloid(coin, cloid)
    assert reply["response"] == {"type": "cancel", "data": {"statuses": ["success"]}}
    assert by_cloid["resting"]["cloid"] == cloid.to_raw()
    assert agent.info.open_orders(user, dex_of(coin)) == []


def test_the_market_is_described_as_the_client_expects(agent):
    now = int(time.time() * 1000)
    assert [dex and dex["name"] for dex in agent.info.perp_dexs()] == [None, "xyz", "flx"]
    assert agent.info.spot_meta()["universe"][1]["name"] == "@107"
    assert len(agent.info.funding_history("BTC", now - 7_200_000)) == 2
    assert len(agent.info.candles_snapshot("ETH", "5m", now - 3_600_000, now)) == 12
    assert agent.info.user_twap_slice_fills(agent.account_address) == []


def test_leverage_is_set_in_another_book(agent):
    assert agent.update_leverage(3, "xyz:GOLD")["status"] == "ok"
    statuses(agent.market_open("xyz:GOLD", True, 0.01))
    [held] = agent.info.user_state(agent.account_address, "xyz")["assetPositions"]
    assert held["position"]["leverage"] == {"type": "cross", "value": 3}
