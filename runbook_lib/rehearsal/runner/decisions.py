"""Stand in for the model: choose actions by seeded random numbers, so that runs repeat, and compute their price."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook_lib.rehearsal.runner.risk_engine import VENUE_MINIMUM, Account

# US dollars per million tokens in and out. A model that is not here prices nothing (checklist 1.4).
MODEL_RATES = {
    "anthropic/claude-haiku-4.5": (1.0, 5.0),
    "anthropic/claude-sonnet-4.5": (3.0, 15.0),
    "google/gemini-3.1-flash-lite": (0.25, 1.5),
}
PROMPT, COMPLETION = (15_000, 45_000), (500, 2_000)  # tokens: $0.02-0.06 a tick on Haiku, $0.05-0.17 on Sonnet

Action = dict[str, Any]


@dataclass(frozen=True)
class Decision:
    """A decision of the runner's model: the proposed action, its reason, the tokens used, and the cost.

    ``action`` is None if the model proposes no action.
    """

    action: Action | None
    text: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None


def price(model: str, prompt: int, completion: int) -> float | None:
    """Return the price in US dollars of the tokens that a decision took in and gave out.

    Return None for a model whose rate is not known.
    """
    if model not in MODEL_RATES:
        return None
    into, out = MODEL_RATES[model]
    return round((prompt * into + completion * out) / 1e6, 6)


def model_of(payload: Mapping[str, Any]) -> str:
    """Return the id of the model that decides for a Skill.

    The Skill's ``model`` is text or an object with an ``id``.
    """
    model = payload.get("model")
    return str(model.get("id") if isinstance(model, dict) else model)


def decide(payload: Mapping[str, Any], account: Account, *, seed: str, tick: int, tokens: float = 1.0) -> Decision:
    """Return the model's decision at a tick.

    If there is no position, the model usually opens one. An open position is sometimes closed, and is held otherwise.
    """
    draw = random.Random(f"{seed} {tick}")
    prompt, completion = (int(draw.randint(*bounds) * tokens) for bounds in (PROMPT, COMPLETION))
    action, text = _propose(payload, account, draw, first=tick == 0)
    return Decision(action, text, prompt, completion, price(model_of(payload), prompt, completion))


def symbols_of(payload: Mapping[str, Any]) -> list[str]:
    """Return the symbols that a Skill's decisions may be about.

    The symbols that the Skill's own context names come first.
    """
    risk, context = payload.get("risk") or {}, payload.get("context") or {}
    listed = [*(context.get("symbols") or ()), *(risk.get("allowedSymbols") or ())]
    allowed = risk.get("allowedSymbols")
    return [symbol for symbol in dict.fromkeys(listed) if allowed is None or symbol in allowed] or ["BTC"]


def _propose(
    payload: Mapping[str, Any], account: Account, draw: random.Random, *, first: bool
) -> tuple[Action | None, str]:
    chance, held = draw.random(), account.positions
    if held and chance < 0.2:
        symbol = held[0].symbol
        side = "sell" if held[0].size > 0 else "buy"
        closing = {"kind": "close", "symbol": symbol, "side": side, "sizeUsd": held[0].notional, "leverage": 1}
        return closing, f"{symbol} has done what the thesis asked of it: close."
    if held or (chance > 0.6 and not first):  # the first tick opens, so that nobody waits for a position
        return None, "Nothing in the market that the thesis asks for: no change."
    return _opening(payload, account, draw), "The thesis finds an entry: open small."


def _opening(payload: Mapping[str, Any], account: Account, draw: random.Random) -> Action:
    """Return an order to open a position.

    Its size is a little under the tighter of the Skill's two caps, or the smallest possible size if that is larger.
    """
    risk = payload.get("risk") or {}
    percent = min(float(risk.get("maxPositionPct", 5)), float(risk.get("maxTotalExposurePct", 100)))
    smallest = max(VENUE_MINIMUM, float(risk.get("minOrderUsd", VENUE_MINIMUM)))
    size = max(account.equity * percent / 100 * draw.uniform(0.86, 0.96), smallest)
    return {
        "kind": "open",
        "symbol": draw.choice(symbols_of(payload)),
        "side": draw.choice(["buy", "sell"]),
        "sizeUsd": round(size, 2),
        "leverage": 1,
    }
