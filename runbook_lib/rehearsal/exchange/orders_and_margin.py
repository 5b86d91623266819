"""Simulate the exchange as a state machine: accounts, orders, fills and margin.

Amounts are exact decimals in US dollars, times are in milliseconds (UTC). Margin is cross and shared by all books. An
account is liquidated only by a call of ``liquidate``, funding is not charged, and orders trade against the market
(``Market``), not against each other. Where the venue's words are not known, they are ours.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import CENT, IMMEDIATE, NIL, Account, Order, Position, direction
from runbook_lib.rehearsal.exchange.agents import ZERO, Agents, Refused
from runbook_lib.rehearsal.exchange.limits import Limits
from runbook_lib.rehearsal.exchange.market_prices import INDEX, Market, named, token_of, wire

TAKER, MAKER = Decimal("0.00045"), Decimal("0.00015")  # fee rates of a new account
SPOT_TAKER, SPOT_MAKER = Decimal("0.0007"), Decimal("0.0004")
UNHASHED = "0x" + "0" * 64  # what a fill of a TWAP has for the hash of a transaction
FAR = Decimal("0.95")  # of the oracle price
MINIMUM = "Order must have minimum value of $10."
REDUCE = "Reduce only order would increase position."
MARGIN = "Insufficient margin to place order."
BALANCE = "Insufficient spot balance."


@dataclass(frozen=True)
class Faults:
    """The exchange's faults, such as refused orders and lost fills.

    Faults are in force while ``exchange.faults`` holds them.
    """

    reject: str | None = None  # every order is refused with these words
    lose_fills: bool = False  # fills reach no socket; the books are right
    duplicate_fills: bool = False  # every fill is announced twice, with one tid
    fill_twice: bool = False  # every fill is executed twice
    late_fills: float = 0.0  # seconds until a fill is announced and listed
    stale: float = 0.0  # seconds by which an account's state is out of date: what was opened since is not in it


class Exchange:
    """The stand-in exchange, which matches orders and computes margin.

    ``now`` returns the time in seconds. Any thread may use the exchange.
    """

    def __init__(self, now: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.now, self.seed, self.market, self.agents = now, seed, Market(now, seed), Agents()
        self.accounts: dict[str, Account] = {}
        self.faults, self.limits = Faults(), Limits(now)
        self.lock, self._serial = threading.RLock(), 0
        self.small_close = True  # a whole position under $10 may be closed: not known of the real venue
        self.listeners: list[Callable[[str, str, Any], None]] = []  # called with topic, address or coin, data
        self._late: list[tuple[float, Account, dict[str, Any]]] = []

    def fund(self, address: str, usdc: Decimal | float | str) -> None:
        """Deposit USDC over the bridge; the deposit counts as margin. As on the real bridge, a deposit under 5 USDC is
        lost.
        """
        amount = Decimal(str(usdc))
        if amount >= 5:
            with self.lock:
                self.move(address, amount, {"type": "deposit", "usdc": wire(amount)})

    def set_mark(self, coin: str, px: Decimal | float | str | None) -> None:
        """Fix a coin's price at ``px``, and fill the resting orders that this price reaches.

        If ``px`` is None, the price moves again.
        """
        self.market.pins.pop(coin, None)
        if px is not None:
            self.market.pins[named(coin).name] = (self.now(), Decimal(str(px)))
        self.advance()

    def set_mode(self, address: str, mode: str) -> None:
        """Set the mode of an account's margin: ``default``, ``disabled``, ``unifiedAccount`` or ``portfolioMargin``.

        The venue calls the mode "account abstraction".
        """
        self.accounts.setdefault(address.lower(), Account(address.lower())).mode = mode

    def remove_agent(self, master: str, address: str) -> None:
        """Remove an agent, as a user does on the venue's own page. The exchange then refuses the agent's orders."""
        with self.lock:
            self.agents.remove(master.lower(), address.lower(), self.ms())

    def ms(self) -> int:
        """Return the present time in milliseconds, by the clock with which the exchange stamps orders."""
        return int(self.now() * 1000)

    def account(self, address: str) -> Account:
        """Return the exchange's account for an address.

        An address that never deposited has an empty account.
        """
        return self.accounts.get(address.lower()) or Account(address.lower())

    def equity(self, account: Account) -> Decimal:
        """Return the equity that backs an account's margin: the cash and unrealised profit on all exchanges
        together.
        """
        return account.cash + sum((self.profit(account, coin) for coin in account.positions), NIL)

    def profit(self, account: Account, coin: str) -> Decimal:
        """Return the unrealised profit of a position at the current mark.

        The profit is part of the equity that backs the margin.
        """
        held = account.positions[coin]
        return held.szi * self.market.mid(coin) - held.cost

    def value(self, account: Account, dex: str = "") -> Decimal:
        """Return an account's value (margin and profit) on the exchange ``dex``.

        An empty ``dex`` means the venue's own exchange. A builder-deployed exchange shows what backs its positions; the
        venue's own shows all the rest. For a unified account the venue's own, too, shows only what backs positions,
        because the rest is in spot.
        """
        if dex or account.unified:
            held = [coin for coin in account.positions if named(coin).dex == dex]
            return self.margin(account, dex=dex) + sum((self.profit(account, coin) for coin in held), NIL)
        others = {named(coin).dex for coin in account.positions} - {""}
        return self.equity(account) - sum((self.value(account, other) for other in others), NIL)

    def margin(self, account: Account, orders: dict[int, Order] | None = None, *, dex: str | None = None) -> Decimal:
        """Return the initial margin that an account needs for its positions, and for those that ``orders`` could open.

        ``dex`` chooses one exchange; None means all of them.
        """
        total, orders = NIL, {oid: order for oid, order in (orders or {}).items() if not named(order.coin).spot}
        for coin in {*account.positions, *(order.coin for order in orders.values())}:
            if dex not in (None, named(coin).dex):
                continue
            more = [o.sz * o.sign for o in orders.values() if o.coin == coin and not o.reduce_only]
            most = max(abs(account.szi(coin) + sum(x for x in more if x * sign > 0)) for sign in (1, -1))
            total += most * self.market.mid(coin) / account.leverage_of(coin)
        return total.quantize(CENT)

    def maintenance(self, account: Account) -> Decimal:
        """Return the account's maintenance margin. The venue liquidates an account whose equity falls below it."""
        held = {coin: abs(p.szi) * self.market.mid(coin) for coin, p in account.positions.items()}
        return sum((value / (2 * named(coin).max_leverage) for coin, value in held.items()), NIL)

    def free(self, account: Account) -> Decimal:
        """Return the USDC that may be withdrawn: the equity less the margin that positions and orders need."""
        return max(NIL, self.equity(account) - self.margin(account, account.resting))

    def emit(self, topic: str, key: str, data: Any) -> None:
        """Pass an event, such as a fill or an order's new status, from the exchange to every open WebSocket."""
        for listener in list(self.listeners):
            listener(topic, key, data)

    def advance(self) -> None:
        """Do everything on the exchange that is due by now, such as late fills and scheduled cancels.

        Announce late fills; cancel the orders of accounts whose dead man's switch (scheduled cancel) has run out; match
        resting orders with the market.
        """
        with self.lock:
            due = [entry for entry in self._late if entry[0] <= self.now()]
            for entry in due:
                self._late.remove(entry)
                self._announce(*entry[1:])
            for account in list(self.accounts.values()):
                if account.cancel_at and account.cancel_at <= self.ms():
                    account.cancel_at = None
                    for order in list(account.resting.values()):
                        self._settle(account, order, "scheduledCancel")
                for order in list(account.resting.values()):
                    self._look(account, order)

    def move(self, address: str, amount: Decimal, delta: dict[str, Any]) -> None:
        """Add an amount, which may be negative, to the cash behind an account's margin.

        The account's ledger gets a line for the amount.
        """
        account = self.accounts.setdefault(address.lower(), Account(address.lower()))
        account.cash, account.paid_in = account.cash + amount, account.paid_in + amount
        account.history.append((self.ms(), self.equity(account), account.paid_in))
        account.ledger.append({"time": self.ms(), "hash": self._hash(), "delta": delta})
        news = {"user": account.address, "nonFundingLedgerUpdates": account.ledger[-1:]}
        self.emit("userNonFundingLedgerUpdates", account.address, news)

    def cancel(self, account: Account, wanted: int | str, index: int) -> Any:
        """Cancel a resting order, and return the order's status in the exchange's words.

        ``wanted`` is the order's number or cloid, and ``index`` is the number of its asset.
        """
        for order in account.resting.values():
            if wanted in (order.oid, order.cloid) and INDEX[order.coin] == index:
                self._settle(account, order, "canceled")
                return "success"
        return {"error": f"Order was never placed, already canceled, or filled. asset={index}"}

    def place(self, account: Account, order: Order) -> dict[str, Any]:
        """Place an order if the account has enough margin. The order's signature was checked before.

        Return the order's status in the venue's words.
        """
        order.oid, order.at = 40 * 10**9 + self._next(), self.ms()
        try:
            self._check(account, order)
            return self._enter(account, order)
        except Refused as no:
            self._settle(account, order, no.status)
            return {"error": f"{no} asset={INDEX[order.coin]}"}

    def _check(self, account: Account, order: Order) -> None:
        """Raise `Refused` if the venue refuses an order before matching it. If there are several reasons, give the
        first.
        """
        asset, mid, szi = named(order.coin), self.market.mid(order.coin), account.szi(order.coin)
        before, whole = self.margin(account, account.resting), self.small_close and order.sz >= abs(szi)
        after = self.margin(account, account.resting | {order.oid: order})
        complaint = asset.complaint(order.px, order.sz)
        known = {o.cloid for o in account.orders.values() if o.cloid}
        for wrong, words, status in (
            (self.faults.reject, self.faults.reject, "rejected"),
            (asset.delisted, "Trading is halted.", "rejected"),
            (complaint, complaint, "tickRejected"),
            (order.tif == "trigger", "Invalid TP/SL price.", "badTriggerPxRejected"),
            (abs(order.px - mid) > mid * FAR, "Order price too far from oracle", "oracleRejected"),
            (order.cloid in known, "Invalid order: cloid already used", "rejected"),
            (order.reduce_only and order.sign * szi >= 0, REDUCE, "reduceOnlyRejected"),
            (order.px * order.sz < 10 and not (order.reduce_only and whole), MINIMUM, "minTradeNtlRejected"),
            (after > max(before, self.equity(account)), MARGIN, "perpMarginRejected"),
            (asset.spot and self._short_of(account, order), BALANCE, "insufficientSpotBalanceRejected"),
        ):
            if wrong:
                raise Refused(str(words), status)

    def _short_of(self, account: Account, order: Order) -> bool:
        """Return whether the account has too little of the token that a spot order would sell or spend."""
        token, amount = ("USDC", order.sz * order.px) if order.sign > 0 else (token_of(order.coin), order.sz)
        return amount > account.held(token) - account.reserved(token)

    def _enter(self, account: Account, order: Order) -> dict[str, Any]:
        """Match a new order with the order book. The unfilled part rests in the book or is cancelled.

        The order's time in force decides whether the unfilled rest is cancelled.
        """
        bid, ask = (self.market.best(order.coin, side) for side in (-1, 1))
        reach = (order.px - (ask if order.sign > 0 else bid)) * order.sign  # how far into the other side
        if order.tif == "Alo" and reach >= 0:
            words = f"Post only order would have immediately matched, bbo was {wire(bid)}@{wire(ask)}."
            raise Refused(words, "badAloPxRejected")
        if order.reduce_only:
            order.sz = min(order.sz, abs(account.szi(order.coin)))
        for px, sz in self.market.levels(order.coin, order.sign):
            if order.sz and (order.px - px) * order.sign >= 0:
                self._fill(account, order, min(order.sz, sz), px, crossed=True)
        if order.tif in IMMEDIATE and not order.filled:
            raise Refused(*IMMEDIATE[order.tif])
        if order.sz:
            self._settle(account, order, "canceled" if order.tif in IMMEDIATE else "open")
        named = {"oid": order.oid} | ({"cloid": order.cloid} if order.cloid else {})
        if not order.filled:
            return {"resting": named}
        average = wire((order.paid / order.filled).quantize(CENT))
        return {"filled": {"totalSz": wire(order.filled), "avgPx": average} | named}

    def _look(self, account: Account, order: Order) -> None:
        """Fill a resting order if the market price has reached the order's price.

        Cancel a reduce-only order if there is no position left to reduce.
        """
        szi = account.szi(order.coin)
        if order.reduce_only and order.sign * szi >= 0:
            self._settle(account, order, "reduceOnlyCanceled")
        elif (self.market.best(order.coin, order.sign) - order.px) * order.sign <= 0:
            self._fill(account, order, min(order.sz, abs(szi)) if order.reduce_only else order.sz, order.px)

    def _fill(self, account: Account, order: Order, size: Decimal, px: Decimal, crossed: bool = False) -> None:
        """Fill a part of an order. ``crossed`` says that the order took liquidity from the book."""
        for _ in range(2 if self.faults.fill_twice else 1):
            self._execute(account, order, size, px, crossed=crossed)
        order.sz, order.filled, order.paid = order.sz - size, order.filled + size, order.paid + size * px
        if not order.sz or order.oid in account.resting:
            self._settle(account, order, "open" if order.sz else "filled")

    def _execute(
        self, account: Account, order: Order, size: Decimal, px: Decimal, *, crossed: bool, **more: Any
    ) -> None:
        """Execute a trade and announce its fill. ``more`` holds extra fields of the fill, such as ``twapId``."""
        trade = self._exchange_tokens if named(order.coin).spot else self._change_position
        traded = trade(account, order, size, px, crossed)
        account.volume += size * px
        fill = {"coin": order.coin, "px": wire(px), "sz": wire(size), "side": "B" if order.sign > 0 else "A",
                "time": self.ms(), "crossed": crossed, "hash": self._hash(), "oid": order.oid,
                "tid": self._serial * 982_451_653 % 10**15, "twapId": None} | traded  # fmt: skip
        fill |= ({"cloid": order.cloid} if order.cloid else {}) | more
        if self.faults.late_fills:
            self._late.append((self.now() + self.faults.late_fills, account, fill))
        else:
            self._announce(account, fill)
        account.history.append((self.ms(), self.equity(account), account.paid_in))

    def _change_position(
        self, account: Account, order: Order, size: Decimal, px: Decimal, crossed: bool
    ) -> dict[str, Any]:
        """Trade a perpetual. Return the fields of the fill that describe the account's position."""
        position = account.positions.setdefault(order.coin, Position())
        start, pnl = position.szi, position.trade(size * order.sign, px)
        fee = (size * px * (TAKER if crossed else MAKER)).quantize(CENT)
        account.cash += pnl - fee
        if not position.szi:
            del account.positions[order.coin]
        return {"startPosition": wire(start), "dir": direction(start, size * order.sign), "closedPnl": wire(pnl),
                "fee": wire(fee), "feeToken": "USDC"}  # fmt: skip

    def _exchange_tokens(
        self, account: Account, order: Order, size: Decimal, px: Decimal, crossed: bool
    ) -> dict[str, Any]:
        """Trade a spot pair. Take the fee out of what the account receives.

        Return the fields of the fill that describe the token.
        """
        token, rate, buys = token_of(order.coin), SPOT_TAKER if crossed else SPOT_MAKER, order.sign > 0
        start, fee = account.held(token), ((size if buys else size * px) * rate).quantize(CENT)
        account.receive(token, size - fee if buys else -size)
        account.receive("USDC", -size * px if buys else size * px - fee)
        return {"startPosition": wire(start), "dir": "Buy" if buys else "Sell", "closedPnl": "0.0", "fee": wire(fee),
                "feeToken": token if buys else "USDC"}  # fmt: skip

    def liquidate(self, address: str) -> None:
        """Liquidate an account, whatever its margin.

        Cancel the account's orders and close its positions, as the venue does.
        """
        with self.lock:
            account = self.account(address)
            for order in list(account.resting.values()):
                self._settle(account, order, "liquidatedCanceled")
            for coin, held in list(account.positions.items()):
                mark = self.market.mid(coin)
                by = {"liquidatedUser": account.address, "markPx": wire(mark), "method": "market"}
                self._trade_without_order(account, coin, -held.szi, mark, liquidation=by)

    def trade_slice(self, address: str, coin: str, size: Decimal) -> None:
        """Trade one slice of a TWAP order at the mark price. A negative size sells.

        The slice's fill belongs to no order of the user.
        """
        with self.lock:
            mark, number = self.market.mid(coin), self._next()
            self._trade_without_order(self.account(address), coin, size, mark, hash=UNHASHED, twapId=number)

    def _trade_without_order(self, account: Account, coin: str, size: Decimal, px: Decimal, **kind: Any) -> None:
        order = Order(coin, 1 if size > 0 else -1, px, abs(size), "Ioc", oid=40 * 10**9 + self._next())
        self._execute(account, order, abs(size), px, crossed=True, **kind)

    def _announce(self, account: Account, fill: dict[str, Any]) -> None:
        account.fills.append(fill)
        for _ in range(0 if self.faults.lose_fills else 2 if self.faults.duplicate_fills else 1):
            self.emit("userFills", account.address, {"user": account.address, "fills": [fill]})
            self.emit("userEvents", account.address, {"fills": [fill]})
        public = {key: fill[key] for key in ("coin", "side", "px", "sz", "hash", "time", "tid")}
        self.emit("trades", fill["coin"].lower(), [public | {"users": [account.address, ZERO]}])

    def _settle(self, account: Account, order: Order, status: str) -> None:
        """Give an order a status, and announce it. An order with the status ``open`` rests in the book."""
        order.status, order.status_at = status, self.ms()
        account.orders[order.oid] = order
        account.updates.append(order.settled())
        account.resting.pop(order.oid, None)
        if status == "open":
            account.resting[order.oid] = order
        self.emit("orderUpdates", account.address, [order.settled(full=False)])

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _hash(self) -> str:
        return "0x" + hashlib.sha256(f"{self.seed} {self._next()}".encode()).hexdigest()
