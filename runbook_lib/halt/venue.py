"""Prove at the venue that every wallet is flat. The operator's key may cancel orders and close positions that are left.

A wallet is flat if the venue, asked after nobody could place an order any more, shows no position and no resting order
in any of its books (main, spot, builders'), and shows none again at a later moment. If the venue does not answer,
nothing is flat.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_books
from runbook_lib.agentic_trading.venue_books import MAIN, SPOT
from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.halt.operator_key import acting
from runbook_lib.halt.rate_limit import Purse
from runbook_lib.halt.retries import look
from runbook_lib.halt.runners import named
from runbook_lib.halt.state import LOOKS, Account, Order
from runbook_lib.services.deadlines import side_by_side

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.commands.command import Http, Reply
    from runbook_lib.halt.operator_key import Key
    from runbook_lib.halt.state import Halting
    from runbook_lib.services.services import Services

PAGE = "https://app.hyperliquid.xyz/portfolio"
AT_ONCE = 8  # wallets that are read at the same time
FIRST, MOST = 0.05, 1.0  # seconds between two looks at a wallet, at first and at most
BY_KEY = 3  # times that the key may be used for one wallet


def venue(services: Services, halting: Halting) -> None:
    """Ask the venue about every wallet until all are flat, or until the time is over (parts ``cancel`` and
    ``flat``).
    """
    halting.wait_for_database()
    if halting.database != "answered":
        halting.update(addresses=named(services))
    if not halting.addresses:
        _no_wallet(halting)
        return
    follower, hand, delay = Follower(services, halting), Hand(services), FIRST
    while not follower.over() and halting.now() < halting.limits.flat:
        follower.look_around()
        if follower.over() or (not hand.ready and _nobody(halting)):
            break
        _act(services, halting, hand)
        halting.rest(delay)
        delay = min(delay * 1.2, MOST)
    judge(halting, hand.said)


def _no_wallet(halting: Halting) -> None:
    for part in ("cancel", "flat"):
        if halting.database != "answered":
            why = "no wallet is known: the database does not answer, and the profile names none"
            halting.end(part, "unknown", complaint=why)
        elif shared := _shared(halting):
            halting.end(part, "failed", complaint=shared)
        else:
            halting.end(part, "passed", "no wallet trades: nothing is live")


# --- looking --------------------------------------------------------------------------------------------------------


class Follower:
    """The halt's questions to the venue about every wallet, the main exchange first, within the venue's rate limit."""

    def __init__(self, services: Services, halting: Halting) -> None:
        self.services, self.halting, self.purse = services, halting, Purse()
        self.in_spot: dict[str, tuple[Order, ...]] = {}  # wallet -> its spot orders, which the main book's answer lists

    def look_around(self) -> None:
        """Ask the venue about each wallet of the halt, in every book in which the wallet is not proven flat yet."""
        if self.halting.books is None and any(map(self._read, self.halting.addresses)):
            self._list_books()  # once, and after the main book, which must not wait for it
        due = [(wallet, book) for wallet in sorted(self.halting.addresses) for book in self._due(wallet)]
        due.sort(key=lambda place: place[1] != MAIN)
        side_by_side((partial(self._look, *place) for place in due), AT_ONCE)

    def _due(self, wallet: str) -> list[str]:
        """Return the books (perp exchanges and spot) in which a wallet is not proven flat yet.

        Until its orders were read, only the main book counts.
        """
        books = self.halting.every_book() if self._read(wallet) else (MAIN,)
        return [book for book in books if not _proven(self.halting, wallet, book)]

    def _read(self, wallet: str) -> bool:
        return self.halting.account(wallet).orders is not None

    def _list_books(self) -> None:
        """Ask the venue which books exist. Until the venue has answered, no wallet counts as flat everywhere."""
        with suppress(ServiceError):
            reply = self._ask(venue_books.books(), venue_books.BOOKS_WEIGHT)
            self.halting.update(books=(MAIN, SPOT, *venue_books.names(reply)))

    def _kept(self) -> float:
        """Return the request weight to keep in reserve, so that every wallet can be proven flat on the main exchange.

        The rest may be spent elsewhere.
        """
        halting = self.halting
        wallets = sum(not _proven(halting, wallet, MAIN) for wallet in halting.addresses)
        return wallets * LOOKS * (venue_books.STATE_WEIGHT + venue_books.ORDERS_WEIGHT)

    def _ask(self, question: Http, weight: float, book: str = MAIN) -> Reply:
        """Ask the venue once, within the time that is left. The caller asks again if the venue does not answer."""
        halting = self.halting
        left = halting.limits.flat - halting.now()
        self.purse.pay(weight, left, 0.0 if book == MAIN else self._kept())
        return look(self.services, halting, "flat", question, halting.now(), answer_by=halting.limits.flat)

    def _look(self, wallet: str, book: str) -> None:
        """Ask for a wallet's positions in a book (a perp exchange or spot), and for its orders once no runner can place
        any.
        """
        before, fenced, at = self.halting.account(wallet, book), _fenced(self.halting, wallet), self.halting.now()
        try:
            answer = self._ask(venue_books.state(wallet, book), venue_books.STATE_WEIGHT, book).rows[0]
            positions = venue_books.held(answer)
            # Orders once seen gone stay gone, because nobody is left to place one. In the main book they must be seen
            # gone twice; in each other book once is enough, because the question is expensive.
            # While a runner still closes a position, its orders are read once, which lets the other books begin; after
            # that not until the runner is done, because they prove nothing before.
            at_work = book == MAIN and self._read(wallet) and bool(positions) and _in_hand(self.halting, wallet)
            known = not fenced or at_work or before.orderless >= (LOOKS if book == MAIN else 1)
            orders = before.orders if known else self._orders(wallet, book)
        except ServiceError as error:
            self.halting.saw(wallet, book, replace(before, error=str(error), flat=0, orderless=0))
            return
        # An answer without a time of its own is as new as the question.
        moment = int(answer.get("time") or before.moment + 1)
        account = Account(positions, orders, moment, at=at, error=None)
        self.halting.saw(wallet, book, _counted(self.halting, before, account, fenced=fenced))

    def _orders(self, wallet: str, book: str) -> tuple[Order, ...]:
        """Return a wallet's resting orders in a book (a perp exchange or spot). The main exchange's answer includes
        spot orders.
        """
        if book == SPOT and not self.in_spot.get(wallet):
            return ()
        asked = MAIN if book == SPOT else book
        rows = self._ask(venue_books.orders(wallet, asked), venue_books.ORDERS_WEIGHT, book).rows
        orders = tuple(map(_order, rows))
        if asked == MAIN:
            self.in_spot[wallet] = tuple(order for order in orders if venue_books.book_of(order.coin) == SPOT)
        return tuple(order for order in orders if venue_books.book_of(order.coin) == book)

    def over(self) -> bool:
        """End the parts ``cancel`` and ``flat`` if the venue's answers prove them. Return whether both parts have
        ended.
        """
        halting = self.halting
        _end(
            halting,
            "cancel",
            {w for w in halting.addresses if _everywhere(halting, w, "orderless")},
            "no resting order",
        )
        _end(halting, "flat", {w for w in halting.addresses if _everywhere(halting, w, "flat")}, self._flat_words())
        return all(halting.parts[name].outcome is not None for name in ("cancel", "flat") if name in halting.parts)

    def _flat_words(self) -> str:
        """Describe when the wallets became flat, when this was proven, and how much of the rate limit was used."""
        halting = self.halting
        moments = [halting.account(wallet).flat_at for wallet in halting.addresses]
        known = [at for at in moments if at is not None]
        if len(known) < len(moments):
            return "flat"
        weight = self.purse.spent / len(moments)
        return f"flat at {max(known):.2f} s, proven at {halting.now():.2f} s, for a weight of {weight:.0f} each"


def _counted(halting: Halting, before: Account, account: Account, *, fenced: bool) -> Account:
    """Return ``account`` with two counts: how many successive answers showed it flat, and how many showed no orders.

    A look counts only if its answer is of a later moment than the answer before.
    """
    if account.moment <= before.moment:
        return replace(account, flat=before.flat, orderless=before.orderless, flat_at=before.flat_at)
    orderless = fenced and account.orders is not None and not _to_cancel(halting, account.orders)
    flat = orderless and not account.positions
    return replace(
        account,
        orderless=before.orderless + 1 if orderless else 0,
        flat=before.flat + 1 if flat else 0,
        flat_at=(before.flat_at if before.flat else account.at) if flat else None,
    )


def _order(row: dict[str, Any]) -> Order:
    side = "buy" if row["side"] == "B" else "sell"
    protective = bool(row.get("reduceOnly") or row.get("isPositionTpsl"))
    text = f"{side} {row['sz']} {row['coin']} at {row.get('limitPx')} (order {row['oid']})"
    return Order(str(row["coin"]), int(row["oid"]), text, protective)


# --- what is proven -------------------------------------------------------------------------------------------------


def _proven(halting: Halting, wallet: str, book: str) -> bool:
    """Return whether a wallet is proven flat in a book (a perp exchange or spot).

    In mode "reduce", the wallet must only be proven to have no order that would add risk.
    """
    account = halting.account(wallet, book)
    return (account.orderless if halting.request.mode == "reduce" else account.flat) >= LOOKS


def _everywhere(halting: Halting, wallet: str, claim: str) -> bool:
    """Return whether a wallet was flat, or without orders, in the last two answers about each book (a perp exchange or
    spot). ``claim`` says which: "flat" or "orderless".

    The answer is false until the list of books is known.
    """
    return halting.books is not None and all(getattr(halting.account(wallet, b), claim) >= LOOKS for b in halting.books)


def _to_cancel(halting: Halting, orders: Sequence[Order]) -> list[Order]:
    """Return the orders at the venue that the halt must cancel.

    These are all resting orders or, in mode "reduce", those that would add risk.
    """
    return [order for order in orders if halting.request.mode == "halt" or not order.protective]


def _fenced(halting: Halting, wallet: str) -> bool:
    """Return whether no deployment that uses the wallet can place orders any more.

    If the database did not answer, the deployments are unknown: then the wallet is fenced only if no machine runs.
    """
    if halting.database != "answered":
        return halting.running is not None and not halting.running
    return all(halting.fenced(deployment.id) for deployment in halting.users(wallet))


def _end(halting: Halting, part: str, proven: set[str], word: str) -> None:
    halting.tell(part, f"{len(proven)} of {len(halting.addresses)} wallets {word}")
    if halting.addresses <= proven:
        if shared := _shared(halting):
            halting.end(part, "failed", f"{len(proven)} wallets {word}", shared)
            return
        only = "" if halting.database == "answered" else "; the profile's own, others are not known"
        books = ", ".join(halting.every_book())
        halting.end(part, "passed", f"{len(halting.addresses)} wallets in {books}: {word}{only}")


def _shared(halting: Halting) -> str | None:
    """Describe the wallets that the halt left alone because deployments outside the halt use them too (C37).

    Return None if there are no such wallets.
    """
    shared = [deployment for deployment in halting.deployments.values() if deployment.others]
    words = [
        f"{deployment.wallet} of {deployment.id} is also used by {', '.join(deployment.others)}"
        for deployment in shared
    ]
    return f"left alone: {'; '.join(words)}; --wallet acts on it and halts them too" if words else None


def _nobody(halting: Halting) -> bool:
    """Return whether an order or a position is open that no runner will close, because no machine runs or the mode is
    "reduce".

    Return False until all books have been read.
    """
    known = [halting.account(wallet, book) for wallet in halting.addresses for book in halting.every_book()]
    # With nothing open the answer is false: the wallets are read once more, as long as there is time.
    open_still = [account for account in known if account.positions or _to_cancel(halting, account.orders or ())]
    seen = halting.books is not None and all(account.error is None and account.orders is not None for account in known)
    idle = halting.running is not None and not any(halting.alive(name) for name in halting.deployments)
    return bool(open_still) and seen and (idle or halting.request.mode == "reduce")


# --- what an operator's key can do ----------------------------------------------------------------------------------


class Hand:
    """The halt's use of the operator's key at the venue. The key is loaded when it is first needed.

    ``used`` counts how often the key was used.
    """

    def __init__(self, services: Services) -> None:
        self.services, self.used = services, 0
        self.said: list[str] = []  # the venue's answers to the last use of the key
        self.ready = services.settings.hyperliquid.operator_key is not None
        self._key: Key | None = None

    def key(self) -> Key | None:
        """Load the operator's key, to act on orders and positions that are left at the venue.

        Return None if there is none or the venue rejects the key.
        """
        if self._key is None and self.ready:
            with suppress(ConfigError, ServiceError, ValueError):
                self._key = acting(self.services)
            self.used += 1
            self.ready = self._key is not None or self.used < BY_KEY
            self.used = 0 if self._key is not None else self.used
        return self._key


def _act(services: Services, halting: Halting, hand: Hand) -> None:
    """Cancel the orders and close the positions of the operator key's wallet, if no runner will do so."""
    to_do = {wallet: _by_hand(halting, wallet) for wallet in halting.addresses}
    if not any(orders or positions for orders, positions in to_do.values()) or (key := hand.key()) is None:
        return
    orders, positions = to_do.get(key.master, ([], {}))
    if not (orders or positions) or hand.used >= BY_KEY:
        return
    hand.used += 1
    hand.said.clear()
    for part, words in key.reduce(services, halting, orders, positions):
        hand.said.append(words)
        halting.tell(part, words)


def _by_hand(halting: Halting, wallet: str) -> tuple[list[Order], dict[str, str]]:
    """Return a wallet's orders and positions, in all books, that the operator's key must cancel or close."""
    accounts = [halting.account(wallet, book) for book in halting.every_book()]
    if not _fenced(halting, wallet) or _in_hand(halting, wallet):
        return [], {}
    known = [account for account in accounts if account.error is None]
    orders = [order for account in known for order in _to_cancel(halting, account.orders or ())]
    # A spot holding is no position that could be closed: the verdict names it, and a person sells it.
    perpetual = [account for account in known if account is not halting.accounts.get((wallet, SPOT))]
    positions = {coin: size for account in perpetual for coin, size in account.positions.items()}
    return orders, positions if halting.request.mode == "halt" else {}


def _in_hand(halting: Halting, wallet: str) -> bool:
    """Return whether the wallet's orders and positions may be left to a runner, which may still act on them."""
    if halting.now() >= halting.limits.pause or halting.request.mode == "reduce":
        return False
    return any(halting.alive(deployment.id) and not deployment.flattened for deployment in halting.users(wallet))


# --- when the time is over ------------------------------------------------------------------------------------------


def judge(halting: Halting, said: Sequence[str] = ()) -> None:
    """End the parts ``cancel`` and ``flat`` as failed or unknown, because the time is over.

    Name what is open, what the venue ``said`` to the operator's key, and the page on which a person closes it. A part
    ends as unknown if something could not be read and nothing is known to be open.
    """
    places = [(wallet, book) for wallet in sorted(halting.addresses) for book in halting.every_book()]
    accounts = {place: halting.account(*place) for place in places}
    resting = [
        f"{wallet}: {order.text}"
        for (wallet, _), a in accounts.items()
        for order in _to_cancel(halting, a.orders or ())
    ]
    held = [
        f"{wallet} holds {size} {coin}" for (wallet, _), a in accounts.items() for coin, size in a.positions.items()
    ]
    unread = _unread(halting)
    known = unread is None
    unproven = [
        wallet for (wallet, book), a in accounts.items() if book == MAIN and a.error is None and a.orders is None
    ]
    waiting = [f"not proven for {', '.join(unproven)}: its runner may still place orders"] if unproven else []
    _end_open(halting, "cancel", [*resting, *waiting], unread, "; ".join([*said, f"remove them at {PAGE}"]))
    if not held and not resting and not waiting and known:
        waiting = ["flat when last seen, but not seen twice while no runner could place orders"]
    _end_open(halting, "flat", [*held, *resting, *waiting], unread, "; ".join([*said, f"close it at {PAGE}"]))


def _end_open(halting: Halting, part: str, open_still: Sequence[str], unread: str | None, todo: str) -> None:
    """End a part that the venue has not proven. It failed if something is known to be open, otherwise it is unknown."""
    words = "; ".join([*open_still, *([unread] if unread else []), todo])
    halting.end(part, "unknown" if unread and not open_still else "failed", complaint=words)


def _unread(halting: Halting) -> str | None:
    """Describe what the venue did not answer. Return None if the venue answered every question."""
    silent: dict[str, list[str]] = {}
    for wallet in sorted(halting.addresses):
        for book in halting.every_book():
            if error := halting.account(wallet, book).error:
                silent.setdefault(f"{book}: {error}", []).append(wallet)
    words = [f"{why} ({', '.join(wallets[:3])})" for why, wallets in list(silent.items())[:3]]
    if halting.books is None:
        words.append("which other books there are")
    return f"the venue does not tell of {len(halting.addresses)} wallets: {'; '.join(words)}" if words else None
