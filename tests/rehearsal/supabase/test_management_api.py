"""The management API shows the project and really resets the password."""

from __future__ import annotations

import psycopg
import pytest

from runbook_lib.rehearsal.lifecycle import attach, rehearse
from tests.rehearsal.conftest import client, connect

PROJECT = "/v1/projects/abcdefghijklmnopqrst"


@pytest.fixture
def supabase(rehearsal):
    with client(rehearsal, "supabase", "SUPABASE_ACCESS_TOKEN") as opened:
        yield opened


def test_the_project_is_healthy_and_says_so(supabase):
    assert supabase.get(PROJECT).json()["status"] == "ACTIVE_HEALTHY"
    health = supabase.get(f"{PROJECT}/health", params={"services": "db,auth"}).json()
    assert [(one["name"], one["status"]) for one in health] == [("db", "ACTIVE_HEALTHY"), ("auth", "ACTIVE_HEALTHY")]


def test_there_is_something_to_restore_from(supabase):
    backups = supabase.get(f"{PROJECT}/database/backups").json()
    assert backups["pitr_enabled"]
    assert backups["backups"][0]["status"] == "COMPLETED"


def test_a_bad_token_another_project_and_an_unknown_service_are_refused(rehearsal, supabase):
    with client(rehearsal, "supabase") as stranger:
        assert stranger.get(PROJECT).json() == {"message": "Unauthorized"}
    assert supabase.get("/v1/projects/other").status_code == 404
    assert supabase.get(f"{PROJECT}/health", params={"services": "cats"}).status_code == 400


def test_a_reset_cuts_connections_and_only_the_new_password_opens():
    with rehearse() as running, connect(running) as old:
        with client(running, "supabase", "SUPABASE_ACCESS_TOKEN") as supabase:
            path = f"{PROJECT}/database/password"
            assert supabase.patch(path, json={"password": "no"}).status_code == 400
            supabase.patch(path, json={"password": "a new pass'word"}).raise_for_status()
            assert supabase.get(PROJECT).status_code == 200
        with pytest.raises(psycopg.OperationalError):
            old.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(running)
        again = attach(running.folder)
        with connect(again) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
