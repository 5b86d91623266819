"""Name the platform's two switches, environment variables of the web app and of the runners.

A changed switch takes effect only when the web app is deployed anew (C26), and never on machines that already run
(C25): the switches only prevent new deployments.
"""

from __future__ import annotations

DISABLED = "DEPLOYMENTS_DISABLED"  # "true": the web app refuses new deployments
LIVE = "HYPERLIQUID_LIVE_ENABLED"  # "false": a mainnet broker refuses to start
NOTHING_TO_DEPLOY = "there is no Skill"  # the web app's answer to a deployment while no Skill exists


def stopped(*, positions_stay: bool) -> dict[str, str]:
    """Return the switch values that stop the platform.

    With these values, no new deployment and no live broker can start.

    With ``positions_stay``, live brokers may still start, because a runner must go on managing its positions.
    """
    return {DISABLED: "true"} | ({} if positions_stay else {LIVE: "false"})


def running(live: str) -> dict[str, str]:
    """Return the switch values that let the platform run.

    ``live`` ("true" or "false") says whether it may trade live.
    """
    return {DISABLED: "false", LIVE: live}
