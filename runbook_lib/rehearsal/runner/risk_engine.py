"""Judge proposed actions as the platform's execution engine does: rule by rule, up to the first rejection.

The functions are pure: the runner passes the proposed action, the Skill's risk caps and the account, and acts on the
verdict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

VENUE_MINIMUM = 10.0  # US dollars, Hyperliquid's smallest order


@dataclass(frozen=True)
class Position:
    """An open position as the risk engine judges it. ``size`` is in base units, and negative for a short. Prices are US
    dollars.
    """

    symbol: str
    size: float
    entry_price: float
    mark: float
    leverage: float = 1.0
    liquidation_price: float | None = None

    @property
    def notional(self) -> float:
        return abs(self.size) * self.mark

    @property
    def profit(self) -> float:
        return self.size * (self.mark - self.entry_price)

    def view(self) -> dict[str, Any]:
        """Return a position of the risk engine in the form of ``agent_state.positions``."""
        return {
            "symbol": self.symbol, "side": "long" if self.size > 0 else "short", "sizeBase": self.size,
            "entryPrice": self.entry_price, "markPrice": self.mark, "notionalUsd": round(self.notional, 6),
            "unrealizedPnlUsd": round(self.profit, 6), "leverage": self.leverage,
            "liquidationPrice": self.liquidation_price,
        }  # fmt: skip


@dataclass(frozen=True)
class Account:
    """An account as a broker gives it to the risk engine.

    ``equity`` is in US dollars, and ``positions`` are the open positions.
    """

    equity: float
    positions: tuple[Position, ...] = ()

    def held(self, symbol: str) -> Position | None:
        return next((position for position in self.positions if position.symbol == symbol), None)


@dataclass(frozen=True)
class Rejection:
    """The risk engine's rejection of an action: the rule and the detail.

    ``rule`` has the form ``R<stage>_…``, where the stage is a number.
    """

    rule: str
    detail: str

    def view(self) -> dict[str, Any]:
        return {"status": "rejected", "rule": self.rule, "detail": self.detail}


def judge(
    action: Mapping[str, Any], risk: Mapping[str, Any], account: Account, *, orders_today: int
) -> Rejection | None:
    """Check an action against the risk rules in order, and return the first rejection.

    Return None if no rule rejects the action. ``action`` needs ``kind`` (open or close), ``symbol``, ``side`` (buy or
    sell), ``sizeUsd``, ``leverage``. ``risk`` holds the Skill's caps; a cap that is missing does not apply.
    """
    stages = (_shape, _scope, _position, _leverage)
    for stage in stages:
        for rejection in stage(action, risk, account):
            return rejection
    limit = risk.get("maxOrdersPerDay")  # of openings only: a close must never be kept from closing
    if limit is not None and orders_today >= limit and action["kind"] == "open":
        return Rejection("R5_RATE_CAP", f"{orders_today} orders today, maxOrdersPerDay {limit}")
    return None


def _shape(action: Mapping[str, Any], _: Mapping[str, Any], __: Account) -> Iterable[Rejection]:
    wanted = {"kind": ("open", "close"), "side": ("buy", "sell")}
    for key, choices in wanted.items():
        if action.get(key) not in choices:
            yield Rejection("R1_SHAPE", f"{key} is {action.get(key)!r}, not one of {', '.join(choices)}")
    for key in ("sizeUsd", "leverage"):
        value = action.get(key)
        # a model may propose anything: true is an int to Python, and no size
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
            yield Rejection("R1_SHAPE", f"{key} is {value!r}, not a positive number")


def _scope(action: Mapping[str, Any], risk: Mapping[str, Any], account: Account) -> Iterable[Rejection]:
    allowed = risk.get("allowedSymbols")
    if allowed is not None and action["symbol"] not in allowed:
        yield Rejection("R2_SCOPE", f"{action['symbol']} is not in allowedSymbols {', '.join(allowed)}")
    if action["kind"] == "close" and account.held(action["symbol"]) is None:
        yield Rejection("R2_SCOPE", f"no position in {action['symbol']} to close")


def _position(action: Mapping[str, Any], risk: Mapping[str, Any], account: Account) -> Iterable[Rejection]:
    """Yield a rejection if an order would exceed the position or exposure cap, or is too small for the risk rules.

    A close is never rejected.
    """
    if action["kind"] == "close":
        return
    size = float(action["sizeUsd"]) * (1 if action["side"] == "buy" else -1)
    held = account.held(action["symbol"])
    signed = held.size * held.mark if held else 0.0
    result = abs(signed + size)
    others = sum(other.notional for other in account.positions if other.symbol != action["symbol"])
    for rule, key, value in (
        ("R3_POSITION_CAP", "maxPositionPct", result),
        ("R3_EXPOSURE_CAP", "maxTotalExposurePct", result + others),
    ):
        cap = account.equity * float(risk.get(key, 100.0)) / 100
        if value > cap and result > abs(signed):  # what is over its cap already may still shrink
            yield Rejection(rule, f"resulting notional ${value:.2f} over ${cap:.2f} ({key} {risk.get(key)})")
    smallest = max(VENUE_MINIMUM, float(risk.get("minOrderUsd", VENUE_MINIMUM)))
    if abs(size) < smallest:
        yield Rejection("R3_MIN_ORDER", f"order ${abs(size):.2f} under the minimum ${smallest:.2f}")


def _leverage(action: Mapping[str, Any], risk: Mapping[str, Any], _: Account) -> Iterable[Rejection]:
    limit = risk.get("maxLeverage")
    if limit is not None and action["leverage"] > limit:
        yield Rejection("R4_LEVERAGE", f"leverage {action['leverage']} over maxLeverage {limit}")


def daily_loss(risk: Mapping[str, Any], equity: float, day_start: float) -> Rejection | None:
    """Return a rejection if the day's loss has reached the Skill's risk limit.

    The loss is in per cent of the day's first equity.
    """
    limit = risk.get("dailyLossHaltPct")
    if limit is None or day_start <= 0:
        return None
    loss = (day_start - equity) / day_start * 100
    if loss < float(limit):
        return None
    return Rejection("R6_DAILY_LOSS_HALT", f"down {loss:.2f} % today, dailyLossHaltPct {limit}")
