"""Trade by hand on the stand-in exchange, as a user does in the venue's own app.

Trades are possible in all of the venue's order books.
"""

from decimal import ROUND_UP, Decimal
from typing import Any

from runbook_lib.rehearsal.exchange.accounts import Order
from runbook_lib.rehearsal.exchange.market_prices import named
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange

CROSSING, RESTING = Decimal("0.01"), Decimal("0.2")  # fractions of the mid: beyond it to trade at once, away to rest


def place(exchange: Exchange, address: str, coin: str, usd: float, *, buy: bool, rest: bool) -> dict[str, Any]:
    """Place an order by hand that is worth about ``usd`` US dollars.

    Return the order's status in the exchange's words. The order trades at once or, with ``rest``, rests in the book.
    The USDC that a spot order pays with is first put into the spot wallet, as if the user transferred it between their
    own accounts.
    """
    asset, mid = named(coin), exchange.market.mid(coin)
    away = (-RESTING if rest else CROSSING) * (1 if buy else -1)
    px = mid * (1 + away)
    px = px.quantize(asset.tick(px))
    size = size_of(exchange, coin, usd)
    with exchange.lock:
        account = exchange.account(address)
        if asset.spot and buy:
            account.receive("USDC", size * px)
        order = Order(coin, 1 if buy else -1, px, size, "Gtc" if rest else "Ioc", asked=size)
        return exchange.place(account, order)


def size_of(exchange: Exchange, coin: str, usd: float) -> Decimal:
    """Return the smallest size for a trade by hand that is worth at least ``usd`` US dollars."""
    lot = Decimal(1).scaleb(-named(coin).sz_decimals)
    return (Decimal(str(usd)) / exchange.market.mid(coin)).quantize(lot, ROUND_UP)
