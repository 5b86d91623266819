"""The stand-in exchange, driven by the public Python SDK over a real server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx
import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from hyperliquid.exchange import Exchange as Trader
from hyperliquid.info import Info
from hyperliquid.utils import signing
from hyperliquid.utils.types import Cloid
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from runbook_lib.rehearsal.exchange.hyperliquid_api import drop_sockets
from runbook_lib.rehearsal.exchange.mainnet_client import mainnet_client
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange, Faults
from tests.venue import serving

GTC, IOC, ALO = ({"limit": {"tif": tif}} for tif in ("Gtc", "Ioc", "Alo"))
DAY = 86_400_000  # milliseconds


class Clock:
    """The real time, and as much later as a test wants."""

    ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Exchange, str]]:
    exchange = Exchange(Clock())
    with serving(exchange) as address:
        yield exchange, address


@pytest.fixture
def venue(served: tuple[Exchange, str]) -> Iterator[Exchange]:
    """The exchange, in order again after the test."""
    exchange = served[0]
    exchange.set_mark("BTC", 80_000)
    yield exchange
    exchange.now.ahead = 0.0  # type: ignore[attr-defined]
    exchange.faults, exchange.small_close = Faults(), True
    exchange.market.pins.clear()


@pytest.fixture
def url(venue: Exchange, served: tuple[Exchange, str]) -> str:
    return served[1]


@pytest.fixture
def master(venue: Exchange) -> LocalAccount:
    wallet: LocalAccount = Account.create()
    venue.fund(wallet.address, 100)
    return wallet


@pytest.fixture
def trader(url: str, master: LocalAccount) -> Trader:
    """The SDK with an agent of the master's approval."""
    reply, key = mainnet_client(master, url).approve_agent("runner")
    assert reply == {"status": "ok", "response": {"type": "default"}}
    return mainnet_client(Account.from_key(key), url, account=master.address)


@pytest.fixture
def info(url: str) -> Info:
    return Info(url, skip_ws=True, timeout=10)


def statuses(reply: Any) -> list[Any]:
    assert reply["status"] == "ok", reply
    found: list[Any] = reply["response"]["data"]["statuses"]
    return found


def wait_for(found: Callable[[], Any], seconds: float = 10) -> Any:
    """What ``found`` returns, once it is true."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.01)
    return value


# -- the life of an order


def test_an_order_comes_once_for_every_change_of_its_status_newest_first(
    venue: Exchange, trader: Trader, info: Info
) -> None:
    [resting] = statuses(trader.order("BTC", True, 0.001, 79_000, GTC, cloid=Cloid.from_int(7)))
    venue.set_mark("BTC", 78_999)
    filled, opened = info.historical_orders(trader.account_address)
    assert filled["order"]["oid"] == opened["order"]["oid"] == resting["resting"]["oid"]
    assert (filled["status"], filled["order"]["sz"]) == ("filled", "0.0")
    assert (opened["status"], opened["order"]["sz"]) == ("open", "0.001")


def test_an_order_rests_fills_and_reads_back_everywhere(venue: Exchange, trader: Trader, info: Info) -> None:
    user, cloid = trader.account_address, Cloid.from_int(1)
    [resting] = statuses(trader.order("BTC", True, 0.001, 79_000, GTC, cloid=cloid))
    oid = resting["resting"]["oid"]
    assert resting == {"resting": {"oid": oid, "cloid": cloid.to_raw()}}
    [listed] = info.open_orders(user)
    assert (listed["limitPx"], listed["sz"], listed["side"]) == ("79000.0", "0.001", "B")
    assert info.frontend_open_orders(user)[0]["tif"] == "Gtc"
    venue.set_mark("BTC", 78_999)
    assert info.open_orders(user) == []
    order = info.query_order_by_cloid(user, cloid)["order"]
    assert (order["status"], order["order"]["sz"], order["order"]["oid"]) == ("filled", "0.0", oid)
    assert info.query_order_by_oid(user, oid)["order"] == order
    assert info.historical_orders(user)[0]["status"] == "filled"
    [fill] = info.user_fills(user)
    assert (fill["px"], fill["dir"], fill["crossed"], fill["fee"]) == ("79000.0", "Open Long", False, "0.01185")
    assert (fill["cloid"], fill["oid"], fill["startPosition"]) == (cloid.to_raw(), oid, "0.0")
    state = info.user_state(user)
    assert state["assetPositions"][0]["position"]["szi"] == "0.001"
    assert state["marginSummary"]["accountValue"] == "99.98715"  # 100 - 0.01185 fee - 0.001 mark against entry


def test_an_immediate_order_fills_across_the_book_and_closes_with_profit(
    venue: Exchange, trader: Trader, info: Info
) -> None:
    user = trader.account_address
    [opened] = statuses(trader.market_open("BTC", True, 0.001))
    assert opened["filled"]["totalSz"] == "0.001"
    assert opened["filled"]["avgPx"] == "80001.0"
    venue.set_mark("BTC", 81_000)
    [closed] = statuses(trader.market_close("BTC"))
    assert closed["filled"]["avgPx"] == "80999.0"
    newest = info.user_fills(user)[0]
    assert (newest["dir"], newest["closedPnl"], newest["crossed"]) == ("Close Long", "0.998", True)
    by_time = info.user_fills_by_time(user, 0)
    assert [fill["tid"] for fill in by_time] == [fill["tid"] for fill in reversed(info.user_fills(user))]
    assert info.user_state(user)["assetPositions"] == []


def test_a_resting_order_is_cancelled_by_cloid_and_by_number(trader: Trader, info: Info) -> None:
    cloid = Cloid.from_int(2)
    trader.order("ETH", True, 0.01, 2_000, GTC, cloid=cloid)
    assert statuses(trader.cancel_by_cloid("ETH", cloid)) == ["success"]
    [resting] = statuses(trader.order("ETH", False, 0.01, 4_000, ALO))
    assert statuses(trader.cancel("ETH", resting["resting"]["oid"])) == ["success"]
    again = statuses(trader.cancel_by_cloid("ETH", cloid))
    assert again == [{"error": "Order was never placed, already canceled, or filled. asset=1"}]
    assert info.open_orders(trader.account_address) == []
    newest_first = [entry["status"] for entry in info.historical_orders(trader.account_address)]
    assert newest_first == ["canceled", "open", "canceled", "open"]


def test_a_thin_book_fills_in_part(venue: Exchange, trader: Trader, info: Info) -> None:
    venue.market.depth, usual = venue.market.depth / 100_000, venue.market.depth
    [some] = statuses(trader.order("BTC", True, 0.001, 80_002, IOC))
    venue.market.depth = usual
    assert 0 < float(some["filled"]["totalSz"]) < 0.001
    order = info.query_order_by_oid(trader.account_address, some["filled"]["oid"])["order"]
    assert order["status"] == "canceled"


def test_leverage_is_set_and_read_back(trader: Trader, info: Info) -> None:
    assert trader.update_leverage(3, "BTC")["status"] == "ok"
    statuses(trader.market_open("BTC", True, 0.001))
    held = info.user_state(trader.account_address)["assetPositions"][0]["position"]
    assert held["leverage"] == {"type": "cross", "value": 3}
    assert held["marginUsed"] == "26.666667"
    assert trader.update_leverage(41, "BTC")["status"] == "err"
    assert trader.update_leverage(3, "BTC", is_cross=False)["status"] == "err"


# -- what the venue refuses, in its words


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (("BTC", True, 0.0001, 80_000, GTC), "Order must have minimum value of $10. asset=0"),
        (("ETH", True, 0.0049, 2_000.5, GTC), "Order must have minimum value of $10. asset=1"),
        (("BTC", True, 0.001, 79_000.5, GTC), "Order has invalid price. asset=0"),
        (("DOGE", True, 100, 0.1234567, GTC), "Order has invalid price. asset=12"),
        (("SOL", True, 0.5, 99.12345, GTC), "Order has invalid price. asset=5"),
        (("SOL", True, 0.5001, 99, GTC), "Order has invalid size. asset=5"),
        (("BTC", True, 0.1, 80_000, GTC), "Insufficient margin to place order. asset=0"),
        (("BTC", True, 0.001, 79_000, IOC),
         "Order could not immediately match against any resting orders. asset=0"),
        (("BTC", True, 0.001, 80_001, ALO),
         "Post only order would have immediately matched, bbo was 79999.0@80001.0. asset=0"),
        (("BTC", True, 0.01, 3_000, GTC), "Order price too far from oracle asset=0"),
        (("BTC", False, 0.001, 70_000, {"trigger": {"isMarket": True, "triggerPx": 70_000, "tpsl": "sl"}}),
         "Invalid TP/SL price. asset=0"),
    ],
)  # fmt: skip
def test_an_order_is_refused_in_the_venues_words(trader: Trader, order: tuple[Any, ...], words: str) -> None:
    assert statuses(trader.order(*order)) == [{"error": words}]


def test_refused_orders_leave_their_status(trader: Trader, info: Info) -> None:
    trader.order("BTC", True, 0.0001, 80_000, GTC, cloid=Cloid.from_int(3))
    found = info.query_order_by_cloid(trader.account_address, Cloid.from_int(3))
    assert found["order"]["status"] == "minTradeNtlRejected"
    assert info.query_order_by_cloid(trader.account_address, Cloid.from_int(4)) == {"status": "unknownOid"}


def test_reduce_only_never_opens_and_a_partial_close_under_the_minimum_is_refused(
    venue: Exchange, trader: Trader
) -> None:
    opens = statuses(trader.order("BTC", False, 0.001, 79_000, IOC, reduce_only=True))
    assert opens == [{"error": "Reduce only order would increase position. asset=0"}]
    trader.market_open("BTC", True, 0.00015)
    part = statuses(trader.market_close("BTC", sz=0.00005))
    assert part == [{"error": "Order must have minimum value of $10. asset=0"}]
    venue.set_mark("BTC", 60_000)  # the whole position is worth $9 now
    venue.small_close = False
    assert "minimum value" in statuses(trader.market_close("BTC"))[0]["error"]
    venue.small_close = True
    assert "filled" in statuses(trader.market_close("BTC"))[0]


def test_a_used_cloid_is_refused(trader: Trader) -> None:
    statuses(trader.order("BTC", True, 0.001, 79_000, GTC, cloid=Cloid.from_int(5)))
    [again] = statuses(trader.order("BTC", True, 0.001, 79_000, GTC, cloid=Cloid.from_int(5)))
    assert "cloid" in again["error"]


def test_the_dead_mans_switch_is_refused_to_a_small_account(venue: Exchange, trader: Trader, info: Info) -> None:
    user, at = trader.account_address, int(time.time() * 1000) + 60_000
    words = "Cannot set scheduled cancel time until enough volume traded. Required: $1000000. Traded: $0."
    assert trader.schedule_cancel(at) == {"status": "err", "response": words}
    venue.account(user).volume += 2_000_000
    assert trader.schedule_cancel(at)["status"] == "ok"
    statuses(trader.order("BTC", True, 0.001, 79_000, GTC))
    venue.now.ahead = 61  # type: ignore[attr-defined]
    wait_for(lambda: info.open_orders(user) == [])
    assert info.historical_orders(user)[0]["status"] == "scheduledCancel"


def test_an_action_may_expire(trader: Trader) -> None:
    trader.set_expires_after(int(time.time() * 1000) - 1)
    assert "expired" in trader.order("BTC", True, 0.001, 79_000, GTC)["response"]
    trader.set_expires_after(int(time.time() * 1000) + 60_000)
    assert statuses(trader.order("BTC", True, 0.001, 79_000, GTC))


# -- signatures, nonces, agents


def sent(url: str, wallet: LocalAccount, at: int, **changed: Any) -> Any:
    """Send a signed no-op, with ``changed`` parts of the body."""
    action = {"type": "noop"}
    signature = signing.sign_l1_action(wallet, action, None, at, None, True)
    body = {"action": action, "nonce": at, "signature": signature} | changed
    reply = httpx.post(f"{url}/exchange", json=body, trust_env=False)
    assert reply.status_code == 200
    return reply.json()


def test_a_forged_signature_is_somebody_unknown(url: str, trader: Trader) -> None:
    now = int(time.time() * 1000)
    reply = sent(url, trader.wallet, now, nonce=now + 1)
    assert reply["status"] == "err"
    assert reply["response"].startswith("User or API Wallet 0x")
    assert reply["response"].endswith(" does not exist.")
    stranger: LocalAccount = Account.create()
    words = f"User or API Wallet {stranger.address.lower()} does not exist."
    assert sent(url, stranger, now) == {"status": "err", "response": words}


def test_a_nonce_works_once_and_only_in_its_window(url: str, trader: Trader) -> None:
    now = int(time.time() * 1000)
    assert sent(url, trader.wallet, now)["status"] == "ok"
    assert sent(url, trader.wallet, now)["response"] == f"Invalid nonce: duplicate nonce {now}"
    assert sent(url, trader.wallet, now - 3 * DAY)["response"].startswith("Invalid nonce: nonce too low")
    assert sent(url, trader.wallet, now + 2 * DAY)["response"].startswith("Invalid nonce: nonce too high")


def test_a_signature_for_the_test_network_is_an_unknown_users(url: str, master: LocalAccount, trader: Trader) -> None:
    now, action = int(time.time() * 1000), {"type": "noop"}
    signature = signing.sign_l1_action(trader.wallet, action, None, now, None, False)
    assert sent(url, trader.wallet, now, signature=signature)["response"].endswith(" does not exist.")
    approval, _ = Trader(master, url, timeout=10).approve_agent("second")  # signs for the test network at this address
    assert approval["response"].startswith("Must deposit before performing actions. User: 0x")
    assert master.address.lower() not in approval["response"]


def test_the_master_trades_for_itself(url: str, master: LocalAccount) -> None:
    assert "filled" in statuses(mainnet_client(master, url).market_open("SOL", False, 0.2))[0]


def test_an_expired_agent_is_refused(venue: Exchange, url: str, master: LocalAccount, info: Info) -> None:
    until = int(time.time() * 1000) + 3_600_000
    _, key = mainnet_client(master, url).approve_agent(f"brief valid_until {until}")
    agent: LocalAccount = Account.from_key(key)
    assert info.extra_agents(master.address) == [
        {"name": "brief", "address": agent.address.lower(), "validUntil": until}
    ]
    trader = mainnet_client(agent, url, account=master.address)
    assert statuses(trader.order("BTC", True, 0.001, 79_000, GTC))
    venue.now.ahead = 3_601  # type: ignore[attr-defined]
    words = f"User or API Wallet {agent.address.lower()} does not exist."
    assert trader.order("BTC", True, 0.001, 79_000, GTC) == {"status": "err", "response": words}
    assert info.extra_agents(master.address) == []
    assert info.user_role(agent.address) == {"role": "missing"}


def test_a_replaced_agent_is_refused_and_the_new_one_trades(
    url: str, master: LocalAccount, trader: Trader, info: Info
) -> None:
    old = trader.wallet.address.lower()
    assert info.user_role(old) == {"role": "agent", "data": {"user": master.address.lower()}}
    _, key = mainnet_client(master, url).approve_agent("runner")
    refused = trader.order("BTC", True, 0.001, 79_000, GTC)
    assert refused == {"status": "err", "response": f"User or API Wallet {old} does not exist."}
    after = mainnet_client(Account.from_key(key), url, account=master.address)
    assert statuses(after.order("BTC", True, 0.001, 79_000, GTC))
    assert [agent["name"] for agent in info.extra_agents(master.address)] == ["runner"]


def test_a_removed_agent_is_gone_and_others_stay(venue: Exchange, trader: Trader, url: str, info: Info) -> None:
    master = venue.agents.of(trader.wallet.address.lower(), venue.ms()).master  # type: ignore[union-attr]
    venue.remove_agent(master, trader.wallet.address)
    assert info.extra_agents(master) == []
    assert sent(url, trader.wallet, int(time.time() * 1000))["response"].endswith("does not exist.")


def test_an_unnamed_agent_shows_in_its_role_only(url: str, master: LocalAccount, info: Info) -> None:
    _, key = mainnet_client(master, url).approve_agent()
    assert info.extra_agents(master.address) == []
    assert info.user_role(Account.from_key(key).address)["role"] == "agent"


def test_an_agent_cannot_move_money_or_approve(trader: Trader, master: LocalAccount) -> None:
    words = f"Must deposit before performing actions. User: {trader.wallet.address.lower()}"
    assert trader.usd_transfer(1, master.address) == {"status": "err", "response": words}
    assert trader.withdraw_from_bridge(1, master.address) == {"status": "err", "response": words}
    assert trader.approve_agent("second")[0] == {"status": "err", "response": words}


def test_the_master_moves_money(url: str, master: LocalAccount, info: Info) -> None:
    friend = Account.create().address
    owner = mainnet_client(master, url)
    assert owner.usd_transfer(40, friend)["status"] == "ok"
    assert info.user_state(friend)["marginSummary"]["accountValue"] == "40.0"
    assert owner.withdraw_from_bridge(61, master.address)["status"] == "err"
    assert [e["delta"]["type"] for e in info.user_non_funding_ledger_updates(master.address, 0)] == [
        "deposit", "internalTransfer",
    ]  # fmt: skip


def test_without_a_deposit_nothing_is_approved(url: str) -> None:
    wallet: LocalAccount = Account.create()
    reply, _ = mainnet_client(wallet, url).approve_agent("runner")
    assert reply["response"] == f"Must deposit before performing actions. User: {wallet.address.lower()}"


# -- reading


def test_a_unified_account_keeps_its_money_in_spot(venue: Exchange, master: LocalAccount, info: Info) -> None:
    assert info.query_user_abstraction_state(master.address) == "default"
    assert info.spot_user_state(master.address)["balances"] == []
    venue.set_mode(master.address, "unifiedAccount")
    assert info.query_user_abstraction_state(master.address) == "unifiedAccount"
    assert info.user_state(master.address)["marginSummary"]["accountValue"] == "0.0"
    [usdc] = info.spot_user_state(master.address)["balances"]
    assert (usdc["coin"], usdc["total"], usdc["hold"]) == ("USDC", "100.0", "0.0")


def test_everything_a_stranger_asks_is_empty_not_an_error(info: Info) -> None:
    nobody = Account.create().address
    assert info.user_state(nobody)["marginSummary"]["accountValue"] == "0.0"
    assert info.user_role(nobody) == {"role": "missing"}
    assert info.open_orders(nobody) == info.user_fills(nobody) == info.historical_orders(nobody) == []
    assert info.user_rate_limit(nobody)["nRequestsCap"] == 10_000
    assert dict(info.portfolio(nobody))["day"]["vlm"] == "0.0"
    assert info.user_fees(nobody)["userCrossRate"] == "0.00045"


def test_the_market_reads_as_the_venues(info: Info) -> None:
    meta, contexts = info.meta_and_asset_ctxs()
    assert (meta["universe"][0]["name"], meta["universe"][0]["szDecimals"]) == ("BTC", 5)
    assert contexts[0]["markPx"] == info.all_mids()["BTC"] == "80000.0"
    bids, asks = info.l2_snapshot("BTC")["levels"]
    assert float(bids[0]["px"]) < 80_000 < float(asks[0]["px"])
    now = int(time.time() * 1000)
    candles = info.candles_snapshot("ETH", "5m", now - 3_600_000, now)
    assert len(candles) == 12
    assert all(float(c["l"]) <= float(c["o"]) <= float(c["h"]) for c in candles)
    assert all(a["c"] == b["o"] for a, b in pairwise(candles))


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/info", '{"type":"webData9"}', 422),
        ("/info", '{"type":"clearinghouseState"}', 422),
        ("/info", '{"type":"clearinghouseState","user":"0x12"}', 422),
        ("/info", "[1]", 422),
        ("/info", "{", 400),
        ("/exchange", '{"action":{"type":"order"}}', 422),
        ("/exchange", '{"action":{"type":"perpDeploy"},"nonce":1,"signature":{"r":"0x1","s":"0x1","v":27}}', 422),
        ("/exchange", '{"action":{"type":"noop"},"nonce":1,"signature":{"r":"0x0","s":"0x0","v":27}}', 422),
    ],
)
def test_an_unreadable_body_is_refused(url: str, path: str, content: str, status: int) -> None:
    reply = httpx.post(url + path, content=content, trust_env=False)
    assert reply.status_code == status
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.text.startswith("Failed to ")


def test_an_unknown_route_is_named(url: str) -> None:
    reply = httpx.get(f"{url}/explorer", trust_env=False)
    assert reply.status_code == 404
    assert "GET /explorer" in reply.text


# -- limits


def test_an_address_that_has_spent_its_minute_gets_429_and_another_does_not(venue: Exchange, url: str) -> None:
    venue.limits.minute = 60
    try:
        question = {"type": "userRole", "user": "0x" + "ab" * 20}  # weighs 60
        replies = [httpx.post(f"{url}/info", json=question, trust_env=False) for _ in range(21)]
        assert [reply.status_code for reply in replies] == [200] * 20 + [429]
        assert (replies[-1].text, replies[-1].headers["x-rehearsal-minute"]) == ("null", "60")
        with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.9"), trust_env=False) as elsewhere:
            assert elsewhere.post(f"{url}/info", json=question).status_code == 200
        venue.now.ahead = 61  # type: ignore[attr-defined]
        assert httpx.post(f"{url}/info", json=question, trust_env=False).status_code == 200
    finally:
        venue.limits.minute = None


# -- WebSocket


class Frames:
    """A client that reads frames until the one it wants."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        assert connection.recv(timeout=10) == "Websocket connection established."

    def ask(self, method: str, **subscription: Any) -> None:
        self.connection.send(json.dumps({"method": method, "subscription": subscription}))

    def next(self, channel: str) -> Any:
        while True:
            frame = json.loads(self.connection.recv(timeout=10))
            if frame["channel"] == channel:
                return frame["data"]


@contextmanager
def open_frames(url: str) -> Iterator[Frames]:
    with connect(url.replace("http", "ws") + "/ws", proxy=None) as connection:
        yield Frames(connection)


@pytest.fixture
def frames(url: str) -> Iterator[Frames]:
    with open_frames(url) as opened:
        yield opened


def test_the_sdk_hears_fills_over_its_socket(trader: Trader, url: str) -> None:
    heard: list[Any] = []
    listener = Info(url, timeout=10)
    try:
        listener.subscribe({"type": "userFills", "user": trader.account_address}, heard.append)
        wait_for(lambda: heard)
        assert heard[0]["data"]["isSnapshot"] is True
        [opened] = statuses(trader.market_open("BTC", True, 0.001))
        wait_for(lambda: len(heard) > 1)
        assert heard[1]["data"]["fills"][0]["oid"] == opened["filled"]["oid"]
        assert "isSnapshot" not in heard[1]["data"]
    finally:
        listener.disconnect_websocket()


def test_events_of_an_order_arrive(trader: Trader, frames: Frames) -> None:
    user = trader.account_address
    for kind in ("orderUpdates", "userEvents"):
        frames.ask("subscribe", type=kind, user=user)
    assert frames.next("orderUpdates") == []
    assert frames.next("user") == {"fills": []}
    [opened] = statuses(trader.market_open("BTC", True, 0.001))
    assert frames.next("user")["fills"][0]["oid"] == opened["filled"]["oid"]
    assert frames.next("orderUpdates")[0]["status"] == "filled"


@pytest.mark.parametrize(
    ("kind", "more", "key"),
    [
        ("allMids", {}, "mids"),
        ("l2Book", {"coin": "BTC"}, "levels"),
        ("bbo", {"coin": "BTC"}, "bbo"),
        ("activeAssetCtx", {"coin": "BTC"}, "ctx"),
        ("candle", {"coin": "BTC", "interval": "1m"}, "o"),
        ("clearinghouseState", {"user": None}, "clearinghouseState"),
        ("openOrders", {"user": None}, "orders"),
        ("spotState", {"user": None}, "spotState"),
        ("webData3", {"user": None}, "userState"),
        ("activeAssetData", {"user": None, "coin": "BTC"}, "leverage"),
        ("userNonFundingLedgerUpdates", {"user": None}, "isSnapshot"),
    ],
)
def test_a_subscription_is_confirmed_and_shown_at_once(
    frames: Frames, master: LocalAccount, kind: str, more: dict[str, Any], key: str
) -> None:
    wanted = {"type": kind} | more | ({"user": master.address} if "user" in more else {})
    frames.ask("subscribe", **wanted)
    assert frames.next("subscriptionResponse") == {"method": "subscribe", "subscription": wanted}
    assert key in frames.next(kind)


def test_pictures_follow_the_market(venue: Exchange, frames: Frames) -> None:
    frames.ask("subscribe", type="allMids")
    assert frames.next("allMids")["mids"]["BTC"] == "80000.0"
    venue.set_mark("BTC", 81_000)
    wait_for(lambda: frames.next("allMids")["mids"]["BTC"] == "81000.0")


def test_a_refused_subscription_gets_an_error_frame(frames: Frames, master: LocalAccount) -> None:
    frames.ask("subscribe", type="webData2", user=master.address)
    assert frames.next("error").startswith('Invalid subscription {"type":"webData2"')
    frames.ask("subscribe", type="l2Book", coin="NOPE")
    assert frames.next("error").startswith("Invalid subscription")
    frames.connection.send("hello")
    assert "hello" in frames.next("error")
    frames.ask("subscribe", type="allMids")
    frames.ask("subscribe", type="allMids")
    assert frames.next("error").startswith("Already subscribed")
    frames.ask("unsubscribe", type="allMids")
    assert frames.next("subscriptionResponse")["method"] == "unsubscribe"


def test_ping_is_answered(frames: Frames) -> None:
    frames.connection.send('{"method":"ping"}')
    assert json.loads(frames.connection.recv(timeout=10)) == {"channel": "pong"}


def test_an_outage_closes_every_socket(venue: Exchange, frames: Frames) -> None:
    drop_sockets(venue)
    with pytest.raises(ConnectionClosed):
        frames.connection.recv(timeout=10)


# -- faults


def test_lost_fills_show_on_rest_and_not_on_the_socket(
    venue: Exchange, trader: Trader, info: Info, frames: Frames
) -> None:
    user = trader.account_address
    frames.ask("subscribe", type="userFills", user=user)
    frames.next("userFills")
    venue.faults = Faults(lose_fills=True)
    [lost] = statuses(trader.market_open("BTC", True, 0.001))
    venue.faults = Faults(duplicate_fills=True)
    [twice] = statuses(trader.market_open("BTC", True, 0.001))
    heard = [frames.next("userFills")["fills"][0] for _ in range(2)]
    assert [fill["oid"] for fill in heard] == [twice["filled"]["oid"]] * 2
    assert heard[0]["tid"] == heard[1]["tid"]
    assert {fill["oid"] for fill in info.user_fills(user)} == {lost["filled"]["oid"], twice["filled"]["oid"]}


def test_late_fills_are_listed_late(venue: Exchange, trader: Trader, info: Info) -> None:
    user = trader.account_address
    venue.faults = Faults(late_fills=30)
    statuses(trader.market_open("BTC", True, 0.001))
    assert info.user_fills(user) == []
    assert info.user_state(user)["assetPositions"]
    venue.now.ahead = 31  # type: ignore[attr-defined]
    assert wait_for(lambda: info.user_fills(user))


def test_a_fill_executed_twice_doubles_the_position(venue: Exchange, trader: Trader, info: Info) -> None:
    venue.faults = Faults(fill_twice=True)
    statuses(trader.market_open("BTC", True, 0.001))
    assert info.user_state(trader.account_address)["assetPositions"][0]["position"]["szi"] == "0.002"
    assert len({fill["tid"] for fill in info.user_fills(trader.account_address)}) == 2


def test_everything_can_be_refused(venue: Exchange, trader: Trader) -> None:
    venue.faults = Faults(reject="Insufficient margin to place order.")
    refused = statuses(trader.market_open("BTC", True, 0.001))
    assert refused == [{"error": "Insufficient margin to place order. asset=0"}]
