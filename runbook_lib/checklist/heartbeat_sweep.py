"""Judge whether the heartbeat sweep runs often enough. Either a cron at Vercel or a machine at Fly runs the sweep."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cronsim import CronSim, CronSimError

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, SWEEP_PATH, longest_gap
from runbook_lib.agentic_trading.venue_answers import number
from runbook_lib.checklist.web_app import logged_requests
from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.commands.expectations import Expectation, Finding, each, not_null, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings.profiles import Settings

MISSED = 2  # intervals of the sweep without a call: one call may be late, or be missed
SKEW = 60.0  # seconds by which Vercel's clock and ours may differ, and a call be under way


def sweep_command(settings: Settings) -> Http:
    """Ask whether the heartbeat sweep is on: ask for Vercel's crons, or for the Fly machine that runs the sweep
    (C34).
    """
    if settings.web.sweep == "vercel":
        return http("vercel", "GET /v9/projects/{vercel.project}", pick="crons")
    app = settings.web.sweep.removeprefix("fly:")
    return http("fly", f"GET /v1/apps/{app}/machines")


def sweep_runs(settings: Settings) -> Expectation:
    """Expect that the heartbeat sweep is on: Vercel's crons are enabled, or its Fly machine is started."""
    return each(disabledAt=None, deploymentId=not_null) if settings.web.sweep == "vercel" else each(state="started")


def scheduled(*paths: str, tight: bool = False) -> Expectation:
    """Expect that each path has a cron job whose schedule will come due.

    The finding says how often the heartbeat sweep runs (C9).

    ``tight``: each cron must run at least every 15 minutes, which trading with real money needs.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        schedules = {str(row.get("path")): str(row.get("schedule")) for row in replies[0].rows}
        missing = [path for path in paths if path not in schedules]
        bad = [f"no cron for {path}" for path in missing]
        seen = []
        for path in paths:
            if path in schedules:
                words, complaint = _explained(path, schedules[path], datetime.now(UTC), tight=tight)
                seen.append(words)
                bad += [complaint] if complaint else []
        return Finding("; ".join(seen), "; ".join(bad) or None)

    return over_all(f"crons for {', '.join(paths)}", test)


def sweep_schedule(settings: Settings) -> Http:
    """Ask for the heartbeat sweep's schedule: Vercel's cron definitions, or the Fly machine that runs the sweep
    (C34).
    """
    if settings.web.sweep == "vercel":
        return http("vercel", "GET /v9/projects/{vercel.project}", pick="crons.definitions")
    return sweep_command(settings)


def sweep_tight(settings: Settings) -> Expectation:
    """Expect that the heartbeat sweep runs often enough to notice a dead machine within 15 minutes."""
    return scheduled(SWEEP_PATH, tight=True) if settings.web.sweep == "vercel" else sweep_runs(settings)


def paused_swept() -> Expectation:
    """Find out whether the heartbeat sweep looks at paused deployments, too. Either is fine.

    Nothing documents which statuses it looks at. Reply: a row ``status`` and ``error_text`` of a paused deployment
    without a heartbeat, after a sweep.
    """

    def test(reply: Reply) -> Finding:
        row = reply.rows[0] if len(reply.rows) == 1 else {}
        if row.get("status") == "error" and str(row.get("error_text")).startswith("heartbeat lost:"):
            return Finding("the sweep looks at paused deployments, too")
        if row.get("status") == "paused":
            return Finding("the sweep passes paused deployments over: only 4.4h sees that a machine of theirs is gone")
        return Finding("", f"expected the row paused, or marked by the sweep; found {row or len(reply.rows)}")

    return over_each("whether the sweep looks at paused deployments", test)


def sweep_called(settings: Settings) -> Expectation:
    """Expect that Vercel still calls the heartbeat sweep on time: its cron is there, is tight, and its newest call is
    not older than `MISSED` of its longest intervals.

    Replies: the project's crons, and the `request_log`. A log that cannot be read is not judged here: `crons_healthy`
    says that it is unknown. Where a Fly machine runs the sweep, Vercel has no cron of it, and nothing is judged.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        if settings.web.sweep != "vercel":
            return Finding("Vercel does not run the sweep")
        project, log = replies
        definitions = project.rows[0].get("definitions") if project.rows else None
        schedules = [row for row in definitions or () if row.get("path") == SWEEP_PATH]
        finding = scheduled(SWEEP_PATH, tight=True).judge([replace(project, rows=tuple(schedules))])
        requests = logged_requests(log)
        if finding.complaint or requests is None:
            return finding
        limit = MISSED * longest_gap(str(schedules[0]["schedule"]), datetime.now(UTC))
        return _called(requests, log, limit)

    return over_all("the sweep is called on time", test)


def _called(requests: Sequence[Mapping[str, Any]], log: Reply, limit: float) -> Finding:
    """Judge the age of the sweep's newest call in Vercel's request log, in seconds."""
    ages = [
        log.at - (number(row.get("timestamp")) or 0) / 1000 for row in requests if row.get("requestPath") == SWEEP_PATH
    ]
    if not ages:
        unread = log.value("hasMoreRows")  # an older page may hold a call
        return Finding("", f"no call of {SWEEP_PATH} in the log's last {len(requests)} requests", unsure=bool(unread))
    newest = min(ages)
    seen = f"the sweep's newest call {newest:.0f} s ago"
    return Finding(seen, f"{seen}: expected 0 to {limit:.0f}" if not -SKEW <= newest <= limit else None)


def _explained(path: str, schedule: str, now: datetime, *, tight: bool) -> tuple[str, str | None]:
    try:
        following, gap = next(CronSim(schedule, now)), longest_gap(schedule, now)
    except (CronSimError, StopIteration, ValueError):  # ValueError: a number of thousands of digits
        return "", f"{path}: {schedule!r} is not a cron schedule"
    words = f"{path} next runs {following:%Y-%m-%dT%H:%MZ}"
    if path.endswith("heartbeat-sweep"):
        fit = "tight enough for phase 2" if gap <= SWEEP_LIMIT else "phase 2 stays closed: it needs 15 minutes"
        words += f", at most {gap / 60:.0f} minutes apart ({fit})"
    if tight and gap > SWEEP_LIMIT:
        return words, f"{path}: {schedule} leaves up to {gap / 60:.0f} minutes, at most {SWEEP_LIMIT // 60} are allowed"
    return words, None
