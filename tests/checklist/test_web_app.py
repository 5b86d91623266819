"""What serves production, what holds there, what its log tells, and who answers in its place."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.checklist import web_app
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Finding, judge
from runbook_lib.errors import ConfigError

PROJECT = {"id": "prj_1", "accountId": "team_1", "targets": {"production": {"id": "dpl_1", "readyState": "READY"}}}
SWEEP = "/api/jobs/heartbeat-sweep"
ON = {"disabledAt": None, "definitions": [{"path": SWEEP}]}


def answer(*rows: dict[str, Any], **fields: Any) -> Reply:
    return Reply(rows, **fields)


def variable(key: str, updated: int, **scope: Any) -> dict[str, Any]:
    return {"key": key, "updatedAt": updated, "target": ["production"], **scope}


# --- what serves


def test_what_serves_is_named_with_its_state() -> None:
    assert judge(web_app.serves(), [answer(PROJECT)]) == Finding("dpl_1 READY")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"targets": {}}, "no deployment serves production"),
        ({"targets": None}, "no deployment serves production"),
        ({"targets": {"production": {"id": "dpl_1", "readyState": "ERROR"}}}, "dpl_1 ERROR: expected READY"),
        ({"targets": {"production": {"id": "dpl_1"}}}, "dpl_1 None: expected READY"),
        ({"id": None}, "names no project"),
        ({"accountId": None}, "no owner"),
    ],
)
def test_a_project_without_what_is_needed_is_complained_of(change: dict[str, Any], complaint: str) -> None:
    assert complaint in (judge(web_app.serves(), [answer(PROJECT | change)]).complaint or "")


def test_no_answer_is_no_project() -> None:
    assert judge(web_app.serves(), [answer()]).complaint == "no deployment serves production"


# --- variables by scope


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"target": ["preview"]},
        {"target": "preview"},
        {"target": ["preview"], "gitBranch": "next"},
        {"target": ["development"]},
        {"target": [], "customEnvironmentIds": ["env_1"]},
        {"target": None},
    ],
)
def test_what_changed_for_another_environment_needs_no_redeploy(elsewhere: dict[str, Any]) -> None:
    serving = answer({"id": "dpl_1", "createdAt": 2000})
    rows = variable("CRON_SECRET", 1000), variable("CRON_SECRET", 3000, **elsewhere)

    for order in (rows, rows[::-1]):
        assert judge(web_app.younger_than_variables(), [serving, answer(*order)]).complaint is None


@pytest.mark.parametrize("target", [["production"], "production", ["preview", "production"]])
def test_what_changed_for_production_since_it_was_built_is_named(target: Any) -> None:
    serving = answer({"id": "dpl_1", "createdAt": 2000})
    changed = variable("CRON_SECRET", 3000, target=target)

    complaint = judge(web_app.younger_than_variables(), [serving, answer(changed)]).complaint or ""

    assert complaint.startswith("changed after") and "CRON_SECRET" in complaint


def test_without_a_variable_of_production_nothing_can_be_compared() -> None:
    rows = answer(variable("A", 1, target=["preview"]))
    assert judge(web_app.younger_than_variables(), [answer({"createdAt": 2}), rows]).complaint


# --- the request log


def log(*requests: dict[str, Any], more: bool = False) -> Reply:
    return answer({"rows": list(requests), "hasMoreRows": more})


def call(path: str = SWEEP, status: Any = 200, level: str = "info") -> dict[str, Any]:
    return {"requestPath": path, "statusCode": status, "logs": [{"level": level, "message": "x"}]}


def test_history_is_asked_for_by_project_owner_and_milliseconds() -> None:
    asked = web_app.request_log(Reply((PROJECT,), at=1763803000.5), "2026-11-22T10:00:00+00:00", "now")

    assert (asked.service, asked.path, asked.read_only) == ("vercel_logs", "/api/logs/request-logs", True)
    assert asked.query == {
        "projectId": "prj_1",
        "ownerId": "team_1",
        "environment": "production",
        "startDate": 1795341600000,
        "endDate": 1763803000500,
        "page": 0,
    }


def test_a_check_that_waits_for_a_request_asks_for_those_to_come() -> None:
    asked = web_app.request_log(Reply((PROJECT,), at=1763803000.5), "2026-11-22T10:00:00+00:00", "now", ahead=900.0)
    assert asked.query["endDate"] == 1763803900500


def test_without_a_project_there_is_no_history_to_ask_for() -> None:
    with pytest.raises(ConfigError, match="no owner"):
        web_app.request_log(answer({"id": "prj_1"}), "2026-11-22T10:00:00Z", "now")


def test_cron_jobs_that_were_called_and_went_well_are_healthy() -> None:
    found = judge(web_app.crons_healthy(), [answer(ON), log(call(), call("/skills", 500, "error"))])

    assert (found.complaint, found.seen) == (None, "switched on; 1 calls in the log's last 2 requests")


@pytest.mark.parametrize("failed", [call(status=500), call(status=401), call(status=None), call(level="error")])
def test_a_call_that_failed_rings(failed: dict[str, Any]) -> None:
    complaint = judge(web_app.crons_healthy(), [answer(ON), log(call(), failed)]).complaint
    assert complaint == f"{SWEEP} ended with {failed['statusCode']}"


@pytest.mark.parametrize("crons", [{}, {**ON, "disabledAt": 1}, {**ON, "definitions": []}])
def test_crons_that_are_switched_off_ring(crons: dict[str, Any]) -> None:
    found = judge(web_app.crons_healthy(), [answer(crons), log(call())])
    assert ("switched off" in (found.complaint or ""), found.unsure) == (True, False)


@pytest.mark.parametrize(
    "nothing",
    [
        answer(error="HTTP 403 Forbidden"),
        answer(),
        answer({"rows": [call()]}),
        answer({"logs": [call()], "pagination": {}}),
        log(),
        log(call("/skills")),
    ],
)
def test_a_log_that_is_refused_of_another_shape_or_quiet_proves_nothing(nothing: Reply) -> None:
    found = judge(web_app.crons_healthy(), [answer(ON), nothing])
    assert (found.unsure, bool(found.complaint)) == (True, True)


def test_a_log_that_goes_on_says_how_far_was_looked() -> None:
    assert (
        "older ones that were not looked at"
        in judge(web_app.crons_healthy(), [answer(ON), log(call(), more=True)]).seen
    )
