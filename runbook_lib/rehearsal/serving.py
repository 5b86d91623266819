"""All HTTP stand-ins in one event loop: a loopback port for each, one server for all."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send


def bind(names: Iterable[str]) -> dict[str, socket.socket]:
    """Take a free loopback port for each name, so that all addresses are known before anything serves."""
    sockets = {}
    for name in names:
        sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sockets[name].bind(("127.0.0.1", 0))
        sockets[name].listen(128)  # from now on a client waits for the server instead of being refused
    return sockets


def address(bound: socket.socket) -> str:
    """Base address of a bound socket."""
    host, port = bound.getsockname()
    return f"http://{host}:{port}"


def by_port(apps: dict[int, ASGIApp]) -> ASGIApp:
    """Send each request to the stand-in whose port it came in on."""

    async def dispatch(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["server"][1]](scope, receive, send)

    return dispatch


def application(*routes: BaseRoute) -> Starlette:
    """An application of these routes, which answers every other with a 404."""
    return Starlette(routes=routes, exception_handlers={404: unknown_route, 405: unknown_route})


async def unknown_route(request: Request, _: Exception) -> Response:
    """404 that names what was asked: a stand-in never guesses."""
    return JSONResponse({"error": f"the rehearsal knows no {request.method} {request.url.path}"}, status_code=404)


async def serve(
    apps: dict[str, ASGIApp], sockets: dict[str, socket.socket], run: Callable[[], Awaitable[None]]
) -> None:
    """Serve every stand-in for as long as ``run`` runs."""
    ports = {sockets[name].getsockname()[1]: app for name, app in apps.items()}
    server = uvicorn.Server(
        uvicorn.Config(
            by_port(ports),
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # ours to handle
    serving = asyncio.create_task(server.serve(sockets=[sockets[name] for name in apps]))
    try:
        await run()
    finally:
        server.should_exit = True
        await serving
