"""Serve the request log of vercel.com over HTTP.

``vercel logs`` reads this API, though no specification lists the API.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.applications import Starlette

from runbook_lib.rehearsal.vercel.project import Vercel
from runbook_lib.rehearsal.vercel.vercel_api import admit
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application

PAGE = 100  # requests in a reply
REQUIRED = ("projectId", "ownerId", "startDate", "endDate", "page")


def app(vercel: Vercel) -> Starlette:
    """Serve Vercel's log of the requests between two times (milliseconds).

    The newest request comes first, and each call returns one page.
    """

    async def rows(ask: Ask) -> Json:
        if missing := [name for name in REQUIRED if name not in ask.query]:
            raise Refusal(400, f"Invalid request: missing required property `{missing[0]}`.", "bad_request")
        if ask.query["ownerId"] != vercel.world.names.vercel_team or ask.query["projectId"] != vercel.project_id:
            raise Refusal(404, "Project not found.", "not_found")
        requests = list(_requests(vercel, ask))
        start = int(ask.query["page"]) * PAGE
        return {"rows": requests[start : start + PAGE], "hasMoreRows": len(requests) > start + PAGE}

    endpoints: dict[str, Endpoint] = {"GET /api/logs/request-logs": rows}
    return application("vercel_logs", endpoints, admit=lambda ask: admit(vercel, ask))


def _requests(vercel: Vercel, ask: Ask) -> Iterable[Json]:
    """Yield a row for each request in Vercel's log, with the lines that the web app wrote while answering it."""
    if ask.query.get("environment", "production") != "production":
        return
    for line in reversed(vercel.logs):
        if int(ask.query["startDate"]) <= line["timestampInMs"] <= int(ask.query["endDate"]):
            yield {
                "requestId": line["rowId"], "timestamp": line["timestampInMs"], "deploymentId": line["deploymentId"],
                "environment": "production", "domain": line["domain"], "requestMethod": line["requestMethod"],
                "requestPath": line["requestPath"], "statusCode": line["responseStatusCode"],
                "logs": [{"level": line["level"], "message": line["message"]}],
            }  # fmt: skip
