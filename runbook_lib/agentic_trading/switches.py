"""The platform's two switches, as the environment of web app and runners has them.

Neither does anything until the web app is deployed anew (C26), and nothing at all to machines that run (C25): they
fence what comes after.
"""

from __future__ import annotations

DISABLED = "DEPLOYMENTS_DISABLED"  # "true": the web app refuses new deployments
LIVE = "HYPERLIQUID_LIVE_ENABLED"  # "false": a mainnet broker refuses to start
NOTHING_TO_DEPLOY = "there is no Skill"  # what a person is told who tries before there is anything to try with


def stopped(*, positions_stay: bool) -> dict[str, str]:
    """The values that stop the platform: no new deployment, and unless positions stay no mainnet broker either."""
    return {DISABLED: "true"} | ({} if positions_stay else {LIVE: "false"})


def running(live: str) -> dict[str, str]:
    """The values with which it runs; not every platform has live trading switched on."""
    return {DISABLED: "false", LIVE: live}
