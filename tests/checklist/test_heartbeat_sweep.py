"""The heartbeat sweep: who runs it, how often, and what is no schedule at all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.checklist.heartbeat_sweep import paused_swept, scheduled, sweep_called, sweep_command, sweep_runs
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import judge
from runbook_lib.settings.profiles import load
from tests.judging import can_fail, complaint, of

SWEEP, GC = "/api/jobs/heartbeat-sweep", "/api/jobs/pending-agents-gc"


def crons(sweep: Any, gc: Any = "0 4 * * *") -> Reply:
    return of({"path": SWEEP, "schedule": sweep}, {"path": GC, "schedule": gc})


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 3 * * *", "at most 1440 minutes apart (phase 2 stays closed: it needs 15 minutes)"),
        ("*/5 * * * *", "at most 5 minutes apart (tight enough for phase 2)"),
        ("*/15 * * * *", "at most 15 minutes apart (tight enough for phase 2)"),
        ("*/16 * * * *", "at most 16 minutes apart (phase 2 stays closed"),
        ("*/5 * * * 1-5", "at most 2885 minutes apart (phase 2 stays closed"),
        ("*/5 8-18 * * *", "phase 2 stays closed"),
        ("*/5 * * 1-11 *", "phase 2 stays closed"),
    ],
)
def test_a_schedule_is_shown_with_what_it_means_for_phase_2(schedule: str, words: str) -> None:
    found = judge(scheduled(SWEEP, GC), [crons(schedule)])
    assert found.complaint is None
    assert words in found.seen
    assert "pending-agents-gc next runs " in found.seen
    assert can_fail(scheduled(SWEEP, GC), crons(schedule))


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        "",
        "never",
        "* * * *",
        "* * * * * *",
        "0 0 30 2 *",
        "61 * * * *",
        "*/0 * * * *",
        "@daily",
        5,
        "9" * 5000 + " * * * *",
    ],
)
def test_what_is_no_schedule_is_complained_of(schedule: Any) -> None:
    assert f"{SWEEP}: {str(schedule)!r} is not a cron schedule" == complaint(scheduled(SWEEP, GC), crons(schedule))


def test_a_cron_that_is_not_there_is_named() -> None:
    assert complaint(scheduled(SWEEP, GC), of({"path": GC, "schedule": "0 4 * * *"})) == f"no cron for {SWEEP}"
    assert complaint(scheduled(SWEEP), of({"path": [SWEEP], "schedule": "0 4 * * *"}, {})) == f"no cron for {SWEEP}"


@given(
    st.text(max_size=20)
    | st.text("0123456789*/-,L# JANMON", max_size=16)
    | st.lists(st.text("0159*/-,L#W", max_size=4), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_a_schedule_or_is_said_to_be_none(schedule: str) -> None:
    found = judge(scheduled(SWEEP), [crons(schedule)])
    assert found.complaint is None or found.complaint.endswith("is not a cron schedule")
    assert found.complaint or "next runs" in found.seen


@pytest.mark.parametrize(
    ("sweep", "path", "good", "bad"),
    [
        (
            "vercel",
            "/v9/projects/{vercel.project}",
            {"disabledAt": None, "deploymentId": "dpl_1"},
            [{"disabledAt": 5, "deploymentId": "dpl_1"}, {"disabledAt": None, "deploymentId": None}],
        ),
        ("fly:jobs", "/v1/apps/jobs/machines", {"id": "m", "state": "started"}, [{"id": "m", "state": "stopped"}]),
    ],
)
def test_what_runs_the_sweep_is_asked_where_the_profile_says(
    sweep: str, path: str, good: dict[str, Any], bad: list[dict[str, Any]]
) -> None:
    chosen = load("rehearsal")
    chosen = chosen.model_copy(update={"web": chosen.web.model_copy(update={"sweep": sweep})})
    assert sweep_command(chosen).path == path
    assert sweep_command(chosen).read_only
    assert complaint(sweep_runs(chosen), of(good)) == ""
    assert can_fail(sweep_runs(chosen), of(good))
    assert all(complaint(sweep_runs(chosen), of(row)) for row in bad)
    assert complaint(sweep_runs(chosen), of())


@pytest.mark.parametrize(
    ("row", "seen"),
    [
        ({"status": "paused", "error_text": None}, "passes paused deployments over"),
        ({"status": "error", "error_text": "heartbeat lost: last seen then"}, "looks at paused deployments, too"),
        ({"status": "error", "error_text": "gone"}, ""),
        ({"status": "running", "error_text": None}, ""),
    ],
)
def test_whether_the_sweep_looks_at_paused_deployments_is_found_out(row: dict[str, Any], seen: str) -> None:
    finding = judge(paused_swept(), [of(row)])
    assert seen in finding.seen and bool(finding.complaint) == (not seen)
    assert can_fail(paused_swept(), of(row)) and complaint(paused_swept(), of())


def calls(*ages: float, path: str = SWEEP, more: bool = False) -> Reply:
    rows = [{"requestPath": path, "statusCode": 200, "timestamp": (10_000 - age) * 1000} for age in ages]
    return Reply(rows=({"rows": rows, "hasMoreRows": more},), at=10_000.0)


def defined(schedule: str = "*/5 * * * *", path: str = SWEEP) -> Reply:
    return of({"disabledAt": None, "definitions": [{"path": path, "schedule": schedule}]})


@pytest.mark.parametrize(
    ("project", "log", "says"),
    [
        (defined(), calls(30, 330), None),
        (defined(), calls(599), None),
        (defined(), calls(601, 4000), "newest call 601 s ago: expected 0 to 600"),
        (defined(), calls(-3600), "newest call -3600 s ago"),
        (defined(), calls(5, path=GC), f"no call of {SWEEP}"),
        (defined("*/15 * * * *"), calls(1799), None),
        (defined("0 3 * * *"), calls(5), "at most 15 are allowed"),
        (defined(path=GC), calls(5), f"no cron for {SWEEP}"),
    ],
)
def test_a_sweep_that_is_not_called_any_more_or_too_seldom_rings(project: Reply, log: Reply, says: str | None) -> None:
    said = judge(sweep_called(load("rehearsal")), [project, log]).complaint
    assert said is None if says is None else says in (said or "")


def test_a_page_of_the_log_without_a_sweep_is_unsure_if_there_is_an_older_page() -> None:
    log = calls(5, path=GC, more=True)
    assert judge(sweep_called(load("rehearsal")), [defined(), log]).unsure


def test_where_a_machine_at_fly_runs_the_sweep_vercel_is_not_asked_for_it() -> None:
    settings = load("rehearsal")
    other = settings.model_copy(update={"web": settings.web.model_copy(update={"sweep": "fly:agentic-jobs"})})
    assert judge(sweep_called(other), [defined(path=GC), calls(5, path=GC)]).complaint is None
