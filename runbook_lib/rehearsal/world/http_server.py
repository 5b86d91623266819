"""Serve all HTTP stand-ins in one event loop.

Each host of production has an address of its own. Each stand-in answers only its own host's paths, and only under that
host's authorisation scheme: a request that production's host would not understand must fail here too. Endpoints of all
stand-ins are written in one way.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

Json = dict[str, Any]
# What each stand-in stands for, by the name of its address; it says so where it knows no path.
HOSTS = {
    "fly": "api.machines.dev",
    "fly_logs": "api.fly.io",
    "registry": "registry.fly.io",
    "vercel": "api.vercel.com",
    "vercel_logs": "vercel.com",
    "web": "web app",
    "supabase": "api.supabase.com",
    "hyperliquid": "api.hyperliquid.xyz",
    "openrouter": "openrouter.ai",
    "deadman": "hc-ping.com",
    "person": "person",
}
# The error body of each vendor: (HTTP status, code, text, further fields) -> body.
BODIES: dict[str, Callable[[int, str, str, Json], Json]] = {
    "registry": lambda status, code, text, more: {"errors": [{"code": code.upper(), "message": text, **more}]},
    "vercel": lambda status, code, text, more: {"error": {"code": code, "message": text, **more}},
    "vercel_logs": lambda status, code, text, more: {"error": {"code": code, "message": text, **more}},
    "supabase": lambda status, code, text, more: {"message": text, **more},
    "openrouter": lambda status, code, text, more: {"error": {"message": text, "code": status, **more}},
}


class Refusal(Exception):
    """An error with which a stand-in's HTTP server refuses a request.

    A refusal has a status, the vendor's text and code, and further fields and headers.
    """

    def __init__(
        self, status: int, text: str, code: str = "", *, headers: Json | None = None, more: Json | None = None
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.headers, self.more = status, code, headers, more or {}

    def reply(self, service: str) -> Response:
        """Return the refusal as an HTTP answer in the form of the vendor of ``service``."""
        body = {"error": str(self), **self.more}
        if service in BODIES:
            body = BODIES[service](self.status, self.code, str(self), self.more)
        return JSONResponse(body, self.status, self.headers)


@dataclass(frozen=True)
class Ask:
    """An HTTP request as an endpoint gets it. ``parts`` are the variable parts of its path."""

    method: str
    path: str
    parts: Mapping[str, Any]
    query: QueryParams
    headers: Mapping[str, str]
    raw: bytes
    source: str = ""  # the address it came from

    def body(self) -> Any:
        """Return the JSON in the HTTP request's body, or {} if it is empty. Raise a 400 `Refusal` if it is not JSON."""
        try:
            return json.loads(self.raw or b"{}")
        except ValueError as problem:
            raise Refusal(400, f"body is not JSON: {problem}", "bad_request") from problem

    @property
    def bearer(self) -> str:
        """Return the bearer token of the HTTP request's Authorization header."""
        return self.token("Bearer")

    def token(self, *schemes: str) -> str:
        """Return the HTTP request's Authorization credential.

        If the credential's scheme is none of ``schemes``, return an empty text.
        """
        scheme, _, credential = self.headers.get("authorization", "").partition(" ")
        return credential if scheme.lower() in (name.lower() for name in schemes) else ""


# A coroutine function runs in the loop, a plain function in a thread. What is no `Response` is sent as JSON.
Endpoint = Callable[[Ask], Any]


def application(
    service: str,
    endpoints: Mapping[str, Endpoint],
    *others: BaseRoute,
    admit: Callable[[Ask], None] = lambda _: None,
    numbered: str = "",
) -> Starlette:
    """Make a stand-in's HTTP application from ``endpoints`` (``"GET /v1/apps/{app}"`` -> function).

    Any other path is answered with a 404 that names it. ``admit`` raises `Refusal` for a request that the service does
    not allow. ``numbered`` is the name of a header that carries a new number in each reply.
    """

    def routed(route: str, endpoint: Endpoint) -> Route:
        async def answer(request: Request) -> Response:
            ask = await _read(request)
            try:
                admit(ask)
                answer = await (endpoint(ask) if iscoroutinefunction(endpoint) else run_in_threadpool(endpoint, ask))
                reply = answer if isinstance(answer, Response) else JSONResponse(answer)
            except Refusal as refusal:
                reply = refusal.reply(service)
            if numbered:
                reply.headers[numbered] = secrets.token_hex(13)
            return reply

        method, _, path = route.partition(" ")
        return Route(path, answer, methods=[method])

    async def unknown(request: Request, _: Exception) -> Response:
        """Answer HTTP 404 to an unknown path, instead of guessing what was meant."""
        asked = f"{request.method} {request.url.path}"
        return JSONResponse({"error": f"the rehearsal's {HOSTS[service]} knows no {asked}"}, status_code=404)

    routes = [*(routed(route, endpoint) for route, endpoint in endpoints.items()), *others]
    return Starlette(routes=routes, exception_handlers={404: unknown, 405: unknown})


async def _read(request: Request) -> Ask:
    path, parts = request.url.path, request.path_params
    source = request.client.host if request.client else ""
    return Ask(request.method, path, parts, request.query_params, request.headers, await request.body(), source)


def bind(names: Iterable[str]) -> dict[str, socket.socket]:
    """Reserve a free loopback port for each HTTP stand-in, so that all addresses are known before any is served."""
    sockets = {}
    for name in names:
        sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sockets[name].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sockets[name].bind(("127.0.0.1", 0))
        sockets[name].listen(128)  # from now on a client waits for the server instead of being refused
    return sockets


def address(bound: socket.socket) -> str:
    """Return the base address of a socket that the HTTP server is bound to."""
    host, port = bound.getsockname()
    return f"http://{host}:{port}"


async def serve(
    apps: dict[str, ASGIApp], sockets: dict[str, socket.socket], run: Callable[[], Awaitable[None]]
) -> None:
    """Serve every HTTP stand-in until ``run`` ends.

    The port at which a request arrives decides which stand-in answers.
    """
    ports = {sockets[name].getsockname()[1]: app for name, app in apps.items()}

    async def by_port(scope: Scope, receive: Receive, send: Send) -> None:
        await (ports[scope["server"][1]] if _is_addressed(scope) else MISDIRECTED)(scope, receive, send)

    config = uvicorn.Config(
        by_port, lifespan="off", log_config=None, access_log=False, proxy_headers=False, server_header=False,
        ws="websockets-sansio", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]  # ours to handle
    serving = asyncio.create_task(server.serve(sockets=[sockets[name] for name in apps]))
    try:
        await run()
    finally:
        server.should_exit = True
        await serving


MISDIRECTED = JSONResponse({"error": "this rehearsal answers at its own address only, and no page of another"}, 421)


def _is_addressed(scope: Scope) -> bool:
    """Return whether an HTTP request names loopback as its host.

    The Host header must name loopback, and an Origin header, if there is one, must name the same host. A page in the
    operator's browser could send requests to loopback, under a host name of its own that leads there. The port is not
    compared, because a proxy of ours may stand in between.
    """
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    return host.partition(":")[0] in ("127.0.0.1", "localhost") and headers.get("origin") in (None, f"http://{host}")
