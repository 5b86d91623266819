"""Stand in for the stub that outdated runner images have in place of a mainnet broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook_lib.rehearsal.runner.broker import Execution
from runbook_lib.rehearsal.runner.risk_engine import Account


class StubBroker:
    """The stub that a runner's image has in place of a mainnet broker not yet built.

    The stub starts, but everything else fails.
    """

    async def start(self) -> None:
        """Connect the stub broker to nothing."""

    async def account(self, _: Mapping[str, float]) -> Account:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker getAccount")

    async def execute(self, _: Mapping[str, Any], __: Mapping[str, float]) -> Execution:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker placeOrder")

    async def flatten(self, _: Mapping[str, float]) -> None:
        raise NotImplementedError("NotYetImplemented: hyperliquid-mainnet broker closePosition")

    async def drift(self) -> None:
        """Return no drift: the stub broker has nothing to compare."""
        return
