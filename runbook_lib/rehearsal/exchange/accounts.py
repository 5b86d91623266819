"""What the stand-in exchange keeps for each of its users: money, positions, orders and fills.

Amounts are exact decimals in US dollars, times milliseconds (UTC).
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.market import ASSETS, BY_ID, INDEX, wire
from runbook_lib.rehearsal.exchange.signatures import Unreadable

NIL, CENT = Decimal(0), Decimal("0.000001")  # USDC has six decimals
IMMEDIATE = {  # time in force -> what is said when nothing matches, and the status then
    "Ioc": ("Order could not immediately match against any resting orders.", "iocCancelRejected"),
    "FrontendMarket": ("No liquidity available for market order.", "marketOrderNoLiquidityRejected"),
}


@dataclass
class Order:
    """An order and what became of it; ``sz`` is what is left to fill, ``sign`` +1 to buy and -1 to sell."""

    coin: str
    sign: int
    px: Decimal
    sz: Decimal
    tif: str
    reduce_only: bool = False
    cloid: str | None = None
    asked: Decimal = NIL
    oid: int = 0
    at: int = 0
    filled: Decimal = NIL
    paid: Decimal = NIL
    status: str = "open"
    status_at: int = 0

    def shape(self, full: bool = True) -> dict[str, Any]:
        """One of ``openOrders``, or in ``full`` of ``frontendOpenOrders``."""
        shape = {"coin": self.coin, "side": "B" if self.sign > 0 else "A", "limitPx": wire(self.px),
                 "sz": wire(self.sz), "oid": self.oid, "timestamp": self.at, "origSz": wire(self.asked),
                 "cloid": self.cloid, "reduceOnly": self.reduce_only}  # fmt: skip
        if not full:
            return {key: value for key, value in shape.items() if value not in (None, False)}
        kind = "Market" if "Market" in self.tif else "Limit"
        return shape | {"triggerCondition": "N/A", "isTrigger": False, "triggerPx": "0.0", "children": [],
                        "isPositionTpsl": False, "orderType": kind, "tif": self.tif}  # fmt: skip

    def settled(self, full: bool = True) -> dict[str, Any]:
        """The order and what became of it."""
        return {"order": self.shape(full), "status": self.status, "statusTimestamp": self.status_at}


@dataclass
class Position:
    """``szi`` is signed; ``cost`` is the signed sum of size times price that opened it."""

    szi: Decimal = NIL
    cost: Decimal = NIL

    def trade(self, size: Decimal, px: Decimal) -> Decimal:
        """Add a signed size; return the profit of what it closed."""
        closed = min(abs(size), abs(self.szi)).copy_sign(self.szi) if size * self.szi < 0 else NIL
        part = (self.cost * closed / self.szi).quantize(CENT) if closed else NIL
        self.szi, self.cost = self.szi + size, self.cost + (size + closed) * px - part
        return closed * px - part


@dataclass
class Account:
    """One master wallet at the venue."""

    address: str
    cash: Decimal = NIL
    mode: str = "default"  # the account abstraction
    volume: Decimal = NIL
    requests: int = 0
    cancel_at: int | None = None  # the dead man's switch
    positions: dict[str, Position] = field(default_factory=dict)
    leverage: dict[str, int] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    resting: dict[int, Order] = field(default_factory=dict)
    fills: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    paid_in: Decimal = NIL  # deposits less withdrawals
    history: list[tuple[int, Decimal, Decimal]] = field(default_factory=list)  # time, equity, paid in

    def szi(self, coin: str) -> Decimal:
        """Signed size held, or nought."""
        return self.positions[coin].szi if coin in self.positions else NIL

    def leverage_of(self, coin: str) -> int:
        """What was set, else 20, or the coin's maximum if lower."""
        return self.leverage.get(coin, min(20, ASSETS[INDEX[coin]].max_leverage))


def read_order(item: dict[str, Any]) -> Order:
    """Read an order of the wire; a trigger order has ``trigger`` for its time in force."""
    sz, cloid = number(item["s"]), item.get("c")
    tif = item["t"]["limit"]["tif"] if "limit" in item["t"] else "trigger"
    if tif not in {"Gtc", "Alo", "trigger", *IMMEDIATE} or (cloid and not re.fullmatch("0x[0-9a-f]{32}", cloid)):
        raise Unreadable
    sign, coin = 1 if item["b"] else -1, BY_ID[item["a"]].name
    return Order(coin, sign, number(item["p"]), sz, tif, bool(item["r"]), cloid, asked=sz)


def number(text: str) -> Decimal:
    """Read a decimal of the wire: at most eight decimals, no sign, no exponent."""
    if not re.fullmatch(r"\d{1,12}(\.\d{1,8})?", text, re.ASCII):
        raise Unreadable
    return Decimal(text)


def direction(start: Decimal, size: Decimal) -> str:
    """``dir`` of a fill, in the venue's words."""
    side, was = ("Long" if size > 0 else "Short"), ("Long" if start > 0 else "Short")
    if start * size >= 0:
        return f"Open {side}"
    return f"{was} > {side}" if start * (start + size) < 0 else f"Close {was}"
