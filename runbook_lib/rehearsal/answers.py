"""What the stand-in exchange answers to ``POST /info``, in the venue's shapes: decimals as text, times in ms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.rehearsal.market import ASSETS, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.rehearsal.exchange import Exchange


def meta() -> dict[str, Any]:
    """Every perpetual in the order of its asset id, with one margin table per maximum leverage."""
    universe = [
        {"name": a.name, "szDecimals": a.sz_decimals, "maxLeverage": a.max_leverage, "marginTableId": a.max_leverage}
        | ({"isDelisted": True} if a.delisted else {})
        for a in ASSETS
    ]
    tiers = [
        [n, {"description": "", "marginTiers": [{"lowerBound": "0.0", "maxLeverage": n}]}]
        for n in sorted({a.max_leverage for a in ASSETS})
    ]
    return {"universe": universe, "marginTables": tiers, "collateralToken": 0}


SPOT_META = {
    "universe": [],
    "tokens": [{"name": "USDC", "szDecimals": 8, "weiDecimals": 8, "index": 0}
               | {"tokenId": "0x6d1e7cde53ba9467b783cb7c530ce054", "isCanonical": True, "evmContract": None}
               | {"fullName": None, "deployerTradingFeeShare": "0.0"}],
}  # fmt: skip


def all_mids(exchange: Exchange) -> dict[str, str]:
    """Mid price by coin."""
    return {asset.name: wire(exchange.market.mid(asset.name)) for asset in ASSETS}


ANSWERS: dict[str, Callable[[Exchange, dict[str, Any]], Any]] = {
    "meta": lambda exchange, ask: meta(),
    "spotMeta": lambda exchange, ask: SPOT_META,
    "allMids": lambda exchange, ask: all_mids(exchange),
    "exchangeStatus": lambda exchange, ask: {"time": int(exchange.now() * 1000), "specialStatuses": None},
}
