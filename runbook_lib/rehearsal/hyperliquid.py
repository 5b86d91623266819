"""The stand-in exchange over HTTP and WebSocket: ``POST /info``, ``POST /exchange``, ``/ws``, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.answers import ANSWERS

if TYPE_CHECKING:
    from starlette.requests import Request

    from runbook_lib.rehearsal.exchange import Exchange

UNREADABLE = "Failed to deserialize the JSON body into the target type"  # the venue's text, HTTP 422


async def unknown_route(request: Request, error: Exception) -> Response:
    """Name the route nobody plays."""
    return JSONResponse({"error": f"no route {request.method} {request.url.path}"}, status_code=404)


def app(exchange: Exchange) -> Starlette:
    """Serve one exchange."""

    async def info(request: Request) -> Response:
        try:
            ask: Any = await request.json()
        except ValueError:
            return PlainTextResponse("Failed to parse the request body as JSON", status_code=400)
        answer = ANSWERS.get(str(ask.get("type"))) if isinstance(ask, dict) else None
        if answer is None:
            return PlainTextResponse(UNREADABLE, status_code=422)
        return JSONResponse(answer(exchange, ask))

    return Starlette(routes=[Route("/info", info, methods=["POST"])], exception_handlers={404: unknown_route})
