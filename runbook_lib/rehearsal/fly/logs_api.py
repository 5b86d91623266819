"""Serve the log API of api.fly.io, which differs from the Machines API in host and token scheme."""

from __future__ import annotations

from starlette.applications import Starlette

from runbook_lib.rehearsal.fly.apps import Fly
from runbook_lib.rehearsal.world.http_server import Ask, Json, Refusal, application


def app(fly: Fly) -> Starlette:
    """Serve a Fly app's logs to requests with a valid token. The token's scheme must be ``FlyV1``."""

    def admit(ask: Ask) -> None:
        # Bearer was a mistake of the vendor's documentation (superfly/docs issue 2264): this host refuses it.
        if not fly.allows(ask.token("FlyV1"), ask.parts.get("app")):
            raise Refusal(401, "You must be authenticated to view this.")

    async def logs(ask: Ask) -> Json:
        token = ask.query.get("next_token") or "0"
        lines = fly.app(ask.parts["app"]).page(ask.query.get("instance"), int(token) if token.isdigit() else 0)
        following = lines[-1]["id"] if lines else token if token != "0" else ""
        return {"data": lines, "meta": {"next_token": following}}

    return application("fly_logs", {"GET /api/v1/apps/{app}/logs": logs}, admit=admit)
