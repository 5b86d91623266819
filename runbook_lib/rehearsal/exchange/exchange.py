"""The stand-in exchange as a state machine: accounts, orders, fills and margin.

Amounts are exact decimals in US dollars, times milliseconds (UTC). Margin is cross; nothing is liquidated, funding is
not charged, and orders meet the market (``Market``), not each other. Where the venue's words are not known, they are
ours.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import (
    CENT,
    IMMEDIATE,
    NIL,
    Account,
    Order,
    Position,
    direction,
    number,
    read_order,
)
from runbook_lib.rehearsal.exchange.agents import ZERO, Agents, Refused
from runbook_lib.rehearsal.exchange.market import ASSETS, BY_ID, INDEX, Market, wire
from runbook_lib.rehearsal.exchange.signatures import USER_SIGNED, Unreadable, l1_signers, user_signer

TAKER, MAKER = Decimal("0.00045"), Decimal("0.00015")  # fee rates of a new account
FAR = Decimal("0.95")  # of the oracle price
MINIMUM = "Order must have minimum value of $10."
REDUCE = "Reduce only order would increase position."
MARGIN = "Insufficient margin to place order."


@dataclass(frozen=True)
class Faults:
    """What is wrong with the venue: assign one to ``exchange.faults``, and ``Faults()`` to repair it."""

    reject: str | None = None  # every order is refused with these words
    lose_fills: bool = False  # fills reach no socket; the books are right
    duplicate_fills: bool = False  # every fill is announced twice, with one tid
    fill_twice: bool = False  # every fill is executed twice
    late_fills: float = 0.0  # seconds until a fill is announced and listed


class Exchange:
    """Everything the venue remembers; ``now`` is the clock, in seconds. Safe to use from any thread."""

    def __init__(self, now: Callable[[], float] = time.time, seed: int = 0) -> None:
        self.now, self.seed, self.market, self.agents = now, seed, Market(now, seed), Agents()
        self.accounts: dict[str, Account] = {}
        self.faults, self.lock, self._serial = Faults(), threading.RLock(), 0
        self.small_close = True  # a whole position under $10 may be closed: not known of the real venue
        self.listeners: list[Callable[[str, str, Any], None]] = []  # called with topic, address or coin, data
        self._late: list[tuple[float, Account, dict[str, Any]]] = []

    def fund(self, address: str, usdc: Decimal | float | str) -> None:
        """Deposit over the bridge, which keeps anything under 5 USDC."""
        amount = Decimal(str(usdc))
        if amount >= 5:
            with self.lock:
                self._move(address, amount, {"type": "deposit", "usdc": wire(amount)})

    def set_mark(self, coin: str, px: Decimal | float | str | None) -> None:
        """Pin a price and let the market act on it; None lets it move again."""
        self.market.pins.pop(coin, None)
        if px is not None:
            self.market.pins[ASSETS[INDEX[coin]].name] = (self.now(), Decimal(str(px)))
        self.advance()

    def set_mode(self, address: str, mode: str) -> None:
        """Set the account abstraction: ``default``, ``disabled``, ``unifiedAccount`` or ``portfolioMargin``."""
        self.accounts.setdefault(address.lower(), Account(address.lower())).mode = mode

    def remove_agent(self, master: str, address: str) -> None:
        """Remove an agent as the venue's own page does."""
        with self.lock:
            self.agents.remove(master.lower(), address.lower(), self.ms())

    def drop_sockets(self) -> None:
        """Close every WebSocket, as an outage does."""
        self.emit("close", "", None)

    def ms(self) -> int:
        """Now, in milliseconds."""
        return int(self.now() * 1000)

    def account(self, address: str) -> Account:
        """Return the account of an address, an empty one if it never deposited."""
        return self.accounts.get(address.lower()) or Account(address.lower())

    def equity(self, account: Account) -> Decimal:
        """Cash and unrealised profit at the marks of now."""
        return account.cash + sum(p.szi * self.market.mid(c) - p.cost for c, p in account.positions.items())

    def margin(self, account: Account, orders: dict[int, Order] | None = None) -> Decimal:
        """Initial margin of the positions, and of the most that ``orders`` could make of them."""
        total, orders = NIL, orders or {}
        for coin in {*account.positions, *(o.coin for o in orders.values())}:
            more = [o.sz * o.sign for o in orders.values() if o.coin == coin and not o.reduce_only]
            most = max(abs(account.szi(coin) + sum(x for x in more if x * sign > 0)) for sign in (1, -1))
            total += most * self.market.mid(coin) / account.leverage_of(coin)
        return total.quantize(CENT)

    def maintenance(self, account: Account) -> Decimal:
        """Equity under which the venue would liquidate everything: half the initial margin at maximum leverage."""
        held = {coin: abs(p.szi) * self.market.mid(coin) for coin, p in account.positions.items()}
        return sum((value / (2 * ASSETS[INDEX[coin]].max_leverage) for coin, value in held.items()), NIL)

    def free(self, account: Account) -> Decimal:
        """What may be withdrawn."""
        return max(NIL, self.equity(account) - self.margin(account, account.resting))

    def emit(self, topic: str, key: str, data: Any) -> None:
        """Tell the sockets."""
        for listener in list(self.listeners):
            listener(topic, key, data)

    def advance(self) -> None:
        """Let time and the market act: late news, the dead man's switch, resting orders."""
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

    def act(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer ``POST /exchange``; raise ``Unreadable`` if the body is not of the venue's form."""
        with self.lock:
            self.advance()
            try:
                return {"status": "ok", "response": self._perform(body, body["action"])}
            except Refused as no:
                return {"status": "err", "response": str(no)}
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise Unreadable from error

    def _perform(self, body: dict[str, Any], action: dict[str, Any]) -> dict[str, Any]:
        """Read all of it, find out who asks, use up the nonce, and only then do it."""
        kind = action["type"]
        single = {"approveAgent": self._approve, "usdSend": self._transfer, "withdraw3": self._transfer,
                  "updateLeverage": self._set_leverage, "scheduleCancel": self._schedule,
                  "noop": None}  # fmt: skip
        orders = [read_order(item) for item in action["orders"]] if kind == "order" else []
        cancels = [_named(item) for item in action["cancels"]] if kind.startswith("cancel") else []
        if kind not in {*single, "order", "cancel", "cancelByCloid"}:
            raise Unreadable
        signer, account = self._signed_by(body, kind in USER_SIGNED)
        nonce = action["nonce" if kind == "approveAgent" else "time"] if kind in USER_SIGNED else body["nonce"]
        self.agents.use_nonce(signer, nonce, self.ms())
        account.requests += max(1, len(orders) + len(cancels))
        if kind in single:
            if do := single[kind]:  # a no-op only uses up its nonce
                do(account, action)
            return {"type": "default"}
        done = [self.place(account, order) for order in orders] + [self._cancel(account, *one) for one in cancels]
        return {"type": kind, "data": {"statuses": done}}

    def _signed_by(self, body: dict[str, Any], by_master: bool) -> tuple[str, Account]:
        """The signer, and the account it acts for: an agent's master, unless only the master may do it."""
        strangers = []
        for signer in [user_signer(body)] if by_master else l1_signers(body):
            agent = None if by_master else self.agents.of(signer, self.ms())
            account = self.account(agent.master if agent else signer)
            if by_master or account.address in self.accounts:
                break
            strangers.append(signer)
        else:
            raise Refused(f"User or API Wallet {strangers[0]} does not exist.")
        if self.equity(account) <= 0:
            raise Refused(f"Must deposit before performing actions. User: {account.address}")
        if body.get("vaultAddress"):
            raise Refused(f"Vault not registered: {body['vaultAddress']}")
        if self.ms() > (body.get("expiresAfter") or self.ms()):
            raise Refused(f"Action expired: expiresAfter {body['expiresAfter']} < {self.ms()}")
        return signer, account

    def _approve(self, account: Account, action: dict[str, Any]) -> None:
        name = action.get("agentName") or ""
        self.agents.approve(account.address, action["agentAddress"].lower(), name, self.ms())

    def _transfer(self, account: Account, action: dict[str, Any]) -> None:
        amount, kind = number(action["amount"]), action["type"]
        if not 0 < amount <= self.free(account):
            raise Refused("Insufficient balance for withdrawal.")
        delta = {"type": {"usdSend": "internalTransfer"}.get(kind, "withdraw"), "usdc": wire(amount)}
        delta |= {"user": account.address, "destination": action["destination"], "fee": "0.0"}
        self._move(account.address, -amount, delta)
        if kind == "usdSend":
            self._move(action["destination"], amount, delta)

    def _move(self, address: str, amount: Decimal, delta: dict[str, Any]) -> None:
        account = self.accounts.setdefault(address.lower(), Account(address.lower()))
        account.cash, account.paid_in = account.cash + amount, account.paid_in + amount
        account.history.append((self.ms(), self.equity(account), account.paid_in))
        account.ledger.append({"time": self.ms(), "hash": self._hash(), "delta": delta})
        told = {"user": account.address, "nonFundingLedgerUpdates": account.ledger[-1:]}
        self.emit("userNonFundingLedgerUpdates", account.address, told)

    def _set_leverage(self, account: Account, action: dict[str, Any]) -> None:
        asset, before, wanted = BY_ID[action["asset"]], account.leverage, int(action["leverage"])
        if not action["isCross"]:
            raise Refused("Isolated margin is not played in a rehearsal: use cross margin.")
        if not 1 <= wanted <= asset.max_leverage:
            raise Refused(f"Invalid leverage {wanted}: the maximum is {asset.max_leverage}.")
        account.leverage = before | {asset.name: wanted}
        if self.margin(account, account.resting) > self.equity(account):
            account.leverage = before
            raise Refused("Insufficient cross margin available to decrease leverage.")

    def _schedule(self, account: Account, action: dict[str, Any]) -> None:
        if account.volume < 1_000_000:
            words = "Cannot set scheduled cancel time until enough volume traded. Required: $1000000. Traded:"
            raise Refused(f"{words} ${account.volume:.0f}.")
        if action.get("time") is not None and action["time"] < self.ms() + 5000:
            raise Refused("Scheduled cancel time too early, must be at least 5 seconds from now.")
        account.cancel_at = action.get("time")

    def _cancel(self, account: Account, wanted: int | str, index: int) -> Any:
        for order in account.resting.values():
            if wanted in (order.oid, order.cloid) and INDEX[order.coin] == index:
                self._settle(account, order, "canceled")
                return "success"
        return {"error": f"Order was never placed, already canceled, or filled. asset={index}"}

    def place(self, account: Account, order: Order) -> dict[str, Any]:
        """Take an order from whoever has the right to give it; return its status as the venue words it."""
        order.oid, order.at = 40 * 10**9 + self._next(), self.ms()
        try:
            self._check(account, order)
            return self._enter(account, order)
        except Refused as no:
            self._settle(account, order, no.status)
            return {"error": f"{no} asset={INDEX[order.coin]}"}

    def _check(self, account: Account, order: Order) -> None:
        """Refuse what the venue refuses before it looks at the book: the first line that is true."""
        asset, mid, szi = ASSETS[INDEX[order.coin]], self.market.mid(order.coin), account.szi(order.coin)
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
        ):
            if wrong:
                raise Refused(str(words), status)

    def _enter(self, account: Account, order: Order) -> dict[str, Any]:
        """Match an order with the book; what is left rests, or not, as its time in force says."""
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
        """Fill a resting order that the market has reached; drop one that has nothing left to reduce."""
        szi = account.szi(order.coin)
        if order.reduce_only and order.sign * szi >= 0:
            self._settle(account, order, "reduceOnlyCanceled")
        elif (self.market.best(order.coin, order.sign) - order.px) * order.sign <= 0:
            self._fill(account, order, min(order.sz, abs(szi)) if order.reduce_only else order.sz, order.px)

    def _fill(self, account: Account, order: Order, size: Decimal, px: Decimal, crossed: bool = False) -> None:
        """Execute; ``crossed`` for the one who takes."""
        side = "B" if order.sign > 0 else "A"
        for _ in range(2 if self.faults.fill_twice else 1):
            position = account.positions.setdefault(order.coin, Position())
            start, pnl = position.szi, position.trade(size * order.sign, px)
            fee = (size * px * (TAKER if crossed else MAKER)).quantize(CENT)
            account.cash, account.volume = account.cash + pnl - fee, account.volume + size * px
            if not position.szi:
                del account.positions[order.coin]
            fill = {"coin": order.coin, "px": wire(px), "sz": wire(size), "side": side, "time": self.ms(),
                    "startPosition": wire(start), "dir": direction(start, size * order.sign), "crossed": crossed,
                    "closedPnl": wire(pnl), "hash": self._hash(), "oid": order.oid, "fee": wire(fee),
                    "tid": self._serial * 982_451_653 % 10**15, "feeToken": "USDC", "twapId": None}  # fmt: skip
            fill |= {"cloid": order.cloid} if order.cloid else {}
            if self.faults.late_fills:
                self._late.append((self.now() + self.faults.late_fills, account, fill))
            else:
                self._announce(account, fill)
        account.history.append((self.ms(), self.equity(account), account.paid_in))
        order.sz, order.filled, order.paid = order.sz - size, order.filled + size, order.paid + size * px
        if not order.sz or order.oid in account.resting:
            self._settle(account, order, "open" if order.sz else "filled")

    def _announce(self, account: Account, fill: dict[str, Any]) -> None:
        account.fills.append(fill)
        for _ in range(0 if self.faults.lose_fills else 2 if self.faults.duplicate_fills else 1):
            self.emit("userFills", account.address, {"user": account.address, "fills": [fill]})
            self.emit("userEvents", account.address, {"fills": [fill]})
        public = {key: fill[key] for key in ("coin", "side", "px", "sz", "hash", "time", "tid")}
        self.emit("trades", fill["coin"].lower(), [public | {"users": [account.address, ZERO]}])

    def _settle(self, account: Account, order: Order, status: str) -> None:
        """Give an order its status; the open ones rest."""
        order.status, order.status_at = status, self.ms()
        account.orders[order.oid] = order
        account.resting.pop(order.oid, None)
        if status == "open":
            account.resting[order.oid] = order
        self.emit("orderUpdates", account.address, [order.settled(full=False)])

    def _next(self) -> int:
        self._serial += 1
        return self._serial

    def _hash(self) -> str:
        return "0x" + hashlib.sha256(f"{self.seed} {self._next()}".encode()).hexdigest()


def _named(item: dict[str, Any]) -> tuple[int | str, int]:
    """Read which order a cancel means, by number or by cloid, and its asset."""
    return (int(item["o"]), item["a"]) if "o" in item else (str(item["cloid"]), item["asset"])
