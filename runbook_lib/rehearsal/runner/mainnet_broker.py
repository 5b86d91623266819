"""Trade on mainnet for the runner, through the venue's public SDK, which signs with the agent's key.

Each order is written into the audit trail.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

import websockets
from eth_account import Account as Wallet
from hyperliquid.exchange import Exchange as Client
from hyperliquid.utils.error import Error as SdkError
from hyperliquid.utils.types import Cloid

from runbook_lib.rehearsal.exchange.mainnet_client import NOTHING, mainnet_client
from runbook_lib.rehearsal.runner.broker import BrokerError, Drift, Execution
from runbook_lib.rehearsal.runner.database_rows import ORDER, SETTLED, Store
from runbook_lib.rehearsal.runner.risk_engine import Account, Position
from runbook_lib.rehearsal.runner.venue_client import VenueClient

FILL_WAIT = 2.0  # seconds an order's fills are waited for (facts platform 8)
SLIPPAGE = 0.01  # fraction the limit of an immediate order is away from the mark
PING = 30.0  # seconds; the venue hangs up after 60 of silence
RECONNECT = (0.2, 5.0)  # seconds before the first and the latest new try
UNIFIED = {"unifiedAccount", "portfolioMargin"}

logging.getLogger("websockets").setLevel(logging.CRITICAL)


@dataclass
class Placed:
    """An order of the mainnet broker that waits for its fills.

    ``fills`` holds the fills so far by ``tid``, which is a trade's id.
    """

    size: float
    settled: bool = False  # its row is written; a fill that comes later corrects it
    fills: dict[int, dict[str, Any]] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, fill: dict[str, Any]) -> None:
        self.fills[fill["tid"]] = fill  # the venue may announce a fill twice, with one tid
        if self.filled >= self.size * 0.999999:
            self.complete.set()

    @property
    def filled(self) -> float:
        return sum(float(fill["sz"]) for fill in self.fills.values())

    @property
    def price(self) -> float | None:
        total = sum(float(fill["sz"]) * float(fill["px"]) for fill in self.fills.values())
        return total / self.filled if self.fills else None

    @property
    def fee(self) -> float | None:
        return sum(float(fill["fee"]) for fill in self.fills.values()) if self.fills else None


class MainnetBroker:
    """A broker that trades on mainnet for ``master``. ``agent_key`` is the private key of the agent wallet."""

    def __init__(
        self, *, venue: VenueClient, store: Store, agent_key: str, master: str, retired_socket: bool = False
    ) -> None:
        self.venue, self.store, self.master = venue, store, master.lower()
        self.wallet = Wallet.from_key(agent_key)
        self.retired_socket = retired_socket
        self.mode = "default"
        self.placed: dict[str, Placed] = {}
        self.socket_sizes: dict[str, float] = {}
        self.wrong_by = 0.0  # a fault: how far off the socket's sizes are
        self._seen: set[int] = set()
        self._leverage: dict[str, int] = {}
        self._universe: dict[str, int] = {}
        self._exchange: Client | None = None
        self._feed: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start trading on mainnet: read the venue's assets and the account's mode, and open the feed.

        Raise `VenueError` if the venue does not answer.
        """
        meta = await self.venue.info("meta")
        self._universe = {asset["name"]: asset["szDecimals"] for asset in meta["universe"]}
        self._exchange = mainnet_client(
            self.wallet,
            self.venue.address,
            account=self.master,
            source=self.venue.source,
            meta=meta,
            spot_meta=NOTHING,
            timeout=5,
        )
        self.mode = await self.venue.info("userAbstraction", user=self.master)
        self.socket_sizes = await self._rest_sizes()
        for fill in await self.venue.info("userFills", user=self.master):
            self._seen.add(fill["tid"])
        self._feed = asyncio.create_task(self._follow(), name="venue feed")

    async def close(self) -> None:
        if self._feed is not None:
            self._feed.cancel()
            await asyncio.wait({self._feed})

    async def account(self, marks: Mapping[str, float]) -> Account:
        """Return the mainnet account with its equity and the positions that the venue reports.

        The account's mode decides how the equity is computed.
        """
        state = await self.venue.info("clearinghouseState", user=self.master)
        held = [entry["position"] for entry in state["assetPositions"]]
        positions = tuple(_position(position, marks) for position in held)
        equity = float(state["marginSummary"]["accountValue"])
        if self.mode in UNIFIED:
            spot = await self.venue.info("spotClearinghouseState", user=self.master)
            usdc = sum(float(balance["total"]) for balance in spot["balances"] if balance["coin"] == "USDC")
            equity = usdc + sum(float(position["unrealizedPnl"]) for position in held)
        return Account(equity, positions)

    async def execute(self, action: Mapping[str, Any], marks: Mapping[str, float]) -> Execution:
        """Place a mainnet order that trades at once or not at all. Wait for its fills.

        Raise `BrokerError` with the venue's words if it is refused.
        """
        symbol = str(action["symbol"])
        if symbol not in self._universe or symbol not in marks:
            raise BrokerError(f"hyperliquid: no market {symbol}")
        buy = action["side"] == "buy"
        if action["kind"] == "close":
            size = abs((await self._rest_sizes()).get(symbol, 0.0))
            return await self._place(symbol, buy, size, marks[symbol], reduce_only=True)
        await self._lever(symbol, int(action["leverage"]))
        size = self._round_down(symbol, float(action["sizeUsd"]) / marks[symbol])
        return await self._place(symbol, buy, size, marks[symbol], reduce_only=False)

    async def flatten(self, marks: Mapping[str, float]) -> None:
        """Cancel all resting orders on mainnet, then close each position that the wallet holds."""
        await self._cancel_resting()
        for symbol, size in (await self._rest_sizes()).items():
            # in one order: what a partial close leaves may be under the venue's $10 minimum
            await self._place(symbol, size < 0, abs(size), marks[symbol], reduce_only=True)

    async def _cancel_resting(self) -> None:
        resting = await self.venue.info("openOrders", user=self.master)
        resting = [order for order in resting if order["coin"] in self._universe]  # spot orders show there too
        if resting:
            wanted = [{"coin": order["coin"], "oid": order["oid"]} for order in resting]
            response = await self._ask("bulk_cancel", wanted)
            await self.store.log("orders_cancelled", f"{len(wanted)} resting orders: {response}")

    async def _ask(self, name: str, *words: Any, **more: Any) -> Any:
        """Return the venue's response to a call of the mainnet SDK.

        If the venue refuses, raise `BrokerError` with the venue's words.
        """
        try:
            reply = await asyncio.to_thread(getattr(self._exchange, name), *words, **more)
        except (SdkError, OSError) as problem:
            raise BrokerError(f"hyperliquid: {problem}") from problem
        if reply.get("status") != "ok":
            raise BrokerError(f"hyperliquid: {reply.get('response')}")
        return reply["response"]

    async def drift(self) -> Drift | None:
        """Return the mainnet position sizes if REST and the WebSocket disagree on them twice, 0.3 s apart.

        Return None if they agree at one of these times. After a difference, the sizes that REST reported count.
        """
        if not await self._differ():
            return None
        await asyncio.sleep(0.3)  # a fill may be on its way
        rest = await self._differ()
        if not rest:
            return None
        before, self.socket_sizes = self.socket_sizes, rest
        return Drift(rest, {symbol: size + self.wrong_by for symbol, size in before.items()})

    async def _differ(self) -> dict[str, float] | None:
        """Return the position sizes on mainnet that REST reports, if the WebSocket reports other sizes. Otherwise
        return None.

        If REST reports no positions, return zeros.
        """
        rest = await self._rest_sizes()
        symbols = rest.keys() | self.socket_sizes.keys() | ({"BTC"} if self.wrong_by else set())
        gaps = [rest.get(symbol, 0.0) - self.socket_sizes.get(symbol, 0.0) - self.wrong_by for symbol in symbols]
        if all(abs(gap) < 1e-9 for gap in gaps):
            return None
        return rest or dict.fromkeys(symbols, 0.0)

    # -- orders

    async def _place(self, symbol: str, buy: bool, size: float, mark: float, *, reduce_only: bool) -> Execution:
        cloid = Cloid(f"0x{secrets.token_hex(16)}")
        raw, side = cloid.to_raw(), "buy" if buy else "sell"
        self.placed[raw] = Placed(size)
        await self.store.query(ORDER, cloid=raw, symbol=symbol, side=side, size=size)
        limit = self._limit(symbol, mark * (1 + SLIPPAGE if buy else 1 - SLIPPAGE))
        text = f"{side} {size} {symbol} at {limit}"
        await self.store.log("order_placed", text, cloid=raw, symbol=symbol, side=side, sizeBase=size)
        how: Any = {"limit": {"tif": "Ioc"}}
        try:
            response = await self._ask("order", symbol, buy, size, limit, how, reduce_only=reduce_only, cloid=cloid)
            [status] = response["data"]["statuses"]
            if "error" in status:
                raise BrokerError(f"hyperliquid: {status['error']}")
        except BrokerError as refused:
            await self._close_row(raw, "rejected", str(refused))
            raise
        return await self._settle(raw, symbol, status)

    async def _settle(self, cloid: str, symbol: str, status: dict[str, Any]) -> Execution:
        """Wait at most two seconds for the fills of a mainnet order.

        If no fills arrive, take size and price from the venue's reply.
        """
        placed = self.placed[cloid]
        answer = status.get("filled") or {}
        placed.size = float(answer.get("totalSz", placed.size))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(placed.complete.wait(), FILL_WAIT)
        filled = placed.filled or float(answer.get("totalSz", 0.0))
        price = placed.price or float(answer.get("avgPx", 0.0)) or None
        placed.settled = True
        await self._row(cloid, "filled" if filled else "open", filled, price, placed.fee)
        if filled:
            text = f"filled {filled} {symbol} at {price}"
            await self.store.log("order_filled", text, cloid=cloid, symbol=symbol, sizeBase=filled, price=price)
        fill = {"symbol": symbol, "sizeBase": filled, "price": price, "feeUsd": placed.fee} if filled else None
        return Execution(cloid, fill)

    async def _close_row(self, cloid: str, status: str, why: str) -> None:
        unmatched = "could not immediately match" in why
        status = "cancelled" if unmatched else status
        await self._row(cloid, status)
        event = "order_cancelled" if unmatched else "order_rejected"
        await self.store.log(event, why, level="warn", cloid=cloid)

    async def _row(
        self, cloid: str, status: str, filled: float = 0, price: float | None = None, fee: float | None = None
    ) -> None:
        await self.store.query(SETTLED, cloid=cloid, status=status, filled=filled, price=price, fee=fee)

    async def _lever(self, symbol: str, leverage: int) -> None:
        if self._leverage.get(symbol) != leverage:
            await self._ask("update_leverage", leverage, symbol, True)
            self._leverage[symbol] = leverage

    def _round_down(self, symbol: str, size: float) -> float:
        step = Decimal(1).scaleb(-self._universe[symbol])
        return float(Decimal(str(size)).quantize(step, ROUND_DOWN))

    def _limit(self, symbol: str, price: float) -> float:
        """Round a price to five significant figures and 6 - szDecimals decimals, as the venue's documentation says."""
        return round(float(f"{price:.5g}"), 6 - self._universe[symbol])

    # -- the venue's view

    async def _rest_sizes(self) -> dict[str, float]:
        state = await self.venue.info("clearinghouseState", user=self.master)
        return {held["position"]["coin"]: float(held["position"]["szi"]) for held in state["assetPositions"]}

    async def _follow(self) -> None:
        """Keep the feed connected: subscribe, read, and connect again after an outage."""
        address, delay = self.venue.address.replace("http", "ws", 1) + "/ws", RECONNECT[0]
        local = (self.venue.source, 0) if self.venue.source else None
        while True:
            began = time.monotonic()
            with contextlib.suppress(OSError, websockets.WebSocketException):
                async with websockets.connect(address, ping_interval=None, local_addr=local) as socket:
                    await self._subscribe(socket)
                    await self._read(socket)
            delay = RECONNECT[0] if time.monotonic() - began > 10 else min(delay * 2, RECONNECT[1])
            await asyncio.sleep(delay)

    async def _subscribe(self, socket: websockets.ClientConnection) -> None:
        kinds = ["userFills", "orderUpdates"] + (["webData2"] if self.retired_socket else [])
        for kind in kinds:
            wanted = {"method": "subscribe", "subscription": {"type": kind, "user": self.master}}
            await socket.send(json.dumps(wanted))

    async def _read(self, socket: websockets.ClientConnection) -> None:
        while True:
            try:
                raw = await asyncio.wait_for(socket.recv(), PING)
            except TimeoutError:
                await socket.send('{"method": "ping"}')
                continue
            with contextlib.suppress(ValueError):  # the first frame may be a plain greeting
                await self._heard(json.loads(raw))

    async def _heard(self, message: dict[str, Any]) -> None:
        if message.get("channel") == "error" and self.retired_socket:
            text = f"webdata2_apply_failed: {message.get('data')}"
            await self.store.log("webdata2_apply_failed", text, level="error")
        if message.get("channel") != "userFills":
            return
        for fill in sorted(message["data"]["fills"], key=lambda fill: (fill["time"], fill["tid"])):
            if fill["tid"] not in self._seen:
                self._seen.add(fill["tid"])
                await self._filled(fill)

    async def _filled(self, fill: dict[str, Any]) -> None:
        signed = float(fill["sz"]) * (1 if fill["side"] == "B" else -1)
        self.socket_sizes[fill["coin"]] = float(fill["startPosition"]) + signed
        if placed := self.placed.get(cloid := str(fill.get("cloid"))):
            placed.add(fill)
            if placed.settled:
                await self._row(cloid, "filled", placed.filled, placed.price, placed.fee)


def _position(held: dict[str, Any], marks: Mapping[str, float]) -> Position:
    """Convert a mainnet position from the venue's form into the risk engine's form.

    If ``marks`` has no mark for the coin, compute the mark from the position's value.
    """
    size = float(held["szi"])
    mark = marks.get(held["coin"]) or float(held["positionValue"]) / abs(size)
    liquidation = float(held["liquidationPx"]) if held["liquidationPx"] else None
    return Position(held["coin"], size, float(held["entryPx"]), mark, float(held["leverage"]["value"]), liquidation)
