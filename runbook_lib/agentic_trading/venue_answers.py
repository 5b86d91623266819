"""Interpret the venue's answers and the platform's rows: money, sizes, caps and agents.

Functions are pure: they take rows, and return numbers or complaints. A complaint is one factual line; an empty list
means that nothing is wrong. Amounts are in US dollars, sizes in base units, the venue's times in milliseconds since
1970. Values that are no numbers give complaints, never exceptions, because a spoiled answer must lead to a verdict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Row = Mapping[str, Any]


UNIFIED = ("unifiedAccount", "portfolioMargin")  # modes that keep the money in spot
SEPARATE = ("default", "disabled")
SMALLEST = 12.0  # US dollars an opening order needs: the venue takes $10, and a position that fell under it stays (C17)
DAY = 86_400_000  # milliseconds
CLOSE = 1e-9  # base units, and relative: sizes and prices that differ by less are the same
NONCE = 120_000  # milliseconds between the pending row and the nonce of what is signed
NOWHERE = "0x" + "0" * 40
APPROVAL = (
    ("hyperliquidChain", "string"),
    ("agentAddress", "address"),
    ("agentName", "string"),
    ("nonce", "uint64"),
)


def number(value: Any) -> float | None:
    """Convert a number, or a text that is a number, to a finite float; return None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        converted = float(value)
    except (ValueError, OverflowError):
        return None
    return converted if math.isfinite(converted) else None


# --- money ----------------------------------------------------------------------------------------------------------


def equity(mode: str, perp: Row, spot: Row) -> float | None:
    """Return an account's equity in US dollars, computed by the rule for the account's mode (C16).

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


def total(values: Sequence[float | None]) -> float | None:
    """Return the sum of the values; None if any of them is None."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


# --- the limit sheet ------------------------------------------------------------------------------------------------


def looser(sheet: Row, caps: Row) -> list[str]:
    """Return a complaint for each cap of a Skill that is missing, senseless or looser than the limit sheet allows.

    A cap may be tighter than the sheet; `order_room` tells whether the Skill can still trade. ``minOrderUsd`` may be
    higher, and ``allowedSymbols`` may name fewer symbols. Complaints are in the order of the sheet.
    """
    return [complaint for name, wanted in sheet.items() if (complaint := _looser(name, wanted, caps.get(name)))]


def _looser(name: str, wanted: Any, cap: Any) -> str | None:
    if isinstance(wanted, list | tuple):
        good = isinstance(cap, list | tuple) and bool(cap) and all(symbol in wanted for symbol in cap)
        return None if good else f"{name}: expected only {', '.join(wanted)}, found {_listed(cap)}"
    limit, got = number(wanted), number(cap)
    if limit is None or got is None or got <= 0:
        return f"{name}: expected a number above 0, found {'null' if cap is None else cap}"
    if name.startswith("min"):
        return None if got >= limit else f"{name}: expected at least {limit:g}, found {got:g}"
    return None if got <= limit else f"{name}: expected at most {limit:g}, found {got:g}"


def _listed(cap: Any) -> str:
    return ", ".join(map(str, cap)) if isinstance(cap, list | tuple) else str(cap)


# --- can it ever trade (C17) ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Room:
    """The largest opening order that the caps allow in one symbol, and the ``smallest`` useful one, in US dollars."""

    symbol: str
    largest: float
    smallest: float

    @property
    def enough(self) -> bool:
        return self.largest >= self.smallest


@dataclass(frozen=True)
class Remedy:
    """Two ways to let a Skill trade: set both position caps to ``percent``, or raise the account to ``balance``.

    ``percent`` is None if no percentage would do.
    """

    percent: float | None
    balance: float


def order_room(symbol: str, caps: Row, balance: float, price: float, decimals: int) -> Room:
    """Return the largest order that both position caps and the leverage allow for ``balance``.

    The order's size is rounded down to the venue's precision. ``price`` is the mark price, ``decimals`` the symbol's
    szDecimals at the venue.
    """
    unit = _unit(price, decimals)
    units = (_dollars(balance) * _percent(caps) / 100 / unit).to_integral_value(ROUND_FLOOR)
    return Room(symbol, float(units * unit), _smallest(caps))


def remedy(caps: Row, balance: float, price: float, decimals: int) -> Remedy:
    """Return the smallest percentage, or the smallest balance, with which the caps would allow an order.

    The percentage is rounded up to tenths, the balance to whole US dollars.
    """
    unit = _unit(price, decimals)
    units = (Decimal(str(_smallest(caps))) / unit).to_integral_value(ROUND_CEILING)
    percent = _up(units * unit * 100 / _dollars(balance), 1) if balance > 0 else None
    if percent is not None and percent > _leveraged(caps):
        percent = None
    tightest = _percent(caps)
    return Remedy(
        None if percent is None else float(percent), float(_up(units * unit * 100 / tightest, 0)) if tightest else 0.0
    )


def _unit(price: float, decimals: int) -> Decimal:
    """Return the value of one size step, the smallest size that the venue knows, in US dollars."""
    return Decimal(str(price)).scaleb(-decimals)


def _dollars(amount: float) -> Decimal:
    return Decimal(str(amount))


def _percent(caps: Row) -> Decimal:
    """Return the tightest of both position caps and the leverage, in per cent of the balance; 0 if one is missing."""
    both = [number(caps.get(name)) for name in ("maxPositionPct", "maxTotalExposurePct")]
    known = [Decimal(str(cap)) for cap in both if cap is not None and cap > 0]
    return min([*known, _leveraged(caps)]) if len(known) == len(both) else Decimal(0)


def _leveraged(caps: Row) -> Decimal:
    leverage = number(caps.get("maxLeverage"))
    return Decimal(str(leverage)) * 100 if leverage is not None and leverage > 0 else Decimal(0)


def _smallest(caps: Row) -> float:
    return max(SMALLEST, number(caps.get("minOrderUsd")) or 0.0)


def _up(amount: Decimal, digits: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_CEILING)


# --- how long the cost cap lasts (C18) ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Horizon:
    """How many ticks a monthly cost cap pays for, and how many seconds these ticks take at the Skill's interval."""

    ticks: int
    seconds: float


def horizon(cap: float, per_tick: float, interval: float) -> Horizon:
    """Return how long a monthly cost cap lasts.

    ``cap`` and ``per_tick`` (the cost of a tick) are in US dollars, ``interval`` is in seconds between two ticks.
    """
    ticks = math.floor(cap / per_tick) if per_tick > 0 else 0
    return Horizon(ticks, ticks * interval)


# --- agents ---------------------------------------------------------------------------------------------------------


def wrongly_asked(typed: Row, pending: Row) -> list[str]:
    """Compare the typed data that a wallet shows for signing with the pending agent's row; list the wrong fields.

    ``pending`` needs ``agent_address``, ``agent_name`` and ``created_ms``. The name in the typed data may end with the
    venue's suffix ``valid_until <ms>``. The chain id is the wallet's own and says nothing; ``hyperliquidChain``
    decides.
    """
    domain, message = inner(typed, "domain"), inner(typed, "message")
    name = str(message.get("agentName") or "").partition(" valid_until ")[0]
    nonce, made = number(message.get("nonce")), number(pending.get("created_ms"))
    late = abs(nonce - made) if nonce is not None and made is not None else math.inf
    fields = inner(typed, "types").get("HyperliquidTransaction:ApproveAgent")
    listed = [(field.get("name"), field.get("type")) for field in fields or () if isinstance(field, dict)]
    compared = (
        ("primary type", typed.get("primaryType"), "HyperliquidTransaction:ApproveAgent"),
        ("fields", listed, list(APPROVAL)),
        ("domain", domain.get("name"), "HyperliquidSignTransaction"),
        ("domain version", domain.get("version"), "1"),
        ("verifying contract", domain.get("verifyingContract"), NOWHERE),
        ("chain", message.get("hyperliquidChain"), "Mainnet"),
        ("agent", _address(message.get("agentAddress")), _address(pending.get("agent_address"))),
        ("agent name", name, pending.get("agent_name") or ""),
    )
    wrong = [f"{name}: the wallet shows {seen}, expected {wanted}" for name, seen, wanted in compared if seen != wanted]
    if late > NONCE:
        wrong.append(
            f"nonce: the wallet shows {message.get('nonce')}, the pending row is of {pending.get('created_ms')}"
        )
    return wrong


def valid_days(agents: Iterable[Row], address: str, now: float) -> float | None:
    """Return for how many days an agent stays valid, by the venue's ``extraAgents``; ``now`` is in seconds since 1970.

    None if the venue does not list the agent: either it does not know the agent, or the agent has no name.
    """
    for agent in agents:
        until = number(agent.get("validUntil"))
        if _address(agent.get("address")) == _address(address):
            return math.inf if until is None else (until - now * 1000) / DAY
    return None


def _address(value: Any) -> str:
    return str(value).lower()


# --- positions ------------------------------------------------------------------------------------------------------


def differing_sizes(perp: Row, positions: Any) -> list[str]:
    """Return a complaint for each symbol whose signed size differs between the venue and ``agent_state.positions``."""
    if not isinstance(perp.get("assetPositions"), list) or not isinstance(positions, list):
        return ["positions: the venue's or the platform's list is missing"]
    at_venue = _sizes((inner(row, "position") for row in perp["assetPositions"]), "coin", "szi")
    in_state = _sizes(positions, "symbol", "sizeBase")
    return [
        f"{symbol}: {at_venue.get(symbol, 0.0)} at the venue, {in_state.get(symbol, 0.0)} in agent_state"
        for symbol in sorted(at_venue.keys() | in_state.keys())
        if not same(at_venue.get(symbol, 0.0), in_state.get(symbol, 0.0))
    ]


def over_levered(perp: Row, most: Any) -> list[str]:
    """Return a complaint for each position of ``clearinghouseState`` whose leverage exceeds ``most``, or is unknown."""
    cap = number(most)
    levers = {
        str(inside.get("coin")): number(inner(inside, "leverage").get("value"))
        for inside in (inner(row, "position") for row in perp.get("assetPositions") or ())
    }
    return [
        f"{symbol}: leverage {lever}, at most {most} allowed"
        for symbol, lever in levers.items()
        if cap is None or lever is None or not lever <= cap
    ]


def held(position: Any) -> str:
    """Describe a position in the venue's ``assetPositions``: its signed size and its symbol."""
    inside = inner(position, "position") if isinstance(position, dict) else {}
    return f"{inside.get('szi')} {inside.get('coin')}"


def of_no_order(fill: Row) -> str | None:
    """Describe a fill that no order of the platform caused, a liquidation or a TWAP slice; None for any other fill.

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
    """Return whether two numbers are equal apart from rounding; None equals nothing."""
    if first is None or second is None:
        return False
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=CLOSE)


def inner(row: Row, key: str) -> Row:
    """Return the object under ``key`` in ``row``; an empty object if there is none."""
    value = row.get(key)
    return value if isinstance(value, dict) else {}


def _list(row: Row, key: str) -> list[Row]:
    value = row.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
