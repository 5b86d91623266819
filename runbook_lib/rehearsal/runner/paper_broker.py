"""Trade on paper for the runner, in memory and without an exchange."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runbook_lib.rehearsal.runner.broker import BrokerError, Execution
from runbook_lib.rehearsal.runner.risk_engine import Account, Position

PAPER_BALANCE = 10_000.0  # US dollars a paper deployment starts with
PAPER_FEE, PAPER_SLIPPAGE = 0.00045, 0.0002  # fractions of an order
MAINTENANCE = 0.0125  # fraction of notional, for the displayed liquidation price


class PaperBroker:
    """The broker for paper trading. It trades in memory, and equal runs give equal results.

    Orders are filled at the mark, with a fee and slippage.
    """

    def __init__(self, equity: float | None = None, positions: list[dict[str, Any]] | None = None) -> None:
        """Start with $10,000 on paper, or with the equity and positions that ``agent_state`` already holds."""
        fields = ("symbol", "sizeBase", "entryPrice", "markPrice", "leverage")
        self.held = {row["symbol"]: Position(*(row[name] for name in fields)) for row in positions or []}
        profit = sum(position.profit for position in self.held.values())
        self.cash = PAPER_BALANCE if equity is None else equity - profit
        self.orders = 0

    async def start(self) -> None:
        """Do nothing: the paper broker needs no connection."""

    async def account(self, marks: Mapping[str, float]) -> Account:
        """Return the paper account's equity and positions at these marks.

        A position without a mark keeps its last mark.
        """
        positions = [replace(held, mark=marks.get(held.symbol, held.mark)) for held in self.held.values()]
        equity = self.cash + sum(position.profit for position in positions)
        return Account(equity, tuple(self._with_liquidation(position, equity) for position in positions))

    async def execute(self, action: Mapping[str, Any], marks: Mapping[str, float]) -> Execution:
        """Trade on paper at the mark. Raise `BrokerError` if the symbol has no mark."""
        symbol = str(action["symbol"])
        if symbol not in marks:
            raise BrokerError(f"paper broker: no mark price set for {symbol}; call setMarkPrice first")
        sign = 1 if action["side"] == "buy" else -1
        price = marks[symbol] * (1 + sign * PAPER_SLIPPAGE)
        held = self.held.get(symbol)
        size = -held.size if held and action["kind"] == "close" else sign * float(action["sizeUsd"]) / marks[symbol]
        fee = self._trade(symbol, size, price, float(action["leverage"]))
        self.orders += 1
        fill = {"symbol": symbol, "sizeBase": size, "price": price, "feeUsd": fee}
        return Execution(f"paper-{self.orders}", fill)

    async def flatten(self, marks: Mapping[str, float]) -> None:
        for symbol, held in list(self.held.items()):
            self._trade(symbol, -held.size, marks.get(symbol, held.mark), held.leverage)

    async def drift(self) -> None:
        """Return None. The paper broker keeps its positions in one place, so nothing can disagree with them."""
        return

    def _trade(self, symbol: str, size: float, price: float, leverage: float) -> float:
        """Trade a size on paper at a price, and return the fee in US dollars. A negative size sells."""
        held = self.held.pop(symbol, None) or Position(symbol, 0.0, price, price, leverage)
        fee = abs(size) * price * PAPER_FEE
        self.cash -= fee
        total = held.size + size
        if held.size * size < 0:  # the other way: it closes first, and may turn over
            closed = min(abs(size), abs(held.size)) * (1 if held.size > 0 else -1)
            self.cash += closed * (price - held.entry_price)
            entry = held.entry_price if held.size * total > 0 else price
        else:
            entry = (held.size * held.entry_price + size * price) / total if total else price
        if abs(total) * price > 1e-6:  # less is what floats leave behind of a closed position
            self.held[symbol] = Position(symbol, total, entry, price, leverage)
        return fee

    def _with_liquidation(self, held: Position, equity: float) -> Position:
        """Add the liquidation price to a paper position.

        At that price the equity equals the cross maintenance margin. If there is no such price, None is added.
        """
        sign = 1 if held.size > 0 else -1
        price = (held.mark - equity / held.size) / (1 - sign * MAINTENANCE)
        return replace(held, liquidation_price=price if price > 0 else None)
