"""Serve the stand-in exchange over HTTP and WebSocket: ``POST /info``, ``POST /exchange``, ``/ws``, and nothing else.

Business refusals are HTTP 200 in the venue's words, a body not of its form is 422, a body that is no JSON is 400, and
a source address that has spent its minute gets 429.
"""

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from runbook_lib.rehearsal.exchange import limits
from runbook_lib.rehearsal.exchange.agents import ZERO
from runbook_lib.rehearsal.exchange.info_answers import ANSWERS, Ask, web_data
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from runbook_lib.rehearsal.exchange.signatures import Unreadable
from runbook_lib.rehearsal.exchange.signed_actions import act
from runbook_lib.rehearsal.world import http_server

BLOCK = 0.25  # seconds between two looks at the market, and between two pictures on a socket
IDLE = 60  # seconds of silence after which the venue closes a socket
MINUTE = "x-rehearsal-minute"  # seconds: a header of ours says how long a rehearsal's minute is
UNREADABLE = "Failed to deserialize the JSON body into the target type"
WRONG = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

# What a subscription shows again and again.
PICTURES: dict[str, Callable[[Exchange, Ask], Any]] = {
    "activeAssetCtx": lambda x, s: {"coin": s["coin"], "ctx": x.market.context(s["coin"])},
    "activeAssetData": ANSWERS["activeAssetData"],
    "allMids": lambda x, s: {"mids": ANSWERS["allMids"](x, s)},
    "bbo": lambda x, s: {"coin": s["coin"], "time": x.ms(), "bbo": [a[0] for a in ANSWERS["l2Book"](x, s)["levels"]]},
    "candle": lambda x, s: x.market.candles(s["coin"], s["interval"], x.ms() - 604_800_000, x.ms())[-1],
    "clearinghouseState": lambda x, s: _of_dex(s) | {s["type"]: ANSWERS[s["type"]](x, s)},
    "l2Book": ANSWERS["l2Book"],
    "openOrders": lambda x, s: _of_dex(s) | {"orders": ANSWERS["frontendOpenOrders"](x, s)},
    "spotState": lambda x, s: {"user": s["user"], "spotState": ANSWERS["spotClearinghouseState"](x, s)},
    "webData3": lambda x, s: web_data(x, s["user"]),
}


def _of_dex(subscription: Ask) -> Ask:
    return {"dex": subscription.get("dex") or "", "user": subscription["user"]}


def snapshot(of: str) -> Callable[[Exchange, Ask], Any]:
    """Return a function that makes a WebSocket feed's first frame, which holds every event so far.

    Later frames of the feed hold only what is new.
    """
    return lambda x, s: {"isSnapshot": True, "user": s["user"].lower(), of: ANSWERS[s["type"]](x, s)}


# What a subscription starts with, before it tells events as they happen.
EVENTS: dict[str, Callable[[Exchange, Ask], Any]] = {
    "orderUpdates": lambda x, s: [order.settled(full=False) for order in x.account(s["user"]).resting.values()],
    "trades": lambda x, s: [] if x.market.mid(s["coin"]) else None,
    "userEvents": lambda x, s: {"fills": []} if s["user"] else None,
    "userFills": snapshot("fills"),
    "userNonFundingLedgerUpdates": snapshot("nonFundingLedgerUpdates"),
}


class Socket:
    """The WebSocket connection to one client: the client's subscriptions, and the frames waiting to be sent."""

    def __init__(self, exchange: Exchange, websocket: WebSocket) -> None:
        self.exchange, self.websocket = exchange, websocket
        self.loop, self.frames = asyncio.get_running_loop(), asyncio.Queue[str]()
        self.asked: dict[str, Ask] = {}  # subscription as text -> subscription
        self.shown: dict[str, str] = {}  # and the picture last sent for it

    async def serve(self) -> None:
        """Serve a WebSocket client until the client or the exchange closes the connection."""
        await self.websocket.accept()
        self.frames.put_nowait("Websocket connection established.")
        self.exchange.listeners.append(self.hear)
        tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._show())]
        try:
            async for text in self.websocket.iter_text():
                self._receive(text)
        finally:
            self.exchange.listeners.remove(self.hear)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def hear(self, topic: str, key: str, data: Any) -> None:
        """Send an event to the WebSocket client if the client subscribed to events of that kind.

        Any thread may call this method.
        """
        wanted = [s for s in list(self.asked.values()) if s["type"] == topic]
        if topic == "close":
            asyncio.run_coroutine_threadsafe(self.websocket.close(), self.loop)
        elif any(key == (s.get("user") or s.get("coin", "")).lower() for s in wanted):
            self.loop.call_soon_threadsafe(self._send, topic, data)

    def _send(self, topic: str, data: Any) -> None:
        self.frames.put_nowait(json.dumps({"channel": "user" if topic == "userEvents" else topic, "data": data}))

    def _receive(self, text: str) -> None:
        """Answer one message of the WebSocket client.

        A message that is not in the venue's form is sent back in an error frame.
        """
        try:
            message = json.loads(text)
            if message["method"] == "ping":
                return self.frames.put_nowait(json.dumps({"channel": "pong"}))
            return self._subscribe(message["method"], message["subscription"])
        except WRONG:
            return self._send("error", f"Error parsing JSON into valid websocket request: {text}")

    def _subscribe(self, method: str, wanted: Ask) -> None:
        name, known = json.dumps(wanted, separators=(",", ":")), wanted.get("type") in {*PICTURES, *EVENTS}
        try:
            first = (PICTURES | EVENTS)[wanted["type"]](self.exchange, wanted) if known else None
        except WRONG:
            first = None
        if first is None or method not in {"subscribe", "unsubscribe"}:
            return self._send("error", f"Invalid subscription {name}")
        if (name in self.asked) == (method == "subscribe"):
            return self._send("error", f"Already {method}d: {name}")
        self._send("subscriptionResponse", {"method": method, "subscription": wanted})
        if method == "unsubscribe":
            self.asked.pop(name)
            return None
        self.asked[name] = wanted
        return self._send(wanted["type"], first)

    async def _write(self) -> None:
        with suppress(TimeoutError):
            while True:
                await self.websocket.send_text(await asyncio.wait_for(self.frames.get(), IDLE))
        await self.websocket.close()

    async def _show(self) -> None:
        """Every `BLOCK` seconds, send new data to each subscription whose data has changed."""
        while True:
            await asyncio.sleep(BLOCK)
            for name, asked in list(self.asked.items()):
                if asked["type"] in PICTURES:
                    data = PICTURES[asked["type"]](self.exchange, asked)
                    if self.shown.get(name) != str(data):
                        self.shown[name] = str(data)
                        self._send(asked["type"], data)


def drop_sockets(exchange: Exchange) -> None:
    """Close every WebSocket connection to the exchange, as an outage does."""
    exchange.emit("close", "", None)


def app(exchange: Exchange) -> Starlette:
    """Serve Hyperliquid's API: one stand-in exchange over HTTP and WebSocket."""

    clocks: list[asyncio.Task[None]] = []

    async def clock() -> None:
        while True:
            exchange.advance()
            await asyncio.sleep(BLOCK)

    def wake() -> None:
        """Start the task that advances the exchange, at the API's first request.

        The exchange runs no event loop.
        """
        if not clocks:
            clocks.append(asyncio.create_task(clock()))

    def answer(path: str, ask: Ask) -> Any:
        if path == "/exchange":
            return act(exchange, ask)
        if not re.fullmatch("0x[0-9a-fA-F]{40}", ask.get("user", ZERO)):
            raise Unreadable
        with exchange.lock:
            return ANSWERS[ask["type"]](exchange, ask)

    async def post(request: http_server.Ask) -> Response:
        try:
            ask = json.loads(request.raw)
        except ValueError as error:
            return PlainTextResponse(f"Failed to parse the request body as JSON: {error}", status_code=400)
        wake()
        try:
            if not exchange.limits.admit(request.source, limits.weight(request.path, ask)):
                return JSONResponse(None, 429, {MINUTE: f"{exchange.limits.minute:g}"})  # the body is the venue's own
            reply = answer(request.path, ask)
            exchange.limits.spend(request.source, limits.more(ask, reply))
            return JSONResponse(reply)
        except (*WRONG, Unreadable):
            return PlainTextResponse(UNREADABLE, status_code=422)

    async def socket(websocket: WebSocket) -> None:
        wake()
        await Socket(exchange, websocket).serve()

    endpoints = {"POST /info": post, "POST /exchange": post}
    return http_server.application("hyperliquid", endpoints, WebSocketRoute("/ws", socket))
