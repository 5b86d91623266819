"""Agents: what is signed is the pending agent's approval, and the venue knows an agent or knows it no more."""

import copy
import math

import pytest

from runbook_lib.checklist import agent_approval
from runbook_lib.checklist.agent_approval import agent_gone, agent_known, approval_of, valid_days, wrongly_asked
from runbook_lib.steps import spoiling
from tests.judging import replies

MASTER, AGENT, OTHER = (f"0x{digit * 40}" for digit in "abc")


def complaint(expect, *bodies):
    return expect.judge(replies(*bodies)).complaint


def listed(address, days=90):
    return {"name": "seyra-1", "address": address, "validUntil": (agent_approval.time.time() + days * 86_400) * 1000}


ROLE = {"role": "agent", "data": {"user": MASTER}}


def test_an_agent_is_known_when_the_venue_lists_it_and_says_whose_it_is():
    assert complaint(agent_known(AGENT, MASTER), [listed(AGENT)], ROLE) is None
    assert "does not list" in complaint(agent_known(AGENT, MASTER), [listed(OTHER)], ROLE)
    assert "expected agent of" in complaint(agent_known(AGENT, OTHER), [listed(AGENT)], ROLE)
    assert "at least 30 are needed" in complaint(agent_known(AGENT, MASTER), [listed(AGENT, 7)], ROLE)


def test_an_agent_is_gone_when_both_answers_say_so_and_the_first_is_still_there():
    gone = agent_gone(AGENT, OTHER, MASTER)
    missing = {"role": "missing"}

    assert complaint(gone, [listed(OTHER)], missing, ROLE) is None
    assert "still lists" in complaint(gone, [listed(OTHER), listed(AGENT)], missing, ROLE)
    assert "is still" in complaint(gone, [listed(OTHER)], ROLE, ROLE)
    assert "the first agent went with it" in complaint(gone, [], missing, ROLE)
    assert "expected agent of" in complaint(gone, [listed(OTHER)], missing, missing)


PENDING = {"agent_address": AGENT, "agent_name": "seyra-1", "created_ms": 1.79e12}


def test_without_the_wallets_window_the_row_is_shown_and_must_be_the_only_one():
    assert complaint(approval_of(None), [PENDING]) is None
    assert "found 2" in complaint(approval_of(None), [PENDING, PENDING])
    assert "found 0" in complaint(approval_of(None), [])
    assert complaint(approval_of(None), [{**PENDING, "created_ms": None}])


def test_what_the_window_shows_is_compared_with_the_row():
    assert complaint(approval_of({"primaryType": "HyperliquidTransaction:UsdSend"}), [PENDING]).startswith(
        "do not sign"
    )


@pytest.mark.parametrize(
    ("expect", "bodies"),
    [
        (agent_known(AGENT, MASTER), [[listed(AGENT)], ROLE]),
        (agent_gone(AGENT, OTHER, MASTER), [[listed(OTHER)], {"role": "missing"}, ROLE]),
        (approval_of(None), [[PENDING]]),
    ],
)
def test_no_spoiled_answer_raises_and_one_at_least_is_complained_of(expect, bodies):
    whole = replies(*bodies)

    assert expect.judge(whole).complaint is None
    complaints = [expect.judge(bad).complaint for _, bad in spoiling.spoiled(whole)]
    assert any(complaints)


# --- what a wallet shows for signing

MIXED_CASE = "0x" + "aB" * 20


SEYRA = {"agent_address": MIXED_CASE.lower(), "agent_name": "seyra-1", "created_ms": 1_790_000_000_000.0}


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
        "agentAddress": MIXED_CASE,
        "agentName": "seyra-1 valid_until 1799000000000",
        "nonce": 1_790_000_000_500,
    },
}


def test_what_the_wallet_shows_is_the_pending_agents_approval():
    assert wrongly_asked(TYPED, SEYRA) == []


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
        (("domain", "verifyingContract"), MIXED_CASE, "verifying contract"),
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

    assert wrongly_asked(typed, SEYRA)[0].startswith(f"{words}:")


def test_the_days_an_agent_is_valid_are_the_venues():
    listed = [{"name": "seyra-1", "address": MIXED_CASE, "validUntil": 90 * 86_400_000}]

    assert valid_days(listed, MIXED_CASE.lower(), 0) == 90
    assert valid_days(listed, "0x" + "00" * 20, 0) is None
    assert valid_days([{"address": MIXED_CASE, "validUntil": None}], MIXED_CASE, 0) == math.inf
