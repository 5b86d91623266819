"""The web app's pages as HTTP: what a browser sends when the user signs in, saves, deploys, clicks and signs."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.studio import PageError

if TYPE_CHECKING:
    from runbook_lib.rehearsal.web import Web

Action = Callable[..., Any]


def routes(web: Web) -> list[Route]:
    """Every page; all but the sign-in need ``Authorization: Bearer`` with the session that it gives."""
    sessions: dict[str, str] = {}
    studio, deploying, wallets = web.studio, web.deploying, web.wallets

    def sign_in(_: str, email: str) -> dict[str, str]:
        session = secrets.token_urlsafe(24)
        sessions[session] = studio.sign_in(email)
        return {"session": session, "user_id": sessions[session]}

    def deploy(user: str, skill: str, *, confirmed: bool = False, **choice: Any) -> dict[str, Any]:
        if web.broken:
            raise RuntimeError(web.broken)
        if not confirmed:
            raise PageError(400, "check the confirmation box")
        return deploying.create(user, skill, **choice)

    def deploy_page(user: str, skill: str, wallet: str = "") -> dict[str, Any]:
        shared = deploying.shares_margin(wallet)
        return {"skill": studio.skill(user, skill), "agents": deploying.agents(user), "cross_margin_warning": shared}

    pages: list[tuple[str, str, Action]] = [
        ("POST", "/auth/sign-in", sign_in),
        ("POST", "/skills", studio.create),
        ("GET", "/skills/{skill}", studio.skill),
        ("POST", "/skills/{skill}/versions", studio.save),
        ("POST", "/skills/{skill}/backtests", lambda *a, **k: {"sim_run_id": studio.backtest(*a, **k)}),
        ("GET", "/skills/{skill}/deploy", deploy_page),
        ("POST", "/skills/{skill}/deploy", deploy),
        ("GET", "/deployments/{deployment}", deploying.page),
        ("POST", "/deployments/{deployment}/commands", lambda *a, **k: {"command_id": deploying.command(*a, **k)}),
        ("POST", "/deployments/{deployment}/revoke", deploying.revoke),
        ("GET", "/wallets/{address}/message", lambda _, address: {"message": wallets.message(address)}),
        ("POST", "/wallets", wallets.pair),
        ("POST", "/wallets/{address}/agents", wallets.propose),
        ("POST", "/agents/approve", wallets.approve),
    ]
    return [Route(path, _handler(web, sessions, action), methods=[method]) for method, path, action in pages]


def _handler(web: Web, sessions: dict[str, str], action: Action) -> Callable[[Request], Any]:
    async def handle(request: Request) -> Response:
        try:
            user = sessions.get(request.headers.get("authorization", "").removeprefix("Bearer "), "")
            if not user and request.url.path != "/auth/sign-in":
                raise PageError(401, "sign in first")
            sent = {**request.query_params, **(await request.json() if await request.body() else {})}
            answer = await run_in_threadpool(action, user, **{**sent, **request.path_params})
            status, level, text = 200, "info", ""
        except (PageError, TypeError) as problem:
            status, level, text = getattr(problem, "status", 400), "warning", str(problem)
        except (RuntimeError, psycopg.Error) as problem:
            status, level, text = 500, "error", str(problem).partition("\n")[0]
        path, method = request.url.path, request.method
        web.world.vercel.log(level, text or f"{method} {path}", path=path, status=status, method=method)
        if status == 500:
            return JSONResponse({"error": "internal error"}, 500)  # the reason is in the function's log
        return JSONResponse({"error": text} if text else answer, status)

    return handle
