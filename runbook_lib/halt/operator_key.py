"""An operator's own key at the venue: cancels orders and closes positions, and can do nothing that adds risk.

The profile names the environment variable that holds it; without one nothing here is imported that takes time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Http, http
from runbook_lib.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook_lib.halt.state import Board, Order
    from runbook_lib.services.services import Services


SLIPPAGE = Decimal("0.03")  # fraction the limit of a closing order is away from the mid price
MAINNET = True  # what a signature is good for: a rehearsal wants the form that production does
FIGURES, DECIMALS = 5, 6  # of a price: significant figures at most; decimals at most, less those of the size


@dataclass(frozen=True)
class Key:
    """A private key and the account it acts for."""

    secret: str = field(repr=False)
    master: str

    def reduce(
        self, services: Services, board: Board, orders: Sequence[Order], positions: Mapping[str, str]
    ) -> Iterator[tuple[str, str]]:
        """Cancel ``orders`` and close ``positions`` (coin -> signed size); which part, and what the venue said."""
        try:
            market = services.look(_info({"type": "meta"})).rows[0]
            assets = {one["name"]: (number, int(one["szDecimals"])) for number, one in enumerate(market["universe"])}
            if orders:
                yield "cancel", self.send(services, board, "cancel", cancel(orders, assets))
            if positions:
                mids = services.look(_info({"type": "allMids"})).rows[0]
                yield "flat", self.send(services, board, "flat", close(positions, assets, mids))
        except (ServiceError, LookupError, TypeError, ValueError, ArithmeticError) as error:
            yield "flat", f"by key: {error!r}"

    def send(self, services: Services, board: Board, part: str, action: dict[str, Any]) -> str:
        """Sign and send one action; the record holds the action without its signature."""
        board.book.sending(part, f"operator key for {self.master}: {action}")
        body = self.signed(action, time.time_ns() // 1_000_000)
        reply = services.change(http("hyperliquid", "POST /exchange", json=body))
        return f"by key: {reply.error or (reply.rows[0].get('response') if reply.rows else 'no answer')}"

    def signed(self, action: dict[str, Any], nonce: int) -> dict[str, Any]:
        """The body of ``POST /exchange``: the action, its nonce (ms) and the signature over both."""
        from eth_account import Account  # noqa: PLC0415 - a second that only an act by key may cost
        from hyperliquid.utils.signing import sign_l1_action  # noqa: PLC0415

        signature = sign_l1_action(Account.from_key(self.secret), action, None, nonce, None, MAINNET)
        return {"action": action, "nonce": nonce, "signature": signature, "vaultAddress": None, "expiresAfter": None}


def acting(services: Services) -> Key | None:
    """The profile's operator key with the account it acts for; None if the venue does not know it or is silent.

    Raise `ConfigError` if the environment does not hold it.
    """
    from eth_account import Account  # noqa: PLC0415

    settings = services.settings
    secret = settings.variable(settings.hyperliquid.operator_key or "")
    address = str(Account.from_key(secret).address).lower()
    try:
        found = services.look(_info({"type": "userRole", "user": address})).rows[0]
    except (ServiceError, LookupError):
        return None
    masters = {"agent": (found.get("data") or {}).get("user"), "user": address}
    master = masters.get(str(found.get("role")))
    return Key(secret, str(master).lower()) if master else None


def cancel(orders: Sequence[Order], assets: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """The action that cancels orders; ``assets`` maps coin -> (asset id, decimals of its size)."""
    return {"type": "cancel", "cancels": [{"a": assets[one.coin][0], "o": one.oid} for one in orders]}


def close(
    positions: Mapping[str, str], assets: Mapping[str, tuple[int, int]], mids: Mapping[str, str]
) -> dict[str, Any]:
    """The action that closes each position whole: immediate, and reduce-only, whatever happens meanwhile."""
    return {
        "type": "order",
        "orders": [_closing(coin, szi, assets[coin], mids[coin]) for coin, szi in positions.items()],
        "grouping": "na",
    }


def _closing(coin: str, szi: str, asset: tuple[int, int], mid: str) -> dict[str, Any]:
    size, buy = Decimal(szi), Decimal(szi) < 0
    return {
        "a": asset[0],
        "b": buy,
        "p": limit_price(Decimal(mid), buy=buy, size_decimals=asset[1]),
        "s": f"{abs(size).normalize():f}",
        "r": True,
        "t": {"limit": {"tif": "Ioc"}},
    }


def limit_price(mid: Decimal, *, buy: bool, size_decimals: int) -> str:
    """A price beyond the mid that the venue takes: five significant figures, and its decimals (facts 4.3)."""
    wanted = mid * (1 + SLIPPAGE if buy else 1 - SLIPPAGE)
    places = min(DECIMALS - size_decimals, FIGURES - 1 - wanted.adjusted())
    step = Decimal(1).scaleb(-places) if places > 0 else Decimal(1)  # whole numbers are always taken
    return f"{wanted.quantize(step, ROUND_CEILING if buy else ROUND_FLOOR).normalize():f}"


def _info(question: dict[str, Any]) -> Http:
    return http("hyperliquid", "POST /info", json=question, reads=True)
