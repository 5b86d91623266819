"""Ask the venue for a wallet's positions and orders in each book (a perp exchange or spot), and read the answers.

A wallet can hold positions and orders in several books: the main book, the books that builders opened, and spot. A
question names the builder's book it is about; without a name the venue answers for the main book, and for orders also
for spot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import equity
from runbook_lib.commands.command import Http, http

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.commands.command import Reply

MAIN, SPOT = "main", "spot"
MONEY = ("USDC", "USDT0", "USDH", "USDE")  # tokens that pay for positions; any other token in spot is a holding
FULL = 2000  # rows at which the venue cuts its lists: a list of this length lacks older rows
# The weight of each question in the venue's rate limit as its documentation tells it.
STATE_WEIGHT, ORDERS_WEIGHT, BOOKS_WEIGHT = 2, 20, 20


def info(kind: str, **fields: Any) -> Http:
    """Make a request to the venue's ``/info`` endpoint, about a wallet or a book (a perp exchange or spot).

    The request changes nothing.

    Ask with the address of the master wallet: an agent's address gives empty answers.
    """
    return http("hyperliquid", "POST /info", json={"type": kind, **fields}, reads=True)


def equity_questions(wallet: str) -> list[Http]:
    """Return the three questions whose answers from the venue give the equity of ``wallet``."""
    return [info(kind, user=wallet) for kind in ("userAbstraction", "clearinghouseState", "spotClearinghouseState")]


def mode_and_equity(replies: Sequence[Reply]) -> tuple[str, float | None]:
    """Return an account's mode and its equity in US dollars from the replies to `equity_questions`.

    The equity is None for an unknown mode, or if a balance cannot be read.
    """
    mode, *balances = replies
    name = mode.text.strip().strip('"')
    perp, spot = (reply.rows[0] if reply.rows else {} for reply in balances)
    return name, equity(name, perp, spot)


def books() -> Http:
    """Ask the venue which books exist: the main exchange, and the exchanges that builders opened."""
    return info("perpDexs")


def names(reply: Reply) -> tuple[str, ...]:
    """Return the names of the builders' exchanges from the venue's answer. The main exchange has no name and is left
    out.
    """
    return tuple(str(row["name"]) for row in reply.rows if row.get("name"))


def state(wallet: str, book: str) -> Http:
    """Ask the venue what a wallet holds in a book (a perp exchange or spot)."""
    if book == SPOT:
        return info("spotClearinghouseState", user=wallet)
    return info("clearinghouseState", user=wallet, **_named(book))


def orders(wallet: str, book: str) -> Http:
    """Ask the venue which orders of a wallet rest in a book. For the main book, the answer includes spot orders."""
    return info("frontendOpenOrders", user=wallet, **_named(book))


def market(book: str) -> Http:
    """Ask the venue which coins one of its perp exchanges lists."""
    return info("meta", **_named(book))


def mids(book: str) -> Http:
    """Ask the venue for the mid prices on one of its exchanges."""
    return info("allMids", **_named(book))


def _named(book: str) -> dict[str, str]:
    return {} if book == MAIN else {"dex": book}


def book_of(coin: str) -> str:
    """Return the name of the venue's book (a perp exchange or spot) in which a coin trades.

    ``builder:COIN`` is in that builder's book. ``@107`` and ``PURR/USDC`` are in spot, and every other coin is in the
    main book.
    """
    if ":" in coin:
        return coin.partition(":")[0]
    return SPOT if coin.startswith("@") or "/" in coin else MAIN


def held(account: Mapping[str, Any]) -> dict[str, str]:
    """Return a wallet's holdings from the venue's answer about a book (a perp exchange or spot): coin -> signed size,
    as text.

    Tokens that count as money are left out.
    """
    if "balances" in account:
        tokens = ((row["coin"], row["total"]) for row in account["balances"] if row["coin"] not in MONEY)
    else:
        tokens = ((row["position"]["coin"], row["position"]["szi"]) for row in account["assetPositions"])
    return {str(coin): str(size) for coin, size in tokens if float(size)}


def complete(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the venue's list of fills or orders is complete. The venue cuts every list at `FULL` rows."""
    return len(rows) < FULL
