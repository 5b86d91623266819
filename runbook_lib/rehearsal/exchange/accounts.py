"""Keep the accounts of the stand-in exchange's users: money, positions, orders and fills.

Amounts are exact decimals in US dollars, times are in milliseconds (UTC).
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.market_prices import named, token_of, wire

NIL, CENT = Decimal(0), Decimal("0.000001")  # USDC has six decimals
UNIFIED = {"unifiedAccount", "portfolioMargin"}  # modes that keep all money in spot
IMMEDIATE = {  # time in force -> what is said when nothing matches, and the status then
    "Ioc": ("Order could not immediately match against any resting orders.", "iocCancelRejected"),
    "FrontendMarket": ("No liquidity available for market order.", "marketOrderNoLiquidityRejected"),
}


@dataclass
class Order:
    """An account's order and its status. ``sz`` is the size not yet filled. ``sign`` is +1 to buy and -1 to sell."""

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
        """Return the account's order as ``frontendOpenOrders`` shows it.

        Without ``full``, return the order as ``openOrders`` shows it.
        """
        shape = {"coin": self.coin, "side": "B" if self.sign > 0 else "A", "limitPx": wire(self.px),
                 "sz": wire(self.sz), "oid": self.oid, "timestamp": self.at, "origSz": wire(self.asked),
                 "cloid": self.cloid, "reduceOnly": self.reduce_only}  # fmt: skip
        if not full:
            return {key: value for key, value in shape.items() if value not in (None, False)}
        kind = "Market" if "Market" in self.tif else "Limit"
        return shape | {"triggerCondition": "N/A", "isTrigger": False, "triggerPx": "0.0", "children": [],
                        "isPositionTpsl": False, "orderType": kind, "tif": self.tif}  # fmt: skip

    def settled(self, full: bool = True) -> dict[str, Any]:
        """Return the account's order and its present status, in the form of the exchange's status updates.

        It holds the order as it is now, its status, and the time of that status.
        """
        return {"order": self.shape(full), "status": self.status, "statusTimestamp": self.status_at}


@dataclass
class Position:
    """An account's position in a perpetual.

    ``szi`` is the signed size. ``cost`` is the signed sum of size times opening price.
    """

    szi: Decimal = NIL
    cost: Decimal = NIL

    def trade(self, size: Decimal, px: Decimal) -> Decimal:
        """Trade a size of an account's position at a price. A negative size sells.

        Return the profit of the part of the position that the trade closed.
        """
        closed = min(abs(size), abs(self.szi)).copy_sign(self.szi) if size * self.szi < 0 else NIL
        part = (self.cost * closed / self.szi).quantize(CENT) if closed else NIL
        self.szi, self.cost = self.szi + size, self.cost + (size + closed) * px - part
        return closed * px - part


@dataclass
class Account:
    """The account of one master wallet at the stand-in exchange."""

    address: str
    cash: Decimal = NIL
    mode: str = "default"  # the account abstraction
    volume: Decimal = NIL
    requests: int = 0
    cancel_at: int | None = None  # the dead man's switch
    positions: dict[str, Position] = field(default_factory=dict)
    leverage: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, Decimal] = field(default_factory=dict)  # in spot; a unified account's USDC is its cash
    orders: dict[int, Order] = field(default_factory=dict)
    resting: dict[int, Order] = field(default_factory=dict)
    updates: list[dict[str, Any]] = field(default_factory=list)  # of orders: one comes as often as its status changed
    fills: list[dict[str, Any]] = field(default_factory=list)
    ledger: list[dict[str, Any]] = field(default_factory=list)
    paid_in: Decimal = NIL  # deposits less withdrawals
    history: list[tuple[int, Decimal, Decimal]] = field(default_factory=list)  # time, equity, paid in

    @property
    def unified(self) -> bool:
        """Return whether the account's mode is one in which all money is in spot."""
        return self.mode in UNIFIED

    def szi(self, coin: str) -> Decimal:
        """Return the size of the account's position in a perpetual: negative for a short, 0 if there is none."""
        return self.positions[coin].szi if coin in self.positions else NIL

    def leverage_of(self, coin: str) -> int:
        """Return the leverage that the account set for a coin.

        If none was set, return 20 or the coin's maximum, whichever is lower.
        """
        return self.leverage.get(coin, min(20, named(coin).max_leverage))

    def held(self, token: str) -> Decimal:
        """Return the amount of a token that the account holds in spot."""
        return self.cash if self.unified and token == "USDC" else self.tokens.get(token, NIL)

    def receive(self, token: str, amount: Decimal) -> None:
        """Add an amount, which may be negative, to the account's balance of a token in spot."""
        if self.unified and token == "USDC":
            self.cash += amount
        else:
            self.tokens[token] = self.held(token) + amount

    def reserved(self, token: str) -> Decimal:
        """Return how much of a token the account's resting spot orders would sell or spend.

        That amount is not free for other orders.
        """
        resting = [order for order in self.resting.values() if named(order.coin).spot]
        buying = sum((order.sz * order.px for order in resting if order.sign > 0), NIL)
        selling = sum((order.sz for order in resting if order.sign < 0 and token_of(order.coin) == token), NIL)
        return buying if token == "USDC" else selling


def direction(start: Decimal, size: Decimal) -> str:
    """Return the exchange's words (``dir``) for what a fill did to an account's position, such as ``Open Long``."""
    side, was = ("Long" if size > 0 else "Short"), ("Long" if start > 0 else "Short")
    if start * size >= 0:
        return f"Open {side}"
    return f"{was} > {side}" if start * (start + size) < 0 else f"Close {was}"
