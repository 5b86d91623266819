"""Variables, deployments, crons and logs behave as the vendor's where a client could notice."""

from __future__ import annotations

import json
from datetime import datetime

import httpx
import pytest

from runbook_lib.rehearsal.vercel.project import due
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
    logs = f"/v1/projects/agentic-trading/deployments/{newest(vercel, state='READY')['uid']}/runtime-logs"
    with vercel.stream("GET", logs) as reply:
        assert reply.headers["content-type"].startswith("application/stream+json")
        line = json.loads(next(reply.iter_lines()))
    assert line["requestPath"] == "/api/jobs/heartbeat-sweep"
    assert line["responseStatusCode"] == 401  # no CRON_SECRET is set yet, so Vercel has none to send


@pytest.mark.parametrize("token", ["", "Bearer wrong"])
def test_a_bad_token_is_forbidden_in_the_vendors_words(rehearsal, token):
    reply = httpx.get(rehearsal.addresses["vercel"] + PROJECT, headers={"authorization": token})
    assert reply.status_code == 403
    assert reply.json()["error"] == {"code": "forbidden", "message": "Not authorized", "invalidToken": True}


def test_another_project_and_an_unknown_route_are_not_found(vercel):
    assert vercel.get("/v9/projects/other").json()["error"]["message"] == "Project not found."
    assert "GET /v99/projects" in vercel.get("/v99/projects").json()["error"]


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
