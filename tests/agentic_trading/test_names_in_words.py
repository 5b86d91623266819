"""Texts for people name what the platform calls its things, and English stays English."""

import pytest

from runbook_lib.agentic_trading.adapting import _replaced
from runbook_lib.agentic_trading.names_in_words import in_fixes, in_symptoms

CELL = """phase.check(
    "1.0a", "No tick_failed, all_mids_fetch_failed or agent_logs in a title",
    expect=rows(1),
    fix="Read agent_logs for tick_failed. "
    "Compare proposed_action.sizeUsd with mainnet_orders.size_base; error_text says why. Stop every tick.",
)
"""


@pytest.mark.parametrize(
    ("address", "new", "old", "text"),
    [
        ("agent_logs", "runner_logs", "Read agent_logs for", "Read runner_logs for"),
        ("agent_logs.event:tick_failed", "failed_tick", "for tick_failed. ", "for failed_tick. "),
        ("decision_snapshots.proposed_action.sizeUsd", "usd", "action.sizeUsd with", "action.usd with"),
        ("decision_snapshots.proposed_action", "proposal", "proposed_action.sizeUsd", "proposal.sizeUsd"),
        ("mainnet_orders.size_base", "size", "mainnet_orders.size_base;", "mainnet_orders.size;"),
        ("deployments.error_text", "why", "", ""),  # a reply is read under the old name
        ("agent_logs.event:tick", "ticked", "", ""),  # a word of English
    ],
)
def test_a_fix_names_what_the_platform_calls_so(address, new, old, text):
    assert _replaced(CELL, in_fixes(CELL, {address: new})) == CELL.replace(old, text)


def test_a_symptom_quotes_the_platforms_own_columns():
    words = "words: 'hyperliquid_agent_id.*(does not exist|violates)|all_mids_fetch_failed'"
    new = {"deployments.hyperliquid_agent_id": "signer_id", "agent_logs.event:all_mids_fetch_failed": "no_mids"}

    assert _replaced(words, in_symptoms(words, new)) == "words: 'signer_id.*(does not exist|violates)|no_mids'"


def test_a_name_that_two_things_have_is_left():
    text = "cause: user_id and deployment_id, equity_usd and sizeBase"
    assert list(in_symptoms(text, {"hyperliquid_agents.user_id": "owner", "agent_logs.data.sizeBase": "size"})) == []
