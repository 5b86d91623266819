"""An operator's own key at the venue: cancels orders and closes positions, and can do nothing that adds risk.

The profile names the environment variable that holds it; without one nothing here is imported that takes time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_books
from runbook_lib.agentic_trading.venue_books import MAIN, SPOT, book_of
from runbook_lib.commands.command import http
from runbook_lib.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runbook_lib.commands.command import Http
    from runbook_lib.halt.state import Halting, Order
    from runbook_lib.services.services import Services


SLIPPAGE = Decimal("0.03")  # fraction the limit of a closing order is away from the mid price
MAINNET = True  # what a signature is good for: a rehearsal wants the form that production does
# Numbers of coins outside the main book begin here; each builder's book has so many of its own.
SPOT_FROM, BUILDERS_FROM, BUILDERS_STEP = 10_000, 100_000, 10_000
FIGURES, DECIMALS = 5, 6  # of a price: significant figures at most; decimals at most, less those of the size


@dataclass(frozen=True)
class Key:
    """A private key and the account it acts for."""

    secret: str = field(repr=False)
    master: str

    def reduce(
        self, services: Services, halting: Halting, orders: Sequence[Order], positions: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """Cancel ``orders`` and close ``positions`` (coin -> signed size); which part, and what the venue said.

        Book by book and, where a book refuses its orders as a whole, one by one: what cannot be reduced is named, and
        keeps nothing else from it.
        """
        for book in dict.fromkeys(map(book_of, [*(order.coin for order in orders), *positions])):
            resting = [order for order in orders if book_of(order.coin) == book]
            held = {coin: size for coin, size in positions.items() if book_of(coin) == book}
            market = Market(services, halting, book)
            cancels = [(order.text, market.cancelling(order)) for order in resting]
            yield from self._each(services, halting, "cancel", cancels, cancel)
            closings = [(f"{size} {coin}", market.closing(coin, size)) for coin, size in held.items()]
            yield from self._each(services, halting, "flat", closings, close)

    def _each(
        self,
        services: Services,
        halting: Halting,
        part: str,
        items: Sequence[tuple[str, dict[str, Any] | str]],
        action: Callable[[list[dict[str, Any]]], dict[str, Any]],
    ) -> Iterator[tuple[str, str]]:
        """Send what can be sent in one action, then one by one if it was refused; say why the rest cannot be."""
        good = [item for _, item in items if isinstance(item, dict)]
        for text, problem in items:
            if isinstance(problem, str):
                yield part, f"by key: {text}: {problem}"
        if not good:
            return
        words, taken = self.send(services, halting, part, action(good))
        yield part, words
        if not taken and len(good) > 1:
            for item in good:
                yield part, self.send(services, halting, part, action([item]))[0]

    def send(self, services: Services, halting: Halting, part: str, action: dict[str, Any]) -> tuple[str, bool]:
        """Sign and send one action; the record holds the action without its signature. Tell whether it was taken."""
        halting.book.sending(part, f"operator key for {self.master}: {action}")
        body = self.signed(action, time.time_ns() // 1_000_000)
        try:
            reply = services.change(http("hyperliquid", "POST /exchange", json=body), within=halting.limits.answer)
        except ServiceError as error:
            return f"by key: {error}", False
        answer = reply.rows[0] if reply.rows else {}
        return f"by key: {reply.error or answer.get('response')}", reply.error is None and answer.get("status") == "ok"

    def signed(self, action: dict[str, Any], nonce: int) -> dict[str, Any]:
        """The body of ``POST /exchange``: the action, its nonce (ms) and the signature over both."""
        from eth_account import Account  # noqa: PLC0415 - a second that only an act by key may cost
        from hyperliquid.utils.signing import sign_l1_action  # noqa: PLC0415

        signature = sign_l1_action(Account.from_key(self.secret), action, None, nonce, None, MAINNET)
        return {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None}


def acting(services: Services) -> Key | None:
    """The profile's operator key with the account it acts for; None if the venue does not know it.

    Raise `ConfigError` if the environment does not hold it, `ServiceError` if the venue does not tell.
    """
    from eth_account import Account  # noqa: PLC0415

    settings = services.settings
    secret = settings.variable(settings.hyperliquid.operator_key or "")
    address = str(Account.from_key(secret).address).lower()
    reply = services.look(venue_books.ask("userRole", user=address), within=settings.budgets.halt.answer)
    if reply.error or not reply.rows:
        return None
    role = reply.rows[0]
    masters = {"agent": (role.get("data") or {}).get("user"), "user": address}
    master = masters.get(str(role.get("role")))
    return Key(secret, str(master).lower()) if master else None


class Market:
    """What is known of a book's coins: the numbers that stand for them in actions, and their prices."""

    def __init__(self, services: Services, halting: Halting, book: str) -> None:
        self.services, self.halting, self.book = services, halting, book

    def cancelling(self, order: Order) -> dict[str, Any] | str:
        """One item of a cancelling action; else why there is none."""
        try:
            return {"a": self._asset(order.coin)[0], "o": order.oid}
        except (ServiceError, LookupError, ValueError) as error:
            return f"the coin is not known: {error}"

    def closing(self, coin: str, size: str) -> dict[str, Any] | str:
        """One item of a closing action, immediate and reduce-only whatever happens; else why there is none."""
        try:
            number, decimals = self._asset(coin)
            mid = Decimal(str(self._mids[coin]))
            buy = Decimal(size) < 0
            price = limit_price(mid, buy=buy, size_decimals=decimals)
        except (ServiceError, LookupError, ValueError, ArithmeticError) as error:
            return f"it cannot be priced: {error}"
        shown = f"{abs(Decimal(size)).normalize():f}"
        return {"a": number, "b": buy, "p": price, "s": shown, "r": True, "t": {"limit": {"tif": "Ioc"}}}

    def _asset(self, coin: str) -> tuple[int, int]:
        """The number of a coin and the decimals of its size (facts 4.3)."""
        if coin.startswith("@"):
            return SPOT_FROM + int(coin[1:]), 0  # only cancelled here: spot holds no position that could be closed
        return self._assets[coin]

    @cached_property
    def _assets(self) -> dict[str, tuple[int, int]]:
        universe = self._asked(venue_books.market(self.book))["universe"]
        first = 0 if self.book == MAIN else BUILDERS_FROM + BUILDERS_STEP * self._place
        return {asset["name"]: (first + place, int(asset["szDecimals"])) for place, asset in enumerate(universe)}

    @cached_property
    def _mids(self) -> dict[str, Any]:
        return self._asked(venue_books.mids(self.book))

    @property
    def _place(self) -> int:
        """The place of a builder's book in the venue's list, which begins with the main one."""
        return 1 + [book for book in self.halting.every_book() if book not in (MAIN, SPOT)].index(self.book)

    def _asked(self, question: Http) -> dict[str, Any]:
        reply = self.services.look(question, within=self.halting.limits.answer)
        if reply.error:
            raise ServiceError(reply.error)
        return reply.rows[0]


def cancel(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The action that cancels orders."""
    return {"type": "cancel", "cancels": items}


def close(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The action that closes positions."""
    return {"type": "order", "orders": items, "grouping": "na"}


def limit_price(mid: Decimal, *, buy: bool, size_decimals: int) -> str:
    """A price beyond the mid that the venue takes: five significant figures, and its decimals (facts 4.3)."""
    wanted = mid * (1 + SLIPPAGE if buy else 1 - SLIPPAGE)
    places = min(DECIMALS - size_decimals, FIGURES - 1 - wanted.adjusted())
    step = Decimal(1).scaleb(-places) if places > 0 else Decimal(1)  # whole numbers are always taken
    return f"{wanted.quantize(step, ROUND_CEILING if buy else ROUND_FLOOR).normalize():f}"
