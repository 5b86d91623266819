"""The values of the platform's two switches."""

from __future__ import annotations

from runbook_lib.agentic_trading.switch_values import running, stopped


def test_stopping_sets_both_unless_positions_stay():
    assert stopped(positions_stay=False) == {"DEPLOYMENTS_DISABLED": "true", "HYPERLIQUID_LIVE_ENABLED": "false"}
    assert stopped(positions_stay=True) == {"DEPLOYMENTS_DISABLED": "true"}


def test_running_restores_both():
    assert running("true") == {"DEPLOYMENTS_DISABLED": "false", "HYPERLIQUID_LIVE_ENABLED": "true"}
