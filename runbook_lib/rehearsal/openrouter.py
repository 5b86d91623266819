"""Stand in for OpenRouter, which says how much the runners' key has spent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
from starlette.applications import Starlette

from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application
from runbook_lib.rehearsal.world.world import World

LIMIT = 100.0  # US dollars a month
# What was spent with the user's own keys at the providers, which OpenRouter does not charge.
OWN_PROVIDERS = ("byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly")
RATE_LIMIT = {"interval": "10s", "note": "This field is deprecated and safe to ignore.", "requests": -1}
SPENT = "select coalesce(sum(cost_usd), 0) as usd from public.decision_snapshots where tick_at >= %(since)s"


class OpenRouter:
    """The stand-in of OpenRouter. It reports what the runners have spent, times ``factor``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.factor = 1.0
        self.left: float | None = None  # US dollars of its limit the key has left, whatever was spent
        self.expires_in: float | None = None  # seconds the key has to live
        self.others = 0.0  # US dollars that others have spent with the same key
        self.own_keys = False  # whether every call is paid with keys that the user has at the models' providers
        self.limited = True

    def usage(self, since: datetime) -> float:
        """Return the US dollars that OpenRouter has charged since the time ``since``.

        Return 0 while the database has no tables.
        """
        try:
            [row] = self.world.query(SPENT, {"since": since})
        except psycopg.errors.UndefinedTable:
            return 0.0
        return float(row["usd"]) * self.factor + self.others

    def key(self) -> Json:
        """Return OpenRouter's answer about the key: its limit, and its spending this day, week and month (UTC)."""
        day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        monthly = self.usage(day.replace(day=1))
        limit = LIMIT if self.left is None else monthly + self.left
        expires = None if self.expires_in is None else datetime.now(UTC) + timedelta(seconds=self.expires_in)
        answer = {
            "label": f"{self.world.secret('OPENROUTER_API_KEY')[:12]}...", "creator_user_id": "user_rehearsal",
            "limit": limit, "limit_remaining": limit - monthly, "limit_reset": "monthly",
            "usage": self.usage(datetime(2000, 1, 1, tzinfo=UTC)), "usage_daily": self.usage(day),
            "usage_weekly": self.usage(day - timedelta(days=day.weekday())), "usage_monthly": monthly,
            **dict.fromkeys(OWN_PROVIDERS, 0), "rate_limit": RATE_LIMIT,
            "is_free_tier": False, "is_management_key": False, "is_provisioning_key": False,
            "include_byok_in_limit": False, "expires_at": expires.isoformat() if expires else None,
        }  # fmt: skip
        if self.own_keys:
            paid = [name.removeprefix("byok_") for name in OWN_PROVIDERS]
            answer |= {f"byok_{name}": answer[name] for name in paid} | dict.fromkeys(paid, 0.0)
        if not self.limited:
            answer |= dict.fromkeys(("limit", "limit_remaining", "limit_reset"))
        return answer


def app(openrouter: OpenRouter) -> Starlette:
    """Serve the part of openrouter.ai's HTTP API that the runners' key may use."""

    def admit(ask: Ask) -> None:
        if ask.bearer != openrouter.world.secret("OPENROUTER_API_KEY"):
            raise Refusal(401, "User not found." if ask.bearer else "Missing Authentication header")

    def credits_left(_: Ask) -> Json:
        raise Refusal(403, "Only management keys can fetch credits for an account")

    endpoints: dict[str, Endpoint] = {
        "GET /api/v1/key": lambda _: {"data": openrouter.key()},
        "GET /api/v1/credits": credits_left,
    }
    return application("openrouter", endpoints, admit=admit)
