"""The SDK signs for mainnet and yet talks to nobody but the stand-in."""

from __future__ import annotations

import sys

import pytest
from eth_account import Account

from runbook_lib.rehearsal.exchange.mainnet_client import mainnet_client
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from tests.venue import serving


@pytest.fixture
def venue():
    exchange = Exchange()
    with serving(exchange) as address:
        yield exchange, address


def funded(exchange):
    wallet = Account.create()
    exchange.fund(wallet.address, 100)
    return wallet


def test_no_proxy_of_the_environment_sees_a_request(venue, monkeypatch):
    exchange, address = venue
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    client = mainnet_client(funded(exchange), address)
    assert client.update_leverage(2, "BTC")["status"] == "ok"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux answers for all of 127.0.0.0/8")
def test_reads_and_actions_come_from_the_source_address_that_is_named(venue):
    exchange, address = venue
    exchange.limits.minute = 60
    client = mainnet_client(funded(exchange), address, source="127.1.2.3")
    client.update_leverage(2, "BTC")
    client.info.all_mids()
    assert exchange.limits.spent("127.1.2.3") == 1 + 2 + 2 * 20  # with the two questions that a client begins with


def test_an_agent_trades_for_the_account_that_is_named(venue):
    exchange, address = venue
    master = funded(exchange)
    _, key = mainnet_client(master, address).approve_agent("runner")
    agent = mainnet_client(Account.from_key(key), address, account=master.address)
    assert agent.market_open("BTC", True, 0.001)["status"] == "ok"
    assert exchange.account(master.address).szi("BTC")
