"""The stand-in exchange as a state machine: money, margin, prices, agents and nonces, on a clock of the test's own."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.rehearsal.exchange.accounts import Account, Order
from runbook_lib.rehearsal.exchange.agents import DAY, ZERO, Agents, Refused
from runbook_lib.rehearsal.exchange.info_answers import ANSWERS
from runbook_lib.rehearsal.exchange.market_prices import BY_ID, INDEX, Market, named
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange, Faults
from runbook_lib.rehearsal.exchange.signed_actions import read_order

NOON = 1_795_348_800.0  # seconds: 2026-11-22 12:00 UTC
USER, OTHER = "0x" + "ab" * 20, "0x" + "cd" * 20
STARTS = {"BTC": Decimal(80_000), "ETH": Decimal(3_000), "DOGE": Decimal("0.2")}


class Clock:
    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> float:
        return self.at


def opened(usdc: float = 1_000, **leverage: int) -> tuple[Exchange, Account]:
    """An exchange whose prices stand still, and a funded account."""
    exchange = Exchange(Clock())
    for coin, px in STARTS.items():
        exchange.set_mark(coin, px)
    exchange.fund(USER, usdc)
    exchange.account(USER).leverage |= leverage
    return exchange, exchange.account(USER)


def order(coin: str, buy: bool, sz: Any, px: Any, how: str = "Gtc") -> Order:
    tif, _, reduce = how.partition(" ")
    t = {"limit": {"tif": tif}}
    return read_order({"a": INDEX[coin], "b": buy, "p": str(px), "s": str(sz), "r": bool(reduce), "t": t})


def ask(exchange: Exchange, kind: str, **more: Any) -> Any:
    return ANSWERS[kind](exchange, {"type": kind, "user": USER, **more})


# -- money


@st.composite
def moves(draw: st.DrawFn) -> tuple[Any, ...]:
    """A price that changes by thousandths, or an order: its value in dollars, its price in ticks from the mark."""
    coin = draw(st.sampled_from(sorted(STARTS)))
    if draw(st.integers(0, 2)) == 0:
        return ("mark", coin, draw(st.integers(-40, 40)))
    how = draw(st.sampled_from(["Gtc", "Ioc", "Ioc", "Alo"])) + draw(st.sampled_from(["", "", "", " reduce"]))
    return ("order", coin, draw(st.booleans()), draw(st.integers(5, 4_000)), draw(st.integers(-30, 30)), how)


def play(exchange: Exchange, account: Account, move: tuple[Any, ...]) -> None:
    asset = named(move[1])
    mid = exchange.market.mid(asset.name)
    if move[0] == "mark":
        exchange.set_mark(asset.name, (mid * (1 + Decimal(move[2]) / 1000)).quantize(asset.tick(mid)))
        return
    _, coin, buy, value, ticks, how = move
    size = round(value / mid, asset.sz_decimals)
    exchange.place(account, order(coin, buy, size, mid + ticks * asset.tick(mid), how))


@given(st.lists(moves(), min_size=5, max_size=30))
def test_money_is_conserved_whatever_is_traded(steps: list[tuple[Any, ...]]) -> None:
    """Equity is the deposit, less fees, plus what the fills and the marks make of it; sizes are sums of fills."""
    exchange, account = opened(1_000)
    exchange.market.depth = Decimal(300)
    for step in steps:
        play(exchange, account, step)
        fills = [{key: Decimal(fill[key]) for key in ("px", "sz", "fee", "closedPnl")} for fill in account.fills]
        signs = [1 if fill["side"] == "B" else -1 for fill in account.fills]
        fees = sum(fill["fee"] for fill in fills)
        assert account.cash == 1_000 + sum(fill["closedPnl"] for fill in fills) - fees
        marks = sum(account.szi(coin) * exchange.market.mid(coin) for coin in STARTS)
        paid = sum(sign * fill["sz"] * fill["px"] for sign, fill in zip(signs, fills, strict=True))
        assert exchange.equity(account) == 1_000 - fees - paid + marks
        for coin in STARTS:
            of_coin = [
                s * f["sz"] for s, f, raw in zip(signs, fills, account.fills, strict=True) if raw["coin"] == coin
            ]
            assert account.szi(coin) == sum(of_coin)
        assert account.volume == sum(fill["sz"] * fill["px"] for fill in fills)


@given(st.lists(moves(), max_size=15))
def test_sizes_of_an_order_add_up_and_only_open_orders_rest(steps: list[tuple[Any, ...]]) -> None:
    exchange, account = opened(10_000)
    for step in steps:
        play(exchange, account, step)
    for one in account.orders.values():
        assert 0 <= one.filled <= one.asked
        assert (one.status == "open") == (one.oid in account.resting)
        assert one.status != "filled" or one.sz == 0
        booked = sum(Decimal(f["sz"]) for f in account.fills if f["oid"] == one.oid)
        assert booked == one.filled


@given(st.lists(moves(), max_size=15))
def test_no_order_takes_more_margin_than_there_is(steps: list[tuple[Any, ...]]) -> None:
    exchange, account = opened(200)
    for step in steps:
        before = exchange.margin(account, account.resting)
        play(exchange, account, step)
        if step[0] == "order":
            after = exchange.margin(account, account.resting)
            fees = sum(Decimal(fill["fee"]) for fill in account.fills)
            slack = fees + Decimal(40)  # what a taker loses to the book at once: 20 ticks of every coin at most
            assert after <= max(before, exchange.equity(account)) + slack


@pytest.mark.parametrize("buy", [True, False])
def test_the_displayed_liquidation_price_is_where_equity_meets_maintenance(buy: bool) -> None:
    exchange, account = opened(200, BTC=20)
    exchange.place(account, order("BTC", buy, "0.02", 80_010 if buy else 79_990, "Ioc"))
    limit = Decimal(ask(exchange, "clearinghouseState")["assetPositions"][0]["position"]["liquidationPx"])
    exchange.market.pins["BTC"] = (NOON, limit)
    assert abs(exchange.equity(account) - exchange.maintenance(account)) < Decimal("0.00001")


def test_a_position_turned_over_is_closed_and_opened_at_the_new_price() -> None:
    exchange, account = opened()
    exchange.place(account, order("BTC", True, "0.001", 80_001, "Ioc"))
    exchange.set_mark("BTC", 81_000)
    exchange.place(account, order("BTC", False, "0.003", 80_999, "Ioc"))
    assert account.fills[-1]["dir"] == "Long > Short"
    assert account.fills[-1]["closedPnl"] == "0.998"
    assert (account.szi("BTC"), account.positions["BTC"].cost) == (Decimal("-0.002"), Decimal("-161.998"))


def test_less_than_the_bridge_takes_is_lost() -> None:
    exchange = Exchange(Clock())
    exchange.fund(USER, "4.99")
    assert exchange.account(USER).cash == 0
    assert ask(exchange, "userRole") == {"role": "missing"}


def test_unified_money_backs_positions_from_spot() -> None:
    exchange, account = opened(100)
    exchange.set_mode(USER, "unifiedAccount")
    exchange.place(account, order("BTC", True, "0.001", 80_001, "Ioc"))
    [usdc] = ask(exchange, "spotClearinghouseState")["balances"]
    assert (usdc["total"], usdc["hold"]) == ("99.964", "4.0")
    summary = ask(exchange, "clearinghouseState")
    assert (summary["marginSummary"]["accountValue"], summary["withdrawable"]) == ("3.999", "0.0")


def test_a_reduce_only_order_goes_when_there_is_nothing_to_reduce() -> None:
    exchange, account = opened()
    exchange.place(account, order("BTC", True, "0.002", 80_001, "Ioc"))
    exchange.place(account, order("BTC", False, "0.002", 82_000, "Gtc reduce"))
    exchange.place(account, order("BTC", False, "0.002", 79_999, "Ioc"))
    exchange.advance()
    assert [one.status for one in account.orders.values()] == ["filled", "reduceOnlyCanceled", "filled"]


def test_two_accounts_are_two_margins_and_two_books() -> None:
    exchange, account = opened()
    exchange.fund(OTHER, 50)
    exchange.place(account, order("BTC", True, "0.001", 79_000))
    exchange.place(exchange.account(OTHER), order("BTC", False, "0.001", 81_000))
    assert len(ask(exchange, "openOrders")) == 1
    exchange.set_mark("BTC", 81_500)
    assert exchange.account(OTHER).szi("BTC") == Decimal("-0.001")
    assert account.szi("BTC") == 0


# -- other books than the main one


def test_a_position_of_another_exchange_shows_only_where_it_is_asked_for() -> None:
    exchange, account = opened(1_000)
    exchange.set_mark("xyz:GOLD", 4_000)
    exchange.place(account, order("xyz:GOLD", True, "0.05", 4_010, "Ioc"))
    exchange.place(account, order("xyz:GOLD", True, "0.05", 3_900))
    assert ask(exchange, "clearinghouseState")["assetPositions"] == []
    assert ask(exchange, "openOrders") == ask(exchange, "frontendOpenOrders") == []
    [held] = ask(exchange, "clearinghouseState", dex="xyz")["assetPositions"]
    assert (held["position"]["coin"], held["position"]["szi"]) == ("xyz:GOLD", "0.05")
    assert [resting["coin"] for resting in ask(exchange, "frontendOpenOrders", dex="xyz")] == ["xyz:GOLD"]
    assert ask(exchange, "clearinghouseState", dex="flx")["assetPositions"] == []


def test_the_values_of_all_exchanges_add_up_to_the_equity() -> None:
    exchange, account = opened(1_000)
    exchange.place(account, order("xyz:GOLD", True, "0.05", 5_000, "Ioc"))
    exchange.place(account, order("BTC", True, "0.001", 80_010, "Ioc"))
    values = [
        Decimal(ask(exchange, "clearinghouseState", dex=dex)["marginSummary"]["accountValue"])
        for dex in ("", "xyz", "flx")
    ]
    assert sum(values) == exchange.equity(account)
    assert values[1] > 0 == values[2]


def test_an_exchange_there_is_not_is_no_empty_book() -> None:
    exchange, _ = opened()
    for kind in ("clearinghouseState", "openOrders", "frontendOpenOrders", "meta", "allMids"):
        with pytest.raises(KeyError):
            ask(exchange, kind, dex="nosuch")


def test_tokens_are_bought_and_sold_and_spot_orders_show_in_the_main_book() -> None:
    exchange, account = opened(1_000)
    exchange.set_mark("@107", 40)
    buying = order("@107", True, "1", 41, "Ioc")
    assert exchange.place(account, buying) == {"error": "Insufficient spot balance. asset=10107"}
    account.receive("USDC", Decimal(100))
    assert "filled" in exchange.place(account, order("@107", True, "1", 41, "Ioc"))
    exchange.place(account, order("@107", True, "0.5", 30))
    balances = {row["coin"]: row for row in ask(exchange, "spotClearinghouseState")["balances"]}
    assert balances["HYPE"]["total"] == "0.9993"  # less the fee, which is taken from what is received
    assert (balances["USDC"]["total"], balances["USDC"]["hold"]) == ("59.999", "15.0")
    assert [resting["coin"] for resting in ask(exchange, "openOrders")] == ["@107"]
    assert ask(exchange, "openOrders", dex="xyz") == []
    assert ask(exchange, "clearinghouseState")["assetPositions"] == []
    assert "filled" in exchange.place(account, order("@107", False, "0.9", 39, "Ioc"))
    assert [(fill["dir"], fill["feeToken"]) for fill in account.fills] == [("Buy", "HYPE"), ("Sell", "USDC")]


def test_perpdexs_names_every_exchange_behind_the_venues_own() -> None:
    exchange, _ = opened()
    main, *others = ask(exchange, "perpDexs")
    assert main is None
    assert [other["name"] for other in others] == ["xyz", "flx"]
    assert [asset["name"] for asset in ask(exchange, "meta", dex="xyz")["universe"]] == ["xyz:XYZ100", "xyz:GOLD"]
    assert (INDEX["xyz:GOLD"], INDEX["flx:TSLA"], INDEX["@107"]) == (110_001, 120_000, 10_107)


# -- fills that no order of the user's made


def test_a_liquidation_closes_everything_without_a_cloid() -> None:
    exchange, account = opened(1_000)
    exchange.place(account, order("BTC", True, "0.001", 80_010, "Ioc"))
    exchange.place(account, order("BTC", True, "0.001", 70_000))
    exchange.liquidate(USER)
    fill = ask(exchange, "userFills")[0]
    assert (fill["dir"], fill["sz"], "cloid" in fill) == ("Close Long", "0.001", False)
    assert fill["liquidation"] == {"liquidatedUser": USER, "markPx": "80000.0", "method": "market"}
    assert account.positions == account.resting == {}
    assert ask(exchange, "historicalOrders")[0]["status"] == "liquidatedCanceled"


def test_a_slice_of_a_twap_has_its_own_list() -> None:
    exchange, _ = opened(1_000)
    exchange.trade_slice(USER, "BTC", Decimal("-0.001"))
    [fill] = ask(exchange, "userFills")
    assert fill["twapId"] and "cloid" not in fill and fill["hash"] == "0x" + "0" * 64
    assert ask(exchange, "userTwapSliceFills") == [{"fill": fill, "twapId": fill["twapId"]}]
    assert ask(exchange, "historicalOrders") == []


def test_a_stale_answer_has_its_own_time_and_nothing_that_came_since() -> None:
    exchange, account = opened(1_000)
    exchange.place(account, order("BTC", True, "0.001", 80_010, "Ioc"))
    exchange.faults = Faults(stale=600)
    state = ask(exchange, "clearinghouseState")
    assert (state["time"], state["assetPositions"]) == (int(NOON * 1000) - 600_000, [])
    exchange.faults = Faults()
    assert ask(exchange, "clearinghouseState")["time"] == int(NOON * 1000)


# -- prices and sizes


@given(st.sampled_from(list(BY_ID.values())), st.integers(1, 10**9), st.integers(0, 8))
def test_a_price_is_taken_by_its_digits(asset: Any, digits: int, places: int) -> None:
    """At most five significant figures and 6 (spot: 8) - szDecimals decimals; a whole price may be of any length."""
    text = f"{Decimal(digits).scaleb(-places).normalize():f}"
    whole, _, fraction = text.partition(".")
    figures = len((whole + fraction).lstrip("0"))
    taken = not fraction or (figures <= 5 and len(fraction) <= asset.decimals - asset.sz_decimals)
    assert (asset.complaint(Decimal(text), Decimal(1)) is None) == taken


@given(st.sampled_from(list(BY_ID.values())), st.integers(0, 10**9), st.integers(0, 8))
def test_a_size_is_taken_by_its_decimals(asset: Any, digits: int, places: int) -> None:
    size = Decimal(digits).scaleb(-places)
    complaint = asset.complaint(Decimal(1), size)
    exact = size == round(size, asset.sz_decimals)
    assert complaint == ("Order has zero size." if not digits else None if exact else "Order has invalid size.")


@given(st.sampled_from(list(BY_ID.values())), st.integers(0, 10), st.floats(0, 2e9))
def test_every_price_of_the_book_is_one_the_venue_takes(asset: Any, seed: int, at: float) -> None:
    market = Market(lambda: at, seed)
    bids, asks = (market.levels(asset.name, side) for side in (-1, 1))
    for px, sz in [*bids, *asks]:
        assert asset.complaint(px, sz) is None
    assert [px for px, _ in bids] == sorted((px for px, _ in bids), reverse=True)
    assert bids[0][0] < market.mid(asset.name) < asks[0][0]


def test_the_market_is_a_function_of_seed_and_clock() -> None:
    one, same, other = (Market(lambda: NOON, seed) for seed in (1, 1, 2))
    assert one.mid("BTC") == same.mid("BTC") != other.mid("BTC")
    assert one.levels("BTC", 1) == same.levels("BTC", 1)
    assert len({one.mid("BTC", NOON + second) for second in range(10)}) > 5
    [candle] = one.candles("BTC", "1m", int(NOON) * 1000 - 60_000, int(NOON) * 1000 - 1)
    assert (candle["o"], candle["c"]) == (f"{one.mid('BTC', NOON - 60)}.0", f"{one.mid('BTC', NOON)}.0")


def test_candles_and_funding_need_no_end() -> None:
    market = Market(lambda: NOON)
    since = int(NOON - 7_200) * 1000
    assert len(market.candles("BTC", "1h", since)) == 3  # the last one has just begun
    assert [rate["time"] for rate in market.funding("BTC", since)] == [since, since + 3_600_000, since + 7_200_000]
    with pytest.raises(KeyError):
        market.funding("NOPE", since)


# -- agents and nonces

NOW = int(NOON * 1000)


def address(number: int) -> str:
    return f"0x{number:040x}"


def test_names_limit_and_replace_agents() -> None:
    agents = Agents()
    for number, name in enumerate(["one", "two", "three", ""], start=1):
        agents.approve(USER, address(number), name, NOW)
    with pytest.raises(Refused, match=r"Too many extra agents .* Current limit is 3"):
        agents.approve(USER, address(5), "four", NOW)
    agents.approve(OTHER, address(6), "four", NOW)
    agents.approve(USER, address(7), "two", NOW)
    assert {agent.name: agent.address for agent in agents.all(USER, NOW)} == {
        "one": address(1), "two": address(7), "three": address(3), "": address(4),
    }  # fmt: skip
    with pytest.raises(Refused, match=r"^Extra agent already used\.$"):
        agents.approve(USER, address(2), "two", NOW)


@pytest.mark.parametrize("until", [NOW, NOW - 1, NOW + 180 * DAY + 1])
def test_an_expiry_in_the_past_or_too_far_ahead_is_refused(until: int) -> None:
    with pytest.raises(Refused, match=r"^Agent valid_until already expired\.$"):
        Agents().approve(USER, address(1), f"one valid_until {until}", NOW)


def test_without_an_expiry_an_agent_lives_ninety_days() -> None:
    agents = Agents()
    agents.approve(USER, address(1), "one", NOW)
    assert agents.of(address(1), NOW + 90 * DAY - 1)
    assert agents.of(address(1), NOW + 90 * DAY) is None


def test_a_long_name_is_refused() -> None:
    Agents().approve(USER, address(1), "sixteen letters.", NOW)
    with pytest.raises(Refused, match="16"):
        Agents().approve(USER, address(1), "seventeen letters", NOW)


def test_the_zero_address_removes_and_settles() -> None:
    agents = Agents()
    agents.approve(USER, address(1), "one", NOW)
    agents.approve(USER, ZERO, "one", NOW)
    assert agents.of(address(1), NOW) is None
    with pytest.raises(Refused, match="pending agent removal"):
        agents.approve(USER, address(2), "one", NOW + 4_999)
    agents.approve(USER, address(2), "one", NOW + 5_000)


@given(st.lists(st.integers(-3 * DAY, 2 * DAY), max_size=130))
def test_nonces_work_once_above_the_smallest_of_a_hundred(offsets: list[int]) -> None:
    agents, kept = Agents(), set[int]()
    for nonce in (NOW + offset for offset in offsets):
        fresh = nonce not in kept and (len(kept) < 100 or nonce > min(kept))
        if fresh and NOW - 2 * DAY < nonce < NOW + DAY:
            agents.use_nonce(USER, nonce, NOW)
            kept = set(sorted(kept | {nonce})[-100:])
        else:
            with pytest.raises(Refused, match=r"^Invalid nonce: (duplicate nonce|nonce too low|nonce too high) \d+"):
                agents.use_nonce(USER, nonce, NOW)
