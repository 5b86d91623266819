"""Fill in a sheet, a template for a Skill, to get the payload of a ``skill_versions`` row."""

from __future__ import annotations

import hashlib
import json
from typing import Any

Payload = dict[str, Any]

STRATEGY = {
    "mode": "thesis",
    "leash": "balanced",
    "thesis": "Momentum on the majors persists for some hours after a clean break of the day's range.",
    "horizon": "hours",
    "style": "trend following",
    "lookFor": ["a close beyond the day's range", "rising volume"],
    "avoid": ["the half hour around scheduled macro events"],
    "sizing": "small and constant",
}
TOOLS = ["fetch_recent_bars", "fetch_news_sentiment", "propose_order"]
MODEL = "anthropic/claude-haiku-4.5"

PAPER_RISK = {
    "maxPositionPct": 20,
    "maxTotalExposurePct": 60,
    "maxOrdersPerDay": 5000,
    "maxLeverage": 2,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC", "ETH", "SOL"],
    "maxMonthlyCostUsd": 500,
    "dailyLossHaltPct": 10,
}
# The checklist's own sheet (2.3). With $100 its position cap is $2, under the venue's smallest order: it never trades.
CHECKLIST_RISK = {
    "maxPositionPct": 2,
    "maxTotalExposurePct": 2,
    "maxOrdersPerDay": 4,
    "maxLeverage": 1,
    "minOrderUsd": 10,
    "allowedSymbols": ["BTC"],
    "maxMonthlyCostUsd": 10,
    "dailyLossHaltPct": 5,
}
SHEETS: dict[str, dict[str, Any]] = {
    "paper": {"name": "Momentum majors", "risk": PAPER_RISK},
    "tiny": {"name": "Tiny test", "risk": CHECKLIST_RISK | {"maxPositionPct": 15, "maxTotalExposurePct": 15}},
    "checklist": {"name": "Tiny test", "risk": CHECKLIST_RISK},
}


def payload(sheet: str, tick: float, **risk: object) -> Payload:
    """Return the payload that a sheet gives for a Skill with a tick every ``tick`` seconds. ``risk`` replaces caps."""
    limits = SHEETS[sheet]["risk"] | risk
    return {
        "model": MODEL,
        "strategy": STRATEGY,
        "tools": TOOLS,
        "schedule": {"kind": "cron", "every": f"{tick:g}s"},
        "context": {"symbols": limits["allowedSymbols"], "bars": {"interval": "5m", "lookback": 200}},
        "risk": limits,
    }


def payload_hash(content: Payload) -> str:
    """Return the SHA-256 hash of a Skill payload's canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
