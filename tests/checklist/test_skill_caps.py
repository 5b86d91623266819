"""The caps of a Skill: none is looser than the sheet, an order has room, and the cost cap lasts."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from runbook_lib.checklist.skill_caps import (
    SMALLEST,
    can_trade,
    horizon,
    lasts,
    limits,
    looser,
    order_room,
    remedy,
)
from runbook_lib.steps import spoiling
from tests.judging import replies

SHEET = {
    "maxPositionPct": 15,
    "maxTotalExposurePct": 15,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
}


META = {"universe": [{"name": "BTC", "szDecimals": 5}, {"name": "OLD", "szDecimals": 1, "isDelisted": True}]}


MIDS = {"BTC": "79000.0", "OLD": "1.0"}


def complaint(expect, *bodies):
    return expect.judge(replies(*bodies)).complaint


def test_limits_are_judged_cap_by_cap():
    assert complaint(limits(**SHEET), {"risk": SHEET}) is None
    assert complaint(limits(**SHEET), {"risk": SHEET | {"maxLeverage": 2, "minOrderUsd": 1}}) == (
        "maxLeverage: expected at most 1, found 2; minOrderUsd: expected at least 10, found 1"
    )
    assert complaint(limits(**SHEET), {"risk": None})


def test_a_skill_that_cannot_trade_hears_what_would_let_it():
    never = {"risk": SHEET | {"maxPositionPct": 2, "maxTotalExposurePct": 2}}

    assert complaint(can_trade(100), {"risk": SHEET}, META, MIDS) is None
    assert complaint(can_trade(100), never, META, MIDS) == (
        "this Skill can never trade: BTC: largest order $1.58, needed $12.00. BTC would trade with maxPositionPct and "
        "maxTotalExposurePct of at least 12.7 at $100.00 or a balance of at least $632 with these caps"
    )


@pytest.mark.parametrize("symbols", [[], ["OLD"], ["NOMARK"], None])
def test_a_skill_without_a_market_can_never_trade(symbols):
    assert "no allowed symbol has a market" in complaint(
        can_trade(100), {"risk": SHEET | {"allowedSymbols": symbols}}, META, MIDS
    )


def test_a_cap_must_pay_for_so_many_ticks_and_says_how_long_it_lasts():
    row = {"cap_usd": 10, "usd_per_tick": 0.25, "tick_seconds": 300}

    assert "pays for 40 ticks at $0.2500: 3.3 h" in lasts(36).judge(replies(row)).seen
    assert complaint(lasts(36), row) is None
    assert "expected at least 41 ticks" in complaint(lasts(41), row)
    assert complaint(lasts(1), row | {"usd_per_tick": None})


@pytest.mark.parametrize(
    ("expect", "bodies"),
    [
        (limits(**SHEET), [{"risk": SHEET}]),
        (can_trade(100), [{"risk": SHEET}, META, MIDS]),
        (lasts(36), [{"cap_usd": 10, "usd_per_tick": 0.25, "tick_seconds": 300}]),
    ],
)
def test_no_spoiled_answer_raises_and_one_at_least_is_complained_of(expect, bodies):
    whole = replies(*bodies)

    assert expect.judge(whole).complaint is None
    complaints = [expect.judge(bad).complaint for _, bad in spoiling.spoiled(whole)]
    assert any(complaints)


# --- the arithmetic on caps

EVERY_CAP = {
    "maxPositionPct": 15,
    "maxTotalExposurePct": 15,
    "maxOrdersPerDay": 4,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
    "maxMonthlyCostUsd": 10,
    "dailyLossHaltPct": 5,
}
CHECKLIST = EVERY_CAP | {"maxPositionPct": 2, "maxTotalExposurePct": 2}
BITCOIN = {"price": 79_123.0, "decimals": 5}


def test_the_sheet_itself_and_a_tighter_one_are_not_looser():
    assert looser(EVERY_CAP, EVERY_CAP) == []
    assert looser(EVERY_CAP, CHECKLIST) == []


@pytest.mark.parametrize(
    ("cap", "value"),
    [
        ("maxPositionPct", 16),
        ("maxTotalExposurePct", 100),
        ("maxOrdersPerDay", 5),
        ("maxLeverage", 2),
        ("minOrderUsd", 9),
        ("allowedSymbols", ["BTC", "ETH"]),
        ("allowedSymbols", []),
        ("allowedSymbols", "BTC"),
        ("maxMonthlyCostUsd", 11),
        ("dailyLossHaltPct", 50),
        *((cap, value) for cap in EVERY_CAP for value in (None, 0, -1, "much")),
    ],
)
def test_each_cap_that_is_looser_or_senseless_is_named(cap, value):
    [complaint] = looser(EVERY_CAP, EVERY_CAP | {cap: value})

    assert complaint.startswith(f"{cap}: expected")


def test_the_checklists_sheet_can_never_trade_and_the_corrected_one_can():
    never = order_room("BTC", CHECKLIST, 100, **BITCOIN)

    assert (never.largest, never.enough) == (1.58246, False)
    assert order_room("BTC", EVERY_CAP, 100, **BITCOIN).enough


def test_what_would_let_the_checklists_sheet_trade():
    found = remedy(CHECKLIST, 100, **BITCOIN)

    assert (found.percent, found.balance) == (12.7, 633)


def test_the_tighter_of_both_caps_counts():
    assert not order_room("BTC", EVERY_CAP | {"maxTotalExposurePct": 2}, 100, **BITCOIN).enough
    assert not order_room("BTC", EVERY_CAP | {"maxPositionPct": 2}, 100, **BITCOIN).enough


def test_the_skills_own_minimum_counts_when_it_is_higher():
    assert not order_room("BTC", EVERY_CAP | {"minOrderUsd": 14.5}, 100, **BITCOIN).enough


def test_no_percentage_helps_a_balance_that_is_too_small():
    found = remedy(EVERY_CAP, 10, **BITCOIN)

    assert found.percent is None
    assert order_room("BTC", EVERY_CAP, found.balance, **BITCOIN).enough


prices = some.floats(0.01, 200_000).map(lambda price: round(price, 4))


balances = some.integers(1, 1_000_000).map(lambda cents: cents / 100)


percents = some.integers(1, 1000).map(lambda tenths: tenths / 10)


decimals = some.integers(0, 5)


@given(percents, percents, balances, prices, decimals)
def test_an_order_never_exceeds_either_cap(position, exposure, balance, price, size_decimals):
    caps = EVERY_CAP | {"maxPositionPct": position, "maxTotalExposurePct": exposure}

    room = order_room("BTC", caps, balance, price, size_decimals)

    assert 0 <= room.largest <= balance * min(position, exposure, 100) / 100 * (1 + 1e-9)


@given(balances, prices, decimals)
def test_the_smallest_percentage_trades_and_a_tenth_less_does_not(balance, price, size_decimals):
    found = remedy(EVERY_CAP, balance, price, size_decimals).percent
    assume(found is not None)

    def room(percent):
        return order_room("X", EVERY_CAP | dict.fromkeys(("maxPositionPct", "maxTotalExposurePct"), percent),
                          balance, price, size_decimals)  # fmt: skip

    assert room(found).enough
    assert room(found).largest >= SMALLEST
    assert not room(round(found - 0.1, 1)).enough


@given(percents, prices, decimals)
def test_the_smallest_balance_trades_and_a_dollar_less_does_not(percent, price, size_decimals):
    caps = EVERY_CAP | {"maxPositionPct": percent, "maxTotalExposurePct": percent}
    found = remedy(caps, 1, price, size_decimals).balance

    assert order_room("X", caps, found, price, size_decimals).enough
    assert not order_room("X", caps, found - 1, price, size_decimals).enough


@pytest.mark.parametrize("cap", ["maxPositionPct", "maxTotalExposurePct", "maxLeverage"])
@pytest.mark.parametrize("value", [None, 0, "much"])
def test_a_cap_that_is_no_number_leaves_no_room(cap, value):
    assert not order_room("BTC", EVERY_CAP | {cap: value}, 100, **BITCOIN).enough


def test_ten_dollars_last_a_day_on_a_cheap_model_and_hours_on_a_dear_one():
    assert horizon(10, 0.036, 300).seconds == pytest.approx(23 * 3600, rel=0.01)
    assert horizon(10, 0.30, 300).seconds == pytest.approx(2.75 * 3600, rel=0.01)
    assert horizon(10, 0, 300).ticks == 0
