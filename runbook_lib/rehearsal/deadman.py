"""Stand in for the dead man's service, an outside address that a watch (``./runbook watch``) calls after every good
round.
"""

from __future__ import annotations

from starlette.applications import Starlette

from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Refusal, application


def app(check: str) -> Starlette:
    """Serve the address of the dead man's service that a watch (``./runbook watch``) calls.

    The secret name in the address is the only credential.
    """

    async def ping(ask: Ask) -> str:
        if ask.parts["check"] != check:
            raise Refusal(404, "not found")
        return "OK"

    endpoints: dict[str, Endpoint] = {"GET /{check}": ping}
    return application("deadman", endpoints)
