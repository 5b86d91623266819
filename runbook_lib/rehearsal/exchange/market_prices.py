"""Move the stand-in exchange's prices, build order books around them, and define the price steps.

A price is a function of the seed and the clock alone, so the same rehearsal sees the same market, and yesterday's
candles agree with today's mids. Prices and depths are US dollars (USDC).

The venue has many books: its own perpetuals, the perpetuals of builder-deployed exchanges (``xyz:GOLD``), and spot
pairs (``@107``). A question that names no exchange is about the venue's own book, which also shows spot orders.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LEVELS = 20  # of the book, each side
STEPS = {"1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200, "4h": 14400}
STEPS |= {"8h": 28800, "12h": 43200, "1d": 86400, "3d": 259200, "1w": 604800}  # seconds of a candle
FUNDING, HOUR = "0.0000125", 3_600_000  # the rate of every hour, which nobody is charged; milliseconds
WAVES = ((86400, 0.02), (3600, 0.004), (600, 0.0015), (47, 0.0003))  # period in seconds, size as a fraction


@dataclass(frozen=True)
class Asset:
    """A perpetual or a spot pair on the market: its starting price, size decimals and maximum leverage."""

    name: str
    start: float
    sz_decimals: int
    max_leverage: int
    delisted: bool = False

    @property
    def dex(self) -> str:
        """Return the builder's exchange on which the asset trades. Return an empty text for the venue's main
        exchange.
        """
        return self.name.rpartition(":")[0]

    @property
    def spot(self) -> bool:
        """Return whether the market's asset is a spot pair. A spot pair has no positions."""
        return self.name.startswith("@") or "/" in self.name

    @property
    def decimals(self) -> int:
        """Return how many decimals a price of the market's asset may have.

        Each decimal of the asset's sizes leaves the price one decimal less.
        """
        return 8 if self.spot else 6

    def tick(self, px: Decimal) -> Decimal:
        """Return the smallest price step of the market's asset near the price ``px``.

        Prices have at most five significant figures and at most the asset's decimals; the step is never larger than 1.
        """
        return Decimal(1).scaleb(min(0, max(px.adjusted() - 4, self.sz_decimals - self.decimals)))

    def complaint(self, px: Decimal, sz: Decimal) -> str | None:
        """Return the venue's complaint about a size or price of the market's asset.

        Return None if size and price are good. A price that is a whole number may have any number of digits.
        """
        if sz <= 0 or sz % Decimal(1).scaleb(-self.sz_decimals):
            return "Order has zero size." if sz <= 0 else "Order has invalid size."
        if px <= 0 or (px % 1 and len(px.normalize().as_tuple().digits) > 5):
            return "Order has invalid price."
        return (
            "Price must be divisible by tick size."
            if px % Decimal(1).scaleb(self.sz_decimals - self.decimals)
            else None
        )


ASSETS = (  # in the venue's order: the position is the asset id
    Asset("BTC", 79_000, 5, 40), Asset("ETH", 2_900, 4, 25), Asset("ATOM", 4.2, 2, 5),
    Asset("MATIC", 0.38, 1, 20, delisted=True), Asset("DYDX", 0.55, 1, 5), Asset("SOL", 142, 2, 20),
    Asset("AVAX", 19, 2, 10), Asset("BNB", 860, 3, 10), Asset("APE", 0.5, 1, 5), Asset("OP", 0.61, 1, 5),
    Asset("LTC", 92, 2, 10), Asset("ARB", 0.42, 1, 10), Asset("DOGE", 0.19, 0, 10), Asset("INJ", 9.4, 1, 10),
    Asset("SUI", 2.7, 1, 10), Asset("LINK", 15, 1, 10), Asset("XRP", 2.3, 0, 20), Asset("HYPE", 41, 2, 10),
)  # fmt: skip
DEXES = {  # builder-deployed exchanges, in the order of their numbers
    "xyz": (Asset("xyz:XYZ100", 25_400, 4, 20), Asset("xyz:GOLD", 4_120, 4, 20)),
    "flx": (Asset("flx:TSLA", 431, 3, 10),),
}
TOKENS = (("USDC", 8), ("PURR", 0), ("HYPE", 2))  # name and szDecimals; the position is the token's number
PAIRS = {0: (Asset("PURR/USDC", 0.21, 0, 1), 1), 107: (Asset("@107", 41.2, 2, 1), 2)}  # number -> pair, its token
SPOT, BUILT, SPAN = 10_000, 110_000, 10_000  # first asset ids: of spot, of builder-deployed; ids of each of those
BY_ID = dict(enumerate(ASSETS))
BY_ID |= {SPOT + number: pair for number, (pair, _) in PAIRS.items()}
BY_ID |= {BUILT + place * SPAN + number: asset
          for place, listed in enumerate(DEXES.values()) for number, asset in enumerate(listed)}  # fmt: skip
INDEX = {asset.name: index for index, asset in BY_ID.items()}


def universe(dex: str = "") -> tuple[Asset, ...]:
    """Return the perpetuals on the market of an exchange. Raise `KeyError` if no exchange has that name."""
    return DEXES[dex] if dex else ASSETS


def named(coin: str) -> Asset:
    """Return the asset on the market with a coin's name. Raise `KeyError` if no asset has that name."""
    return BY_ID[INDEX[coin]]


def token_of(coin: str) -> str:
    """Return the token that a spot pair on the market trades for USDC."""
    return TOKENS[PAIRS[INDEX[coin] - SPOT][1]][0]


def wire(amount: Decimal) -> str:
    """Write a decimal, such as a price, as the exchange does: plain digits, always with a point (``79000.0``)."""
    text = f"{(amount + 0).normalize():f}"
    return text if "." in text else text + ".0"


class Market:
    """The mid prices, order books and candles of every asset on the market.

    All are computed for the time that ``now`` returns (seconds, UTC).
    """

    def __init__(self, now: Callable[[], float], seed: int = 0) -> None:
        self.now, draw = now, random.Random(seed)
        self.depth = Decimal(50_000)  # US dollars per level; lower it to see partial fills
        self.pins: dict[str, tuple[float, Decimal]] = {}  # coin -> (since, price)
        self._phases = {asset.name: [draw.uniform(0, math.tau) for _ in WAVES] for asset in BY_ID.values()}

    def mid(self, coin: str, at: float | None = None) -> Decimal:
        """Return the market's mid price of a coin at the time ``at`` (seconds).

        Without ``at``, the time is now. Mark price and oracle price equal the mid price.
        """
        at, asset = self.now() if at is None else at, named(coin)
        since, pinned = self.pins.get(coin, (math.inf, Decimal(0)))
        if at >= since:
            return pinned
        waves = zip(WAVES, self._phases[coin], strict=True)
        px = Decimal(asset.start * math.exp(sum(s * math.sin(math.tau * at / t + p) for (t, s), p in waves)))
        return px.quantize(asset.tick(px))

    def best(self, coin: str, side: int, level: int = 1) -> Decimal:
        """Return the price at one level of the market's order book. The best level is 1.

        ``side`` is +1 for asks and -1 for bids.
        """
        mid, asset = self.mid(coin), named(coin)
        px = mid + side * level * asset.tick(mid)
        return px.quantize(asset.tick(px))

    def levels(self, coin: str, side: int) -> list[tuple[Decimal, Decimal]]:
        """Return (price, size) of each level on one side of the market's order book, best first."""
        lot, second, sizes = Decimal(1).scaleb(-named(coin).sz_decimals), int(self.now()), {}
        for n in range(1, LEVELS + 1):
            px, some = self.best(coin, side, n), (n * 7919 + second * 104_729 + INDEX[coin]) % 1000
            sizes[px] = max(lot, (self.depth * (500 + some) / 1000 / px).quantize(lot))
        return list(sizes.items())

    def candles(self, coin: str, interval: str, start: int, end: int | None = None) -> list[dict[str, Any]]:
        """Return at most 5000 candles of the market that begin in [start, end], oldest first.

        Times are milliseconds; without an end, the span ends now.
        """
        now = self.now()
        step, last = STEPS[interval], now if end is None else min(end / 1000, now)
        begins = range(-(-start // 1000 // step) * step, math.floor(last) + 1, step)[-5000:]
        return [self._candle(coin, interval, begin, min(begin + step, self.now())) for begin in begins]

    def _candle(self, coin: str, interval: str, begin: int, end: float) -> dict[str, Any]:
        path = [self.mid(coin, begin + (end - begin) * n / 4) for n in range(5)]
        volume = round(self.depth * (10 + begin // 60 % 17) / path[0], 5)
        parts = {"o": path[0], "c": path[-1], "h": max(path), "l": min(path), "v": volume}
        head = {"t": begin * 1000, "T": (begin + STEPS[interval]) * 1000 - 1, "s": coin, "i": interval}
        return head | {key: wire(value) for key, value in parts.items()} | {"n": 100 + begin // 60 % 83}

    def context(self, coin: str) -> dict[str, Any]:
        """Return ``assetCtx`` with the market's mark, oracle and mid prices, and yesterday's price.

        All other numbers are made up.
        """
        mid, before = self.mid(coin), self.mid(coin, self.now() - 86400)
        px, impact = wire(mid), [wire(self.best(coin, -1)), wire(self.best(coin, 1))]
        quiet = {"funding": FUNDING, "openInterest": "1000.0", "premium": "0.0", "dayNtlVlm": "1000000.0"}
        prices = {"oraclePx": px, "markPx": px, "midPx": px, "impactPxs": impact, "prevDayPx": wire(before)}
        return quiet | prices | {"dayBaseVlm": wire(round(10**6 / mid, 2))}

    def funding(self, coin: str, start: int, end: int | None = None) -> list[dict[str, Any]]:
        """Return at most 500 hourly funding rates of the market in [start, end], oldest first.

        Times are milliseconds; without an end, the span ends now.
        """
        named(coin)  # KeyError for a coin there is not
        last = int(self.now() * 1000) if end is None else end
        hours = range(-(-start // HOUR) * HOUR, last + 1, HOUR)[:500]
        return [{"coin": coin, "fundingRate": FUNDING, "premium": "0.0", "time": hour} for hour in hours]
