"""Judge the web app at Vercel: the deployment that serves production, the request log and the cron jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.checklist.web_app_variables import in_production
from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.commands.expectations import Expectation, Finding, newer, over_all, over_each
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JOBS = "/api/jobs/"  # where the web app's cron endpoints are
OK = range(200, 300)
SHOWN = 5  # failed calls in a complaint
UNREAD = "Vercel's request log, which is not documented, tells nothing"


def serves() -> Expectation:
    """Expect that a deployment of the web app serves production, and that the reply names Vercel's project and its
    owner.

    The newest deployment may not be the one that serves: after a rollback, or while the newest is staged, an older one
    does.
    """

    def test(project: Reply) -> Finding:
        row = project.rows[0] if project.rows else {}
        targets = row.get("targets")
        serving = targets.get("production") if isinstance(targets, dict) else None
        if not isinstance(serving, dict) or not serving.get("id"):
            return Finding("", "no deployment serves production")
        if not row.get("id") or not row.get("accountId"):
            return Finding("", "Vercel's answer names no project, or no owner of it")
        seen = f"{serving['id']} {serving.get('readyState')}"
        return Finding(seen, None if serving.get("readyState") == "READY" else f"{seen}: expected READY")

    return over_each("a deployment serves production", test)


def younger_than_variables() -> Expectation:
    """Expect that the web app's serving deployment is newer than the last change of any production variable.

    Replies: ``targets.production`` of the project, and the project's variables.
    """
    later = newer("createdAt", than="updatedAt", name="key")

    def test(replies: Sequence[Reply]) -> Finding:
        serving, variables = replies
        rows = tuple(dict(row) for row in in_production(variables).values())
        return later.judge([serving, replace(variables, rows=rows)])

    return over_all("what serves is younger than every variable of production", test)


def request_log(project: Reply, since: str, until: str, ahead: float = 0.0) -> Http:
    """Ask Vercel for the web app's newest requests from ``since`` to ``until`` (or ``now``), as ``vercel logs`` does.

    The log that Vercel documents streams new lines only, and cannot show the past.

    ``ahead`` is how many seconds after ``until`` the last request may come, for a check that waits for one.
    """
    if not project.rows or not {"id", "accountId"} <= project.rows[0].keys():
        raise ConfigError("Vercel's answer names no project and no owner of it: the request log cannot be asked for")
    start, end = _milliseconds(since, project), _milliseconds(until, project) + round(ahead * 1000)
    return http(
        "vercel_logs",
        "GET /api/logs/request-logs",
        query={
            "projectId": project.value("id"),
            "ownerId": project.value("accountId"),
            "environment": "production",
            "startDate": start,
            "endDate": end,
            "page": 0,
        },
    )


def _milliseconds(moment: str, asked: Reply) -> int:
    at = asked.at if moment == "now" else datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()
    return round(at * 1000)


def crons_healthy() -> Expectation:
    """Expect that the web app's cron jobs are switched on and were called, and that no call failed.

    Replies: the project's crons, and the `request_log`. If the log is refused or holds no call, the verdict is unknown.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        project, log = replies
        crons = project.rows[0] if project.rows else {}
        if project.error or crons.get("disabledAt") is not None or not crons.get("definitions"):
            why = project.error or f"disabledAt {crons.get('disabledAt')}"
            return Finding("", f"the cron jobs are switched off ({why})")
        requests = logged_requests(log)
        if requests is None:
            return Finding("switched on", f"{UNREAD}: {log.error or 'it has no rows and hasMoreRows'}", unsure=True)
        calls = [row for row in requests if str(row.get("requestPath")).startswith(JOBS)]
        if failed := [f"{row.get('requestPath')} ended with {row.get('statusCode')}" for row in calls if _failed(row)]:
            return Finding("switched on", "; ".join(failed[:SHOWN]))
        more = ", and older ones that were not looked at" if log.value("hasMoreRows") else ""
        seen = f"switched on; {len(calls)} calls in the log's last {len(requests)} requests{more}"
        return Finding(seen, None if calls else f"{seen}: whether a job runs is not known", unsure=not calls)

    return Expectation("cron jobs run and none fails", test)


def logged_requests(log: Reply) -> list[dict[str, Any]] | None:
    """Return the web app's requests from a reply to `request_log`. Return None if the reply cannot be read."""
    row = log.rows[0] if log.rows else {}
    requests = row.get("rows")
    if log.error or not isinstance(requests, list | tuple) or not isinstance(row.get("hasMoreRows"), bool):
        return None
    return [request for request in requests if isinstance(request, dict)]


def _failed(call: Mapping[str, Any]) -> bool:
    lines = call.get("logs")
    levels = [line.get("level") for line in lines if isinstance(line, dict)] if isinstance(lines, list | tuple) else []
    return call.get("statusCode") not in OK or bool({"error", "fatal"} & set(levels))
