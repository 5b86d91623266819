"""Interpret the venue's answers and the platform's rows: equity, positions and fills.

Functions are pure: they take rows, and return numbers or complaints. A complaint is one factual line; an empty list
means that nothing is wrong. Amounts are in US dollars, sizes in base units, the venue's times in milliseconds since
1970. Values that are no numbers give complaints, never exceptions, because a spoiled answer must lead to a verdict.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.contract import last

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]

UNIFIED = ("unifiedAccount", "portfolioMargin")  # modes that keep the money in spot
SEPARATE = ("default", "disabled")
# Keys of a position in ``agent_state``: Python reads the whole list, so that no statement gives them aliases.
SYMBOL, SIZE = last("agent_state.positions.symbol"), last("agent_state.positions.sizeBase")
SIDE = last("agent_state.positions.side")
CENTS, SHARE = (
    1.0,
    0.05,
)  # US dollars, and the share of all positions, by which equity may differ from one minute earlier
CLOSE = 1e-9  # base units, and relative: sizes and prices that differ by less are the same


def number(value: Any) -> float | None:
    """Convert a number in the venue's answer, or a number written as text, to a finite float. Return None for anything
    else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        converted = float(value)
    except (ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None


# --- money ----------------------------------------------------------------------------------------------------------


def equity(mode: str, perp: Row, spot: Row) -> float | None:
    """Return an account's equity in US dollars from the venue's answers, by the rule for the account's mode (C16).

    ``mode`` is the answer to ``userAbstraction``, ``perp`` to ``clearinghouseState``, ``spot`` to
    ``spotClearinghouseState``. A unified account keeps its USDC in spot, and its perpetuals' account value is 0. None
    for an unknown mode, or if a value is no number.
    """
    if mode in SEPARATE:
        return number(inner(perp, "marginSummary").get("accountValue"))
    if mode not in UNIFIED:
        return None
    totals = [number(row.get("total")) for row in _list(spot, "balances") if row.get("coin") == "USDC"]
    profits = [number(inner(row, "position").get("unrealizedPnl")) for row in _list(perp, "assetPositions")]
    return total([*totals, *profits]) if isinstance(spot.get("balances"), list) else None


def differing_equity(at_venue: float | None, perp: Row, told: Any) -> list[str]:
    """Return a complaint if a wallet's equity at the venue differs from the equity in the platform's ``agent_state``.

    Marks move between the two, by which a small share of the positions' value is allowed. ``perp`` is the venue's
    answer to ``clearinghouseState``. An equity or a position's value that is no number is a complaint too.
    """
    values = [number(inner(row, "position").get("positionValue")) for row in _list(perp, "assetPositions")]
    held, in_state = total([abs(value) if value is not None else None for value in values]), number(told)
    if at_venue is None or in_state is None or held is None:
        return [f"equity: {at_venue} at the venue, {told} in agent_state, positions worth {held}"]
    if abs(at_venue - in_state) <= CENTS + SHARE * held:
        return []
    return [f"equity: ${at_venue:.2f} at the venue, ${in_state:.2f} in agent_state"]


def total(values: Sequence[float | None]) -> float | None:
    """Return the sum of amounts read from the venue's answers. Return None if any amount is None."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


# --- positions ------------------------------------------------------------------------------------------------------


def differing_sizes(perp: Row, positions: Any) -> list[str]:
    """Return a complaint for each symbol whose size in the venue's answer differs from ``agent_state.positions``."""
    if not isinstance(perp.get("assetPositions"), list) or not isinstance(positions, list):
        return ["positions: the venue's or the platform's list is missing"]
    at_venue = _sizes((inner(row, "position") for row in perp["assetPositions"]), "coin", "szi")
    in_state = _sizes(positions, SYMBOL, SIZE)
    return [
        f"{symbol}: {at_venue.get(symbol, 0.0)} at the venue, {in_state.get(symbol, 0.0)} in agent_state"
        for symbol in sorted(at_venue.keys() | in_state.keys())
        if not same(at_venue.get(symbol, 0.0), in_state.get(symbol, 0.0))
    ]


def over_levered(perp: Row, most: Any) -> list[str]:
    """Return a complaint for each position in the venue's answer whose leverage is unknown or not 1 to ``most``."""
    cap = number(most)
    levers = {
        str(inside.get("coin")): number(inner(inside, "leverage").get("value"))
        for inside in (inner(row, "position") for row in perp.get("assetPositions") or ())
    }
    return [
        f"{symbol}: leverage {lever}, 1 to at most {most} allowed"
        for symbol, lever in levers.items()
        if cap is None or lever is None or not 1 <= lever <= cap
    ]


def held(position: Any) -> str:
    """Describe a position in the venue's answer by its signed size and its symbol."""
    inside = inner(position, "position") if isinstance(position, dict) else {}
    return f"{inside.get('szi')} {inside.get('coin')}"


def of_no_order(fill: Row) -> str | None:
    """Describe a fill in the venue's answer that no order caused: a liquidation or a TWAP slice.

    Return None for other fills.

    A fill with a client order id comes from an order, even if the other side of the trade was being liquidated.
    """
    described = f"{fill.get('sz')} {fill.get('coin')} at {fill.get('px')} (fill {fill.get('tid')})"
    if fill.get("cloid"):
        return None
    if isinstance(fill.get("liquidation"), dict):
        return f"liquidated by the venue: {described}"
    if number(fill.get("twapId")) is not None:
        return f"slice of TWAP {fill.get('twapId')}, which no order of the platform's began: {described}"
    return None


def _sizes(rows: Iterable[Any], symbol: str, size: str) -> dict[str, float | None]:
    objects = (row for row in rows if isinstance(row, dict))
    return {str(row.get(symbol)): number(row.get(size)) for row in objects}


def same(first: float | None, second: float | None) -> bool:
    """Return whether two numbers in the venue's answers are equal apart from rounding. If either is None, return
    False.
    """
    if first is None or second is None:
        return False
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=CLOSE)


def inner(row: Row, key: str) -> Row:
    """Return the object under ``key`` in a row of the venue's answer. Return an empty object if there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _list(row: Row, key: str) -> list[Row]:
    value = row.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
