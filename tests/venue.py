"""A stand-in exchange on a port of its own, without the rest of a rehearsal."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from runbook_lib.rehearsal.exchange.hyperliquid_api import app
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange


@contextmanager
def serving(exchange: Exchange) -> Iterator[str]:
    """Serve an exchange for the length of a block; its address."""
    with listening(app(exchange)) as address:
        yield address


@contextmanager
def listening(application: Starlette) -> Iterator[str]:
    """Serve an application for the length of a block; its address."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(application, log_config=None, ws="websockets-sansio", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield "http://{}:{}".format(*bound.getsockname())
    finally:
        server.should_exit = True
        thread.join(10)
