"""Variables, deployments, crons and logs behave as the vendor's where a client could notice."""

from __future__ import annotations

import json
import time
from datetime import datetime

import httpx
import pytest

from runbook_lib.rehearsal.vercel.project import due
from runbook_lib.rehearsal.vercel.vercel_api import SENSITIVE
from tests.rehearsal.conftest import client, eventually

PROJECT = "/v9/projects/agentic-trading"
ENV = "/v10/projects/agentic-trading/env"


def variable(key, value="1", kind="plain", **more):
    return {"key": key, "value": value, "type": kind, "target": ["production"], **more}


def variables(vercel, **query):
    return {one["key"]: one for one in vercel.get(ENV, params=query).raise_for_status().json()["envs"]}


def newest(vercel, **query):
    asked = {"projectId": "agentic-trading", "target": "production", "limit": 1, **query}
    return vercel.get("/v6/deployments", params=asked).raise_for_status().json()["deployments"][0]


def serving(vercel):
    return vercel.get(PROJECT).raise_for_status().json()["targets"]["production"]


def redeploy(vercel):
    body = {"name": "agentic-trading", "deploymentId": newest(vercel)["uid"], "target": "production"}
    made = vercel.post("/v13/deployments", json=body).raise_for_status().json()
    eventually(lambda: vercel.get(f"/v13/deployments/{made['id']}").json()["readyState"] == "READY")
    return made


def test_a_new_project_has_the_integrations_variables_and_a_deployment(vercel):
    assert {"SUPABASE_URL", "POSTGRES_PASSWORD", "NEXT_PUBLIC_SUPABASE_ANON_KEY"} <= set(variables(vercel))
    assert newest(vercel, state="READY")["readySubstate"] == "PROMOTED"


def test_crons_come_from_the_live_deployment(vercel):
    crons = vercel.get(PROJECT).json()["crons"]
    assert crons["deploymentId"] == newest(vercel, state="READY")["uid"]
    assert crons["disabledAt"] is None
    assert [(one["path"], one["schedule"]) for one in crons["definitions"]] == [
        ("/api/jobs/heartbeat-sweep", "0 3 * * *"),
        ("/api/jobs/pending-agents-gc", "0 4 * * *"),
    ]


def test_a_sensitive_value_never_comes_back(vercel):
    created = vercel.post(ENV, json=variable("HIDDEN", "secret", "sensitive"), params={"upsert": "true"}).json()
    assert created["created"]["value"] == ""
    assert variables(vercel, decrypt="true")["HIDDEN"]["value"] == ""
    alone = vercel.get(f"/v1/projects/agentic-trading/env/{created['created']['id']}").json()
    assert (alone["value"], alone["decrypted"]) == ("", False)


def test_an_encrypted_value_comes_back_when_asked_for(vercel, rehearsal):
    assert variables(vercel)["SUPABASE_URL"]["value"] != rehearsal.environment["SUPABASE_URL"]
    assert variables(vercel, decrypt="true")["SUPABASE_URL"]["value"] == rehearsal.environment["SUPABASE_URL"]


def test_one_variable_that_is_there_is_refused(vercel):
    vercel.post(ENV, json=variable("TWICE"), params={"upsert": "true"})
    reply = vercel.post(ENV, json=variable("TWICE"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "ENV_CONFLICT")


def test_variables_of_one_name_live_side_by_side_in_places_of_their_own(vercel, rehearsal):
    places = {"target": ["preview"]}, {"target": [], "customEnvironmentIds": ["env_staging"]}
    made = [vercel.post(ENV, json=variable("SCOPED", "1", **place)).raise_for_status() for place in places]
    made.append(vercel.post(ENV, json=variable("SCOPED", "2")).raise_for_status())
    ids = {reply.json()["created"]["id"] for reply in made}
    assert len(ids) == 3
    for identifier in ids:
        vercel.delete(f"/v9/projects/agentic-trading/env/{identifier}").raise_for_status()


def test_what_is_sensitive_stays_sensitive(vercel):
    made = vercel.post(ENV, json=variable("GUARDED", "1", "sensitive"), params={"upsert": "true"}).json()["created"]
    reply = vercel.post(ENV, json=variable("GUARDED", "2", "plain"), params={"upsert": "true"})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, SENSITIVE)
    several = vercel.post(ENV, json=[variable("GUARDED", "2", "plain")], params={"upsert": "true"}).json()
    assert (several["created"], several["failed"][0]["error"]["envVarKey"]) == ([], "GUARDED")
    assert vercel.post(ENV, json=variable("GUARDED", "2", "sensitive"), params={"upsert": "true"}).status_code == 201
    vercel.delete(f"/v9/projects/agentic-trading/env/{made['id']}").raise_for_status()


def test_a_failure_comes_with_201(vercel):
    vercel.post(ENV, json=variable("TWICE"), params={"upsert": "true"})
    reply = vercel.post(ENV, json=[variable("TWICE"), variable("ONCE_MORE")])
    assert reply.status_code == 201
    assert [one["key"] for one in reply.json()["created"]] == ["ONCE_MORE"]
    assert reply.json()["failed"][0]["error"]["envVarKey"] == "TWICE"
    vercel.delete(f"/v9/projects/agentic-trading/env/{reply.json()['created'][0]['id']}").raise_for_status()


def test_an_upsert_changes_the_value_and_its_time_but_not_its_identity(vercel):
    first = vercel.post(ENV, json=variable("CHANGING"), params={"upsert": "true"}).json()["created"]
    second = vercel.post(ENV, json=variable("CHANGING", "2"), params={"upsert": "true"}).json()["created"]
    assert (first["id"], second["value"]) == (second["id"], "2")
    assert second["updatedAt"] >= first["updatedAt"]
    patched = vercel.patch(f"/v9/projects/agentic-trading/env/{first['id']}", json={"value": "3"}).json()
    assert patched["value"] == "3"


def test_a_variable_without_a_target_is_refused(vercel):
    reply = vercel.post(ENV, json={"key": "A", "value": "b", "type": "plain"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "bad_request")


def test_a_redeploy_builds_for_a_moment_and_takes_the_variables_of_its_beginning(vercel, rehearsal):
    before = newest(vercel, state="READY")
    changed = vercel.post(ENV, json=variable("CRON_SECRET", "a" * 64, "sensitive"), params={"upsert": "true"}).json()
    bearer = {"authorization": f"Bearer {'a' * 64}"}
    with client(rehearsal, "web") as web:
        assert web.get("/api/jobs/heartbeat-sweep", headers=bearer).status_code == 401
        made = redeploy(vercel)
        assert made["readyState"] == "BUILDING"
        assert web.get("/api/jobs/heartbeat-sweep", headers=bearer).status_code != 401
    assert newest(vercel, state="READY")["created"] > max(before["created"], changed["created"]["updatedAt"] - 1)
    vercel.delete(f"/v9/projects/agentic-trading/env/{changed['created']['id']}").raise_for_status()
    redeploy(vercel)


def test_a_cron_can_be_run_by_hand_and_appears_in_the_runtime_log(vercel):
    path = {"path": "/api/jobs/heartbeat-sweep", "schedule": "0 3 * * *"}
    assert vercel.post("/v1/projects/agentic-trading/crons/run", json=path).json()["invocationAt"] > 0
    logs = f"/v1/projects/agentic-trading/deployments/{serving(vercel)['id']}/runtime-logs"
    with vercel.stream("GET", logs) as reply:
        assert reply.headers["content-type"].startswith("application/stream+json")
        assert vercel.post("/v1/projects/agentic-trading/crons/run", json=path).status_code == 200
        line = json.loads(next(reply.iter_lines()))
    assert line["requestPath"] == "/api/jobs/heartbeat-sweep"
    assert line["responseStatusCode"] == 401  # no CRON_SECRET is set yet, so Vercel has none to send


def test_the_runtime_log_tells_nothing_of_the_past_and_the_request_log_does(vercel, rehearsal):
    before = time.time_ns() // 1_000_000
    with client(rehearsal, "web") as web:
        web.get("/api/jobs/pending-agents-gc")
    logs = f"/v1/projects/agentic-trading/deployments/{serving(vercel)['id']}/runtime-logs"
    with vercel.stream("GET", logs, timeout=1) as reply, pytest.raises(httpx.ReadTimeout):
        next(reply.iter_lines())
    project = vercel.get(PROJECT).json()
    asked = {"projectId": project["id"], "ownerId": project["accountId"], "startDate": before, "page": 0}
    with client(rehearsal, "vercel_logs", "VERCEL_TOKEN") as history:
        assert history.get("/api/logs/request-logs", params=asked).status_code == 400
        found = history.get("/api/logs/request-logs", params=asked | {"endDate": before + 60_000}).json()
    row = next(row for row in found["rows"] if row["requestPath"] == "/api/jobs/pending-agents-gc")
    assert (row["statusCode"], row["deploymentId"], found["hasMoreRows"]) == (401, serving(vercel)["id"], False)


def test_what_serves_is_what_was_promoted_last_not_what_is_newest(vercel, rehearsal):
    first = serving(vercel)["id"]
    second = redeploy(vercel)["id"]
    assert serving(vercel)["id"] == second
    assert vercel.post(f"/v1/projects/agentic-trading/rollback/{first}").status_code == 201
    staged = redeploy(vercel)["id"]
    assert (serving(vercel)["id"], newest(vercel, state="READY")["readySubstate"]) == (first, "STAGED")
    assert vercel.post(f"/v10/projects/agentic-trading/promote/{staged}").status_code == 201
    assert serving(vercel)["id"] == staged


def test_a_project_in_a_team_is_found_by_naming_the_team(vercel, rehearsal):
    token = {"authorization": f"Bearer {rehearsal.environment['VERCEL_TOKEN']}"}
    for path in (PROJECT, ENV, "/v7/deployments?projectId=agentic-trading"):
        nowhere = httpx.get(rehearsal.addresses["vercel"] + path, headers=token)
        assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found"), path
        assert httpx.get(nowhere.url.copy_merge_params({"teamId": "team_other"}), headers=token).status_code == 403


def test_the_account_and_the_team_that_the_vendors_command_line_asks_for_first(vercel):
    assert vercel.get("/v2/user").json()["user"]["id"].startswith("user_")
    assert vercel.get("/teams/team_rehearsal").json()["slug"] == "rehearsal"
    assert vercel.get("/v2/teams/team_other").status_code == 404
    for version in ("v1", "v2"):
        [team] = vercel.get(f"/{version}/teams", params={"limit": 20}).json()["teams"]
        assert (team["id"], team["slug"]) == ("team_rehearsal", "rehearsal")
    [project] = vercel.get("/v9/projects").json()["projects"]
    assert project["accountId"] == team["id"]


def test_a_pull_has_the_variables_of_its_environment_and_no_sensitive_value(vercel, rehearsal):
    made = vercel.post(ENV, json=variable("GUARDED_PULL", "1", "sensitive")).json()["created"]
    pulled = vercel.get("/v3/env/pull/agentic-trading/production").json()["env"]
    assert pulled["SUPABASE_URL"] == rehearsal.environment["SUPABASE_URL"]
    assert pulled["GUARDED_PULL"] == ""
    assert vercel.get("/v3/env/pull/agentic-trading/preview").json()["env"] == {"HYPERLIQUID_LIVE_ENABLED": "false"}
    vercel.delete(f"/v9/projects/agentic-trading/env/{made['id']}").raise_for_status()


@pytest.mark.parametrize("token", ["", "Bearer wrong"])
def test_a_bad_token_is_forbidden_in_the_vendors_words(rehearsal, token):
    reply = httpx.get(rehearsal.addresses["vercel"] + PROJECT, headers={"authorization": token})
    assert reply.status_code == 403
    assert reply.json()["error"] == {"code": "forbidden", "message": "Not authorized", "invalidToken": True}


def test_another_project_and_an_unknown_route_are_not_found(vercel):
    assert vercel.get("/v9/projects/other").json()["error"]["message"] == "Project not found."
    assert "api.vercel.com knows no GET /v99/projects" in vercel.get("/v99/projects").json()["error"]


@pytest.mark.parametrize(
    ("schedule", "after", "until", "runs"),
    [
        ("*/5 * * * *", "10:04:59.6", "10:05:00.1", 1),
        ("*/5 * * * *", "10:05:00.1", "10:05:00.6", 0),
        ("0 3 * * *", "02:59:59.9", "03:00:00.4", 1),
        ("0 3 * * *", "10:04:59.9", "10:05:00.4", 0),
    ],
)
def test_a_cron_is_due_once_when_its_minute_begins(schedule, after, until, runs):
    began, ended = (datetime.fromisoformat(f"2026-11-22T{text}00000+00:00") for text in (after, until))
    assert due([{"path": "/job", "schedule": schedule}], began, ended) == ["/job"] * runs
