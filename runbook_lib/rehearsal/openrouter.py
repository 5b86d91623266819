"""OpenRouter's stand-in: what the runner's key has spent (facts 5)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.serving import application
from runbook_lib.rehearsal.world import World

SPENT = "select coalesce(sum(cost_usd), 0) as usd from public.decision_snapshots where tick_at >= %(since)s"


class OpenRouter:
    """Spending as the vendor counts it: what the runners spent, times ``factor``, plus ``extra`` US dollars."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.factor = 1.0
        self.extra = 0.0
        self.limit: float | None = 100.0  # US dollars a month
        self.expires_at: str | None = None

    def usage(self, since: datetime) -> float:
        """US dollars spent since a moment; nothing where the platform has no tables yet."""
        try:
            [row] = self.world.query(SPENT, {"since": since})
        except psycopg.errors.UndefinedTable:
            return self.extra
        return float(row["usd"]) * self.factor + self.extra

    def key(self) -> dict[str, Any]:
        """The key's data, with usage by UTC calendar period."""
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        monthly = self.usage(day.replace(day=1))
        return {
            "label": f"{self.world.secret('OPENROUTER_API_KEY')[:12]}...",
            "limit": self.limit,
            "limit_remaining": None if self.limit is None else self.limit - monthly,
            "limit_reset": None if self.limit is None else "monthly",
            "usage": self.usage(datetime(2000, 1, 1, tzinfo=UTC)),
            "usage_daily": self.usage(day),
            "usage_weekly": self.usage(day - timedelta(days=day.weekday())),
            "usage_monthly": monthly,
            "byok_usage": 0,
            "is_free_tier": False,
            "is_management_key": False,
            "is_provisioning_key": False,
            "include_byok_in_limit": False,
            "expires_at": self.expires_at,
            "creator_user_id": "user_rehearsal",
        }


def app(openrouter: OpenRouter) -> Starlette:
    """The HTTP of openrouter.ai, as far as a runner's key may see."""

    def refusal(request: Request) -> Response | None:
        sent = request.headers.get("authorization", "")
        if not sent.startswith("Bearer "):
            return _error(401, "Missing Authentication header")
        if sent.removeprefix("Bearer ") != openrouter.world.secret("OPENROUTER_API_KEY"):
            return _error(401, "User not found.")
        return None

    def key(request: Request) -> Response:
        return refusal(request) or JSONResponse({"data": openrouter.key()})

    def credits_left(request: Request) -> Response:
        return refusal(request) or _error(403, "Only management keys can fetch credits for an account")

    return application(Route("/api/v1/key", key), Route("/api/v1/credits", credits_left))


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "code": status}}, status)
