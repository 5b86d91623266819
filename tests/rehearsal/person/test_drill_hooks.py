"""What a drill keeps of the platform it can bring back: the database, and what is set outside it."""

from __future__ import annotations

import pytest

from runbook_lib.rehearsal.lifecycle import rehearse
from tests.rehearsal.conftest import client

SECRETS = "/v1/apps/agentic-live-runner/secrets"
VARIABLES = "/v10/projects/agentic-trading/env"


@pytest.fixture(scope="module")
def prepared():
    with rehearse(state="paper_ready") as running:
        yield running


def test_a_snapshot_brings_back_rows_variables_deployments_and_secrets(prepared):
    with (
        client(prepared, "person", "REHEARSAL_TOKEN") as person,
        client(prepared, "fly", "FLY_API_TOKEN") as fly,
        client(prepared, "vercel", "VERCEL_TOKEN") as vercel,
    ):

        def platform():
            rows = person.post("/sql", json={"sql": "select 1 from public.platform_config"}).json()["rows"]
            newest = vercel.get("/v6/deployments", params={"limit": 1}).json()["deployments"][0]["uid"]
            return rows, newest, vercel.get(VARIABLES).json(), fly.get(SECRETS).json()["secrets"]

        person.put("/snapshots/kept").raise_for_status()
        before = platform()
        person.post("/sql", json={"sql": "insert into public.platform_config (key, value) values ('x', '1')"})
        person.post("/faults/deployments-disabled").raise_for_status()
        fly.post(SECRETS, json={"values": {"HYPERLIQUID_LIVE_ENABLED": "false"}}).raise_for_status()
        changed = platform()

        person.post("/snapshots/kept").raise_for_status()

        assert all(now != then for now, then in zip(changed, before, strict=True))
        assert platform() == before


def test_a_snapshot_there_is_not_is_named(prepared):
    with client(prepared, "person", "REHEARSAL_TOKEN") as person:
        reply = person.post("/snapshots/never")
        assert reply.status_code == 404 and "no snapshot 'never'" in reply.json()["error"]
