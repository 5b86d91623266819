"""What the venue's answers mean: equity by mode, room for an order, limits, agents, positions."""

import copy
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from runbook_lib.agentic_trading.venue_answers import (
    SMALLEST,
    differing_sizes,
    equity,
    horizon,
    looser,
    number,
    order_room,
    remedy,
    valid_days,
    wrongly_asked,
)

SHEET = {
    "maxPositionPct": 15,
    "maxTotalExposurePct": 15,
    "maxOrdersPerDay": 4,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
    "maxMonthlyCostUsd": 10,
    "dailyLossHaltPct": 5,
}
CHECKLIST = SHEET | {"maxPositionPct": 2, "maxTotalExposurePct": 2}
FLAT = {"marginSummary": {"accountValue": "0.0"}, "assetPositions": []}
HUNDRED = {"balances": [{"coin": "USDC", "total": "100.0", "hold": "0.0"}]}
BITCOIN = {"price": 79_123.0, "decimals": 5}


# --- equity


def test_a_unified_account_keeps_its_money_in_spot():
    assert equity("unifiedAccount", FLAT, HUNDRED) == 100
    assert equity("portfolioMargin", FLAT, HUNDRED) == 100


def test_a_unified_accounts_equity_has_the_profit_of_its_positions():
    holding = {**FLAT, "assetPositions": [{"position": {"coin": "BTC", "unrealizedPnl": "-1.5"}}]}

    assert equity("unifiedAccount", holding, HUNDRED) == 98.5


@pytest.mark.parametrize("mode", ["default", "disabled"])
def test_a_separate_account_keeps_it_with_the_perpetuals(mode):
    assert equity(mode, {"marginSummary": {"accountValue": "100.25"}}, HUNDRED) == 100.25


@pytest.mark.parametrize(
    ("mode", "perp", "spot"),
    [
        ("dexAbstraction", FLAT, HUNDRED),
        ("", FLAT, HUNDRED),
        ("default", {}, HUNDRED),
        ("default", {"marginSummary": {"accountValue": None}}, HUNDRED),
        ("unifiedAccount", FLAT, {}),
        ("unifiedAccount", FLAT, {"balances": [{"coin": "USDC", "total": "much"}]}),
    ],
)
def test_what_cannot_be_known_is_none_and_no_zero(mode, perp, spot):
    assert equity(mode, perp, spot) is None


@given(some.one_of(some.none(), some.booleans(), some.text(), some.floats(), some.lists(some.integers())))
def test_a_number_is_finite_or_none(value):
    found = number(value)

    assert found is None or math.isfinite(found)


# --- the limit sheet


def test_the_sheet_itself_and_a_tighter_one_are_not_looser():
    assert looser(SHEET, SHEET) == []
    assert looser(SHEET, CHECKLIST) == []


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
        *((cap, value) for cap in SHEET for value in (None, 0, -1, "much")),
    ],
)
def test_each_cap_that_is_looser_or_senseless_is_named(cap, value):
    [complaint] = looser(SHEET, SHEET | {cap: value})

    assert complaint.startswith(f"{cap}: expected")


# --- can it trade


def test_the_checklists_sheet_can_never_trade_and_the_corrected_one_can():
    never = order_room("BTC", CHECKLIST, 100, **BITCOIN)

    assert (never.largest, never.enough) == (1.58246, False)
    assert order_room("BTC", SHEET, 100, **BITCOIN).enough


def test_what_would_let_the_checklists_sheet_trade():
    found = remedy(CHECKLIST, 100, **BITCOIN)

    assert (found.percent, found.balance) == (12.7, 633)


def test_the_tighter_of_both_caps_counts():
    assert not order_room("BTC", SHEET | {"maxTotalExposurePct": 2}, 100, **BITCOIN).enough
    assert not order_room("BTC", SHEET | {"maxPositionPct": 2}, 100, **BITCOIN).enough


def test_the_skills_own_minimum_counts_when_it_is_higher():
    assert not order_room("BTC", SHEET | {"minOrderUsd": 14.5}, 100, **BITCOIN).enough


def test_no_percentage_helps_a_balance_that_is_too_small():
    found = remedy(SHEET, 10, **BITCOIN)

    assert found.percent is None
    assert order_room("BTC", SHEET, found.balance, **BITCOIN).enough


prices = some.floats(0.01, 200_000).map(lambda price: round(price, 4))
balances = some.integers(1, 1_000_000).map(lambda cents: cents / 100)
percents = some.integers(1, 1000).map(lambda tenths: tenths / 10)
decimals = some.integers(0, 5)


@given(percents, percents, balances, prices, decimals)
def test_an_order_never_exceeds_either_cap(position, exposure, balance, price, size_decimals):
    caps = SHEET | {"maxPositionPct": position, "maxTotalExposurePct": exposure}

    room = order_room("BTC", caps, balance, price, size_decimals)

    assert 0 <= room.largest <= balance * min(position, exposure, 100) / 100 * (1 + 1e-9)


@given(balances, prices, decimals)
def test_the_smallest_percentage_trades_and_a_tenth_less_does_not(balance, price, size_decimals):
    found = remedy(SHEET, balance, price, size_decimals).percent
    assume(found is not None)

    def room(percent):
        return order_room("X", SHEET | dict.fromkeys(("maxPositionPct", "maxTotalExposurePct"), percent),
                          balance, price, size_decimals)  # fmt: skip

    assert room(found).enough
    assert room(found).largest >= SMALLEST
    assert not room(round(found - 0.1, 1)).enough


@given(percents, prices, decimals)
def test_the_smallest_balance_trades_and_a_dollar_less_does_not(percent, price, size_decimals):
    caps = SHEET | {"maxPositionPct": percent, "maxTotalExposurePct": percent}
    found = remedy(caps, 1, price, size_decimals).balance

    assert order_room("X", caps, found, price, size_decimals).enough
    assert not order_room("X", caps, found - 1, price, size_decimals).enough


@pytest.mark.parametrize("cap", ["maxPositionPct", "maxTotalExposurePct", "maxLeverage"])
@pytest.mark.parametrize("value", [None, 0, "much"])
def test_a_cap_that_is_no_number_leaves_no_room(cap, value):
    assert not order_room("BTC", SHEET | {cap: value}, 100, **BITCOIN).enough


# --- how long the cost cap lasts


def test_ten_dollars_last_a_day_on_a_cheap_model_and_hours_on_a_dear_one():
    assert horizon(10, 0.036, 300).seconds == pytest.approx(23 * 3600, rel=0.01)
    assert horizon(10, 0.30, 300).seconds == pytest.approx(2.75 * 3600, rel=0.01)
    assert horizon(10, 0, 300).ticks == 0


# --- agents

AGENT = "0x" + "aB" * 20
PENDING = {"agent_address": AGENT.lower(), "agent_name": "seyra-1", "created_ms": 1_790_000_000_000.0}
TYPED = {
    "types": {
        "HyperliquidTransaction:ApproveAgent": [
            {"name": "hyperliquidChain", "type": "string"},
            {"name": "agentAddress", "type": "address"},
            {"name": "agentName", "type": "string"},
            {"name": "nonce", "type": "uint64"},
        ]
    },
    "primaryType": "HyperliquidTransaction:ApproveAgent",
    "domain": {
        "name": "HyperliquidSignTransaction",
        "version": "1",
        "chainId": 42161,
        "verifyingContract": "0x" + "0" * 40,
    },
    "message": {
        "hyperliquidChain": "Mainnet",
        "agentAddress": AGENT,
        "agentName": "seyra-1 valid_until 1799000000000",
        "nonce": 1_790_000_000_500,
    },
}


def test_what_the_wallet_shows_is_the_pending_agents_approval():
    assert wrongly_asked(TYPED, PENDING) == []


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("primaryType",), "HyperliquidTransaction:UsdSend", "primary type"),
        (("message", "hyperliquidChain"), "Testnet", "chain"),
        (("message", "agentAddress"), "0x" + "cd" * 20, "agent"),
        (("message", "agentName"), "somebody", "agent name"),
        (("message", "nonce"), 1_700_000_000_000, "nonce"),
        (("message", "nonce"), None, "nonce"),
        (("domain", "name"), "Exchange", "domain"),
        (("domain", "version"), "2", "domain version"),
        (("domain", "verifyingContract"), AGENT, "verifying contract"),
        (("types", "HyperliquidTransaction:ApproveAgent"), [], "fields"),
        (("message",), None, "chain"),
    ],
)
def test_each_field_that_is_another_is_named(path, value, words):
    typed = copy.deepcopy(TYPED)
    place = typed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    assert wrongly_asked(typed, PENDING)[0].startswith(f"{words}:")


def test_the_days_an_agent_is_valid_are_the_venues():
    listed = [{"name": "seyra-1", "address": AGENT, "validUntil": 90 * 86_400_000}]

    assert valid_days(listed, AGENT.lower(), 0) == 90
    assert valid_days(listed, "0x" + "00" * 20, 0) is None
    assert valid_days([{"address": AGENT, "validUntil": None}], AGENT, 0) == math.inf


# --- positions


def test_positions_agree_by_signed_size():
    there = {"assetPositions": [{"position": {"coin": "BTC", "szi": "-0.00018"}}]}

    assert differing_sizes(there, [{"symbol": "BTC", "sizeBase": -0.00018}]) == []
    assert differing_sizes(there, [{"symbol": "BTC", "sizeBase": 0.00018}]) == [
        "BTC: -0.00018 at the venue, 0.00018 in agent_state"
    ]
    assert len(differing_sizes(there, [])) == 1
    assert len(differing_sizes(FLAT, [{"symbol": "ETH", "sizeBase": 1}])) == 1
    assert len(differing_sizes({}, [])) == 1
    assert len(differing_sizes(FLAT, None)) == 1
