"""Every host of production is an address of its own here, and no door opens to a stranger."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg
import pytest

from runbook_lib.rehearsal.world.http_server import HOSTS
from tests.rehearsal.conftest import client

DOORS = ("GET /gestures", "POST /gestures/author", "POST /sql", "PUT /variables", "GET /http-faults", "POST /faults/x")


def test_an_address_says_which_host_it_stands_for_and_what_that_does_not_know(rehearsal):
    for service, host in HOSTS.items():
        reply = httpx.post(f"{rehearsal.addresses[service].rstrip('/')}/nothing/here")
        assert reply.status_code == 404, service
        assert reply.json() == {"error": f"the rehearsal's {host} knows no POST {reply.url.path}"}


@pytest.mark.parametrize("name", ["evil.example", "127.0.0.1.nip.io:{port}", "evil.example:{port}", ""])
@pytest.mark.parametrize("service", ["person", "vercel", "hyperliquid"])
def test_a_name_of_somebody_elses_that_leads_here_is_turned_away(rehearsal, service, name):
    address = rehearsal.addresses[service]
    reply = httpx.get(f"{address}/x", headers={"host": name.format(port=address.rpartition(":")[2])})
    assert (reply.status_code, "its own address only" in reply.json()["error"]) == (421, True)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_somebody_elses_is_turned_away(rehearsal, origin):
    with client(rehearsal, "person", "REHEARSAL_TOKEN") as person:
        assert person.get("/gestures", headers={"origin": origin}).status_code == 421
        assert person.get("/gestures", headers={"origin": rehearsal.addresses["person"]}).status_code == 200


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic {token}", "{token}"])
def test_every_door_that_production_has_not_wants_the_rehearsals_token(rehearsal, door, header):
    method, _, path = door.partition(" ")
    header = header.format(token=rehearsal.environment["REHEARSAL_TOKEN"])
    reply = httpx.request(method, rehearsal.addresses["person"] + path, headers={"authorization": header}, json={})
    assert reply.status_code == 401


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to program 'id'",
        "copy (select 1) to '/tmp/somewhere'",
        "select pg_read_file('/etc/hostname')",
        "set role supabase_admin",
        "alter role postgres superuser",
    ],
)
def test_the_sql_door_opens_no_file_and_no_program(person, statement):
    reply = person.post("/sql", json={"sql": statement})
    assert reply.status_code == 400
    assert "permission denied" in reply.json()["error"]


def test_the_sql_door_goes_with_the_operators_password(rehearsal, person):
    assert person.post("/sql", json={"sql": "select 1"}).json() == {"rows": 1}


def test_secrets_of_two_rehearsals_differ(rehearsal, migrated):
    ours, theirs = rehearsal.environment, migrated.environment
    public = {name for name in ours if name.startswith(("NEXT_PUBLIC_SUPABASE_URL", "SUPABASE_URL", "HYPERLIQUID"))}
    assert not {name for name in ours.keys() - public if ours[name] == theirs[name]}
    assert Path(rehearsal.folder, "environment.json").stat().st_mode & 0o077 == 0


def test_a_database_password_opens_no_other_rehearsals_database(rehearsal, migrated):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(migrated.addresses["database"], password=rehearsal.environment["SUPABASE_DB_PASSWORD"])
