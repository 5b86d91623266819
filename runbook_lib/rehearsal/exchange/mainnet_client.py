"""Make the venue's public SDK talk to the stand-in exchange, but sign as for mainnet.

The SDK decides by its base address for which network it signs. So it is given mainnet's address, while its session
sends every request to the stand-in: nothing leaves the machine, and a signature has the form that production wants.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import requests
from hyperliquid.exchange import Exchange as Client
from hyperliquid.info import Info
from hyperliquid.utils.constants import MAINNET_API_URL
from requests.adapters import HTTPAdapter

from runbook_lib.rehearsal.exchange.market_prices import BUILT, SPAN

NOTHING: Any = {"universe": [], "tokens": []}


class Redirect(HTTPAdapter):
    """An HTTP adapter that sends requests meant for mainnet to a stand-in.

    If ``source`` is given, the client connects from that address.
    """

    def __init__(self, address: str, source: str | None = None) -> None:
        self.address, self.source = address, source
        super().__init__()

    def init_poolmanager(self, *positional: Any, **named: Any) -> None:
        """Make the connection pool connect from the source address."""
        if self.source:
            named["source_address"] = (self.source, 0)
        super().init_poolmanager(*positional, **named)

    def send(self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any) -> requests.Response:
        """Send a request meant for mainnet to the stand-in, without any proxy."""
        request.url = str(request.url).replace(MAINNET_API_URL, self.address, 1)
        return super().send(request, timeout=timeout)


def mainnet_client(
    wallet: Any,
    address: str,
    *,
    account: str | None = None,
    source: str | None = None,
    meta: Any = None,
    spot_meta: Any = None,
    dexes: Collection[str] = (),
    timeout: float = 10,
) -> Client:
    """Return an SDK client that signs for mainnet and talks to the stand-in at ``address``.

    ``account`` is the master account if ``wallet`` is an agent's. ``source`` is the loopback address to send from.
    ``dexes`` are the builder-deployed exchanges whose coins the client must know. If ``meta`` or ``spot_meta`` is not
    given, the client asks the stand-in for it.
    """
    redirect = Redirect(address, source)
    client = Client(wallet, MAINNET_API_URL, meta=NOTHING, spot_meta=NOTHING, account_address=account, timeout=timeout)
    client.session.mount("https://", redirect)
    # its own Info asked nobody, for it was made before there was a way to the stand-in
    meta = meta or client.post("/info", {"type": "meta"})
    spot_meta = spot_meta or client.post("/info", {"type": "spotMeta"})
    client.info = Info(MAINNET_API_URL, skip_ws=True, meta=meta, spot_meta=spot_meta, timeout=timeout)
    client.info.session.mount("https://", redirect)
    for place, dex in enumerate(client.info.perp_dexs()[1:] if dexes else ()):
        if dex["name"] in dexes:
            client.info.set_perp_meta(client.info.meta(dex["name"]), BUILT + place * SPAN)
    return client
