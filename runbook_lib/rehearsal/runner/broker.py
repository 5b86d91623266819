"""Define what every broker of a runner can do, on paper or on mainnet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from runbook_lib.rehearsal.runner.risk_engine import Account

PAPER, MAINNET = "paper", "hyperliquid-mainnet"  # the literal broker kinds


class BrokerError(Exception):
    """An error of a broker that refuses an order or cannot start. The operator sees the error's text."""


@dataclass(frozen=True)
class Execution:
    """A broker's result for an order. ``fill`` is None if the order did not trade."""

    order_id: str
    fill: dict[str, Any] | None

    def view(self) -> dict[str, Any]:
        return {"status": "executed", "orderId": self.order_id, "fill": self.fill}


@dataclass(frozen=True)
class Drift:
    """The position sizes in a broker's REST data and in its WebSocket data, when the two differ. Sizes are in base
    units, by symbol, and negative for a short.
    """

    rest: dict[str, float]
    socket: dict[str, float]


class Broker(Protocol):
    """The operations that a runner asks of its broker. ``marks`` are prices in US dollars by symbol."""

    async def start(self) -> None: ...
    async def account(self, marks: Mapping[str, float]) -> Account: ...
    async def execute(self, action: Mapping[str, Any], marks: Mapping[str, float]) -> Execution: ...
    async def flatten(self, marks: Mapping[str, float]) -> None: ...
    async def drift(self) -> Drift | None: ...
