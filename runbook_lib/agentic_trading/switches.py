"""Name the platform's two switches, which are variables of the web app's and the runners' environment.

Neither takes effect until the web app is deployed anew (C26), nor ever on machines that already run (C25): switches
only keep new deployments out.
"""

from __future__ import annotations

DISABLED = "DEPLOYMENTS_DISABLED"  # "true": the web app refuses new deployments
LIVE = "HYPERLIQUID_LIVE_ENABLED"  # "false": a mainnet broker refuses to start
NOTHING_TO_DEPLOY = "there is no Skill"  # the web app's answer to a deployment while no Skill exists


def stopped(*, positions_stay: bool) -> dict[str, str]:
    """Return the values that stop the platform: no new deployment, and no mainnet broker unless positions stay."""
    return {DISABLED: "true"} | ({} if positions_stay else {LIVE: "false"})


def running(live: str) -> dict[str, str]:
    """Return the values with which the platform runs; ``live`` is its own value, for live trading may be off."""
    return {DISABLED: "false", LIVE: live}
