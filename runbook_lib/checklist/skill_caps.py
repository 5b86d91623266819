"""Judge a Skill's caps: none is looser than the checklist's limit sheet, an order fits, the cost cap lasts long enough.

The first half holds the expectations about replies, the second half the arithmetic on caps. Amounts are in US dollars.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import inner, number
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Row = Mapping[str, Any]

SMALLEST = 12.0  # US dollars an opening order needs: the venue takes $10, and a position that fell under it stays (C17)


def limits(**sheet: Any) -> Expectation:
    """Expect that no cap in the Skill's ``risk`` is looser than on the checklist's limit sheet.

    Reply: a row ``risk``.
    """

    def test(reply: Reply) -> Finding:
        caps = inner(_first(reply), "risk")
        bad = looser(sheet, caps)
        seen = ", ".join(f"{name}={caps.get(name)}" for name in sheet)
        return Finding(seen, "; ".join(bad) or None)

    return over_each(f"limits no looser than {', '.join(f'{k}={v}' for k, v in sheet.items())}", test)


def can_trade(balance: float) -> Expectation:
    """Expect that the Skill's caps allow an order that the venue accepts, in at least one symbol (C17).

    Replies: a row with the Skill's ``risk``, the venue's ``meta`` and ``allMids``. ``balance`` is the equity in US
    dollars.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        caps, meta, mids = inner(_first(replies[0]), "risk"), _first(replies[1]), _first(replies[2])
        markets = {name: market for name in _names(caps.get("allowedSymbols")) if (market := _market(name, meta, mids))}
        rooms = {name: order_room(name, caps, balance, *market) for name, market in markets.items()}
        seen = ", ".join(f"{name}: largest order ${room.largest:.2f}" for name, room in rooms.items())
        if any(room.enough for room in rooms.values()):
            return Finding(seen)
        cure = "; ".join(_cure(name, caps, balance, market) for name, market in markets.items())
        smallest = next(iter(rooms.values())).smallest if rooms else SMALLEST
        said = f"this Skill can never trade: {seen or 'no allowed symbol has a market'}, needed ${smallest:.2f}"
        return Finding(seen, f"{said}. {cure}" if cure else said)

    return over_all("the caps leave room for an order", test)


def _cure(name: str, caps: Row, balance: float, market: tuple[float, int]) -> str:
    cure = remedy(caps, balance, *market)
    percent = (
        None
        if cure.percent is None
        else (f"maxPositionPct and maxTotalExposurePct of at least {cure.percent:g} at ${balance:.2f}")
    )
    dollars = f"a balance of at least ${cure.balance:.0f} with these caps" if cure.balance else None
    return f"{name} would trade with {' or '.join(filter(None, (percent, dollars))) or 'other caps'}"


def _market(name: str, meta: Row, mids: Row) -> tuple[float, int] | None:
    """Return a symbol's price and ``szDecimals``. Return None if the venue does not trade the symbol."""
    listed = meta.get("universe")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    market: Row = next((row for row in rows if row.get("name") == name), {})
    price, decimals = number(mids.get(name)), number(market.get("szDecimals"))
    if price is None or price <= 0 or decimals is None or market.get("isDelisted") or not 0 <= decimals <= 8:
        return None
    return price, int(decimals)


def _names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else []


def lasts(ticks: int) -> Expectation:
    """Expect that the Skill's monthly cost cap pays for at least this number of ticks (C18).

    Reply: a row ``cap_usd``, ``usd_per_tick``, ``tick_seconds``.
    """

    def test(reply: Reply) -> Finding:
        row = _first(reply)
        amounts = [number(row.get(name)) for name in ("cap_usd", "usd_per_tick", "tick_seconds")]
        cap, cost, interval = (amount or 0.0 for amount in amounts)
        if min(cap, cost, interval) <= 0:
            return Finding("", f"expected cap_usd, usd_per_tick and tick_seconds above 0, found {dict(row)}")
        span = horizon(cap, cost, interval)
        until = datetime.now(UTC) + timedelta(seconds=min(span.seconds, 1e9))
        length = f"{span.seconds / 3600:.1f} h, until {until:%Y-%m-%dT%H:%MZ}"
        seen = f"${cap:g} pays for {span.ticks} ticks at ${cost:.4f}: {length}"
        return Finding(seen, None if span.ticks >= ticks else f"{seen}; expected at least {ticks} ticks")

    return over_each(f"the cost cap pays for at least {ticks} ticks", test)


def _first(reply: Reply) -> Row:
    return reply.rows[0] if reply.rows else {}


# --- the limit sheet ------------------------------------------------------------------------------------------------


def looser(sheet: Row, caps: Row) -> list[str]:
    """Return a complaint for each Skill cap that is missing, senseless, or looser than on the checklist's limit sheet.

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
    """The largest order that a Skill's caps allow in a symbol, and the smallest order that is useful there.

    ``largest`` is the largest opening order that the caps allow, ``smallest`` the smallest useful order, both in US
    dollars.
    """

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
    """Return the largest order that a Skill's position caps and leverage allow for ``balance``.

    The order's size is rounded down to the venue's precision. ``price`` is the mark price, ``decimals`` the symbol's
    szDecimals at the venue.
    """
    unit = _unit(price, decimals)
    units = (_dollars(balance) * _percent(caps) / 100 / unit).to_integral_value(ROUND_FLOOR)
    return Room(symbol, float(units * unit), _smallest(caps))


def remedy(caps: Row, balance: float, price: float, decimals: int) -> Remedy:
    """Return the smallest position cap, in per cent, or the smallest balance, with which a Skill could place an order.

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
    """Return the value in US dollars of the smallest amount of a symbol that can be traded."""
    return Decimal(str(price)).scaleb(-decimals)


def _dollars(amount: float) -> Decimal:
    return Decimal(str(amount))


def _percent(caps: Row) -> Decimal:
    """Return the tightest limit on a Skill's position, in per cent of the balance: the smallest of two position caps
    and the leverage.

    Return 0 if one is missing.
    """
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
    """How long a Skill's monthly cost cap lasts: it pays for ``ticks`` ticks, which take ``seconds`` seconds."""

    ticks: int
    seconds: float


def horizon(cap: float, per_tick: float, interval: float) -> Horizon:
    """Return how long a Skill's monthly cost cap lasts, in ticks and in seconds.

    ``cap`` and ``per_tick`` (the cost of a tick) are in US dollars, ``interval`` is in seconds between two ticks.
    """
    ticks = math.floor(cap / per_tick) if per_tick > 0 else 0
    return Horizon(ticks, ticks * interval)
