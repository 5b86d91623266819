"""What the venue's answers mean: equity by mode, positions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runbook_lib.agentic_trading.venue_answers import (
    differing_sizes,
    equity,
    number,
)

FLAT = {"marginSummary": {"accountValue": "0.0"}, "assetPositions": []}
HUNDRED = {"balances": [{"coin": "USDC", "total": "100.0", "hold": "0.0"}]}


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
