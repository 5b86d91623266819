"""Judge whether the heartbeat sweep runs often enough. Either a cron at Vercel or a machine at Fly runs the sweep."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, SWEEP_PATH, longest_gap
from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.commands.expectations import Expectation, Finding, each, not_null, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.settings.profiles import Settings


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
