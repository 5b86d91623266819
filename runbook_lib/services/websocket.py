"""Ask a venue over its WebSocket which subscriptions it accepts. `Services` alone uses this module."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from runbook_lib.errors import ServiceError
from runbook_lib.settings.addresses import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Row = dict[str, Any]


def subscribe(url: str, wanted: Sequence[Mapping[str, Any]], within: float) -> list[Row]:
    """Try subscriptions on the venue's WebSocket. Return a row for each: its type, whether it was accepted, the answer.

    ``url`` is the venue's HTTP address; ``within`` is the number of seconds for all subscriptions together. Raise
    `ServiceError` if the socket does not open. A subscription that is not answered in time is not accepted.
    """
    address = f"ws{url.removeprefix('http')}/ws"
    # True means the proxy that the environment names.
    proxy: Literal[True] | None = None if is_loopback(urlsplit(address).hostname or "") else True
    try:
        with connect(address, open_timeout=within, close_timeout=1, proxy=proxy) as socket:
            return [
                _row(subscription, _answer(socket, subscription, time.monotonic() + within / len(wanted)))
                for subscription in wanted
            ]
    # ImportError: the proxy is a SOCKS proxy, for which a package is missing.
    except (OSError, WebSocketException, TimeoutError, ImportError) as error:
        raise ServiceError(f"venue socket {address}: {str(error) or type(error).__name__}") from None


def _row(subscription: Mapping[str, Any], said: str) -> Row:
    return {"type": subscription["type"], "accepted": said == "subscribed", "said": said}


def _answer(socket: Any, subscription: Mapping[str, Any], until: float) -> str:
    """Return the venue's answer to one subscription: "subscribed", the venue's error, or "no answer"."""
    socket.send(json.dumps({"method": "subscribe", "subscription": dict(subscription)}))
    while (left := until - time.monotonic()) > 0:
        try:
            frame = json.loads(socket.recv(timeout=left))
        except TimeoutError:
            break
        except ValueError:  # the first frame may be plain text
            continue
        if frame.get("channel") == "subscriptionResponse" and _same(frame, subscription):
            return "subscribed"
        if frame.get("channel") == "error":
            return str(frame.get("data"))
    return "no answer"


def _same(frame: Mapping[str, Any], subscription: Mapping[str, Any]) -> bool:
    data = frame.get("data")
    return isinstance(data, dict) and (data.get("subscription") or {}).get("type") == subscription["type"]
