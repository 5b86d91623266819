"""Stand in for an outdated runner image, whose mainnet broker is only a stub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.rehearsal.runner.broker import Execution
from runbook_lib.rehearsal.runner.risk_engine import Account


class StubBroker:
    """The stub in an outdated runner image, from the time before the mainnet broker was built.

    The stub starts, but everything else fails.
    """

    async def start(self) -> None:
        """Do nothing: the stub broker needs no connection."""

    async def account(self, _: Mapping[str, float]) -> Account:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker getAccount")

    async def execute(self, _: Mapping[str, Any], __: Mapping[str, float]) -> Execution:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker placeOrder")

    async def flatten(self, _: Mapping[str, float]) -> None:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker closePosition")

    async def drift(self) -> None:
        """Return None: the stub broker has no positions to compare."""
        return
