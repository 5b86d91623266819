"""Cancel orders and close positions at the venue with the operator's own key. No order sent here can add risk.

The profile names the environment variable that holds the key; without a key, no slow module is imported here.
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


SLIPPAGE = Decimal("0.03")  # fraction by which the limit of a closing order is away from the mid price
MAINNET = True  # sign for mainnet: a rehearsal's venue checks the same form as production's
# Numbers of spot coins and of builders' coins begin here; each builder's book has a range of BUILDERS_STEP numbers.
SPOT_FROM, BUILDERS_FROM, BUILDERS_STEP = 10_000, 100_000, 10_000
FIGURES, DECIMALS = 5, 6  # a price has at most so many significant figures, and decimals less those of the size


@dataclass(frozen=True)
class Key:
    """The operator's private key, with the account that the key acts for."""

    secret: str = field(repr=False)
    master: str

    def reduce(
        self, services: Services, halting: Halting, orders: Sequence[Order], positions: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """Cancel ``orders`` and close ``positions`` with the operator's key. Yield (part, answer) for each action sent.

        The part is the halt's part that the action belongs to, ``cancel`` or ``flat``. The items of a book are sent in
        one action and, if the venue refuses that action as a whole, one by one. An item that cannot be sent is named in
        what is yielded, and does not keep the other items from being sent.
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
        """Send all valid items in one action of the operator's key. If the venue refuses the action, send the items one
        by one.

        Yield (part, answer) for each action.

        For an item that cannot be sent, yield the reason.
        """
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
        """Sign an action with the operator's key, record the action without the signature, and send it.

        Return (answer, accepted).
        """
        halting.book.sending(part, f"operator key for {self.master}: {action}")
        body = self.signed(action, time.time_ns() // 1_000_000)
        try:
            reply = services.change(http("hyperliquid", "POST /exchange", json=body), within=halting.limits.answer)
        except ServiceError as error:
            return f"by key: {error}", False
        answer = reply.rows[0] if reply.rows else {}
        return f"by key: {reply.error or answer.get('response')}", reply.error is None and answer.get("status") == "ok"

    def signed(self, action: dict[str, Any], nonce: int) -> dict[str, Any]:
        """Return the body of ``POST /exchange``: an action, a nonce (epoch ms), and the operator key's signature."""
        from eth_account import Account  # noqa: PLC0415 - takes a second, which only a halt by key may cost
        from hyperliquid.utils.signing import sign_l1_action  # noqa: PLC0415

        signature = sign_l1_action(Account.from_key(self.secret), action, None, nonce, None, MAINNET)
        return {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None}


def acting(services: Services) -> Key | None:
    """Load the profile's operator key, with the account that the key acts for.

    Return None if the venue does not know the key.

    Raise `ConfigError` if the environment does not hold the key, `ServiceError` if the venue does not answer.
    """
    from eth_account import Account  # noqa: PLC0415

    settings = services.settings
    secret = settings.variable(settings.hyperliquid.operator_key or "")
    address = str(Account.from_key(secret).address).lower()
    reply = services.look(venue_books.info("userRole", user=address), within=settings.budgets.halt.answer)
    if reply.error or not reply.rows:
        return None
    role = reply.rows[0]
    masters = {"agent": (role.get("data") or {}).get("user"), "user": address}
    master = masters.get(str(role.get("role")))
    return Key(secret, str(master).lower()) if master else None


class Market:
    """The coins on one of the venue's exchanges, for actions of the operator's key.

    Each coin has the number by which actions name it, and a mid price.
    """

    def __init__(self, services: Services, halting: Halting, book: str) -> None:
        self.services, self.halting, self.book = services, halting, book

    def cancelling(self, order: Order) -> dict[str, Any] | str:
        """Return the item that cancels ``order`` in an action that the operator's key signs.

        If no such item can be made, return the reason as text.
        """
        try:
            return {"a": self._asset(order.coin)[0], "o": order.oid}
        except (ServiceError, LookupError, ValueError) as error:
            return f"the coin is not known: {error}"

    def closing(self, coin: str, size: str) -> dict[str, Any] | str:
        """Return the item that closes a position in an action that the operator's key signs.

        If no such item can be made, return the reason as text. The order that the item places is always immediate and
        reduce-only.
        """
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
        """Return a coin's number in the operator key's actions, and the number of decimals of the coin's size."""
        if coin.startswith("@"):
            return SPOT_FROM + int(coin[1:]), 0  # decimals do not matter: spot orders are only cancelled, never closed
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
        """Return the index of a builder's exchange in the venue's list, as the operator key's actions need it. The main
        one is 0.
        """
        return 1 + [book for book in self.halting.every_book() if book not in (MAIN, SPOT)].index(self.book)

    def _asked(self, question: Http) -> dict[str, Any]:
        reply = self.services.look(question, within=self.halting.limits.answer)
        if reply.error:
            raise ServiceError(reply.error)
        return reply.rows[0]


def cancel(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ``cancel`` action for the operator's key. Each item, from `Market.cancelling`, cancels one order."""
    return {"type": "cancel", "cancels": items}


def close(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ``order`` action for the operator's key. Each item, from `Market.closing`, closes one position."""
    return {"type": "order", "orders": items, "grouping": "na"}


def limit_price(mid: Decimal, *, buy: bool, size_decimals: int) -> str:
    """Return the price at which the operator's key closes a position.

    The price lies beyond the mid price, and is rounded for the venue.

    A price has at most five significant figures, and at most 6 decimals minus the decimals of the coin's size.
    """
    wanted = mid * (1 + SLIPPAGE if buy else 1 - SLIPPAGE)
    places = min(DECIMALS - size_decimals, FIGURES - 1 - wanted.adjusted())
    step = Decimal(1).scaleb(-places) if places > 0 else Decimal(1)  # whole numbers are always taken
    return f"{wanted.quantize(step, ROUND_CEILING if buy else ROUND_FLOOR).normalize():f}"
