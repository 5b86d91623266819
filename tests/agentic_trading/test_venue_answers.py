"""What the venue's answers mean: equity by mode, agents, positions."""

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from runbook_lib.agentic_trading.venue_answers import (
    differing_sizes,
    equity,
    number,
    valid_days,
    wrongly_asked,
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
