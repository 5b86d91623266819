"""One rehearsal for the whole session of tests; whoever needs an untouched one brings up their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
import psycopg
import pytest

from runbook_lib.rehearsal import platform_repository
from runbook_lib.rehearsal.lifecycle import Running, rehearse
from tests.core_fixtures import NOBODY

Found = TypeVar("Found")


@pytest.fixture(scope="session")
def rehearsal() -> Iterator[Running]:
    """A rehearsal before phase 0: nothing migrated."""
    with rehearse() as running:
        yield running


@pytest.fixture(scope="session")
def migrated() -> Iterator[Running]:
    """A rehearsal whose migrations have been applied."""
    with rehearse() as running, connect(running) as connection:
        for migration in sorted((platform_repository.HERE / "postgres" / "migrations").glob("*.sql")):
            connection.execute(migration.read_text())  # type: ignore[call-overload]
        yield running


@pytest.fixture
def database(migrated: Running) -> Iterator[psycopg.Connection]:
    with connect(migrated) as connection:
        yield connection


def connect(running: Running, password: str | None = None) -> psycopg.Connection:
    password = password or running.environment["SUPABASE_DB_PASSWORD"]
    return psycopg.connect(running.addresses["database"], password=password, autocommit=True)


@pytest.fixture
def vercel(rehearsal: Running) -> Iterator[httpx.Client]:
    with client(rehearsal, "vercel", "VERCEL_TOKEN") as opened:
        yield opened


@pytest.fixture
def person(rehearsal: Running) -> Iterator[httpx.Client]:
    with client(rehearsal, "person", "REHEARSAL_TOKEN") as opened:
        yield opened


def client(running: Running, service: str, token: str | None = None) -> httpx.Client:
    headers = {"authorization": f"Bearer {running.environment[token]}"} if token else {}
    params = {"teamId": "team_rehearsal"} if service.startswith("vercel") else {}
    return httpx.Client(
        base_url=running.addresses[service], headers=headers, params=params, timeout=30, trust_env=False, verify=NOBODY
    )


@contextmanager
def fault(running: Running, **what: Any) -> Iterator[dict[str, Any]]:
    """An HTTP fault for the length of a block; `AssertionError` with the refusal where it is not accepted."""
    with client(running, "person", "REHEARSAL_TOKEN") as person:
        made = person.post("/http-faults", json=what)
        assert made.status_code == 201, made.text
        try:
            yield made.json()
        finally:
            person.delete(f"/http-faults/{made.json()['id']}")


@contextmanager
def named_fault(running: Running, name: str) -> Iterator[dict[str, Any]]:
    """A fault by its name for the length of a block."""
    with client(running, "person", "REHEARSAL_TOKEN") as person:
        entered = person.post(f"/faults/{name}")
        assert entered.status_code == 201, entered.text
        try:
            yield entered.json()
        finally:
            person.delete(f"/faults/{name}")


def eventually(look: Callable[[], Found], *, within: float = 10.0) -> Found:
    """What ``look`` finds as soon as it is true; fail after ``within`` seconds."""
    deadline = time.monotonic() + within
    while not (found := look()):
        assert time.monotonic() < deadline, f"not seen within {within} s: {look}"
        time.sleep(0.01)
    return found


@pytest.fixture
def user(database: psycopg.Connection) -> str:
    """A user of the platform."""
    made = database.execute(
        "insert into auth.users (id, email)"
        " values (gen_random_uuid(), gen_random_uuid() || '@example.test') returning id"
    ).fetchone()
    assert made
    return str(made[0])


@pytest.fixture
def deployment(database: psycopg.Connection, user: str) -> Callable[..., str]:
    """Make a paper deployment's row, and its Skill's."""

    def make(status: str = "running", every: str = "1s") -> str:
        skill = database.execute(
            "insert into public.skills (user_id, name, slug) values (%s, 'S', gen_random_uuid()::text) returning id",
            (user,),
        ).fetchone()
        assert skill
        database.execute(
            "insert into public.skill_versions (skill_id, version, payload, payload_hash)"
            " values (%s, 1, jsonb_build_object('schedule', jsonb_build_object('every', %s::text)), 'x')",
            (skill[0], every),
        )
        made = database.execute(
            "insert into public.deployments (user_id, skill_id, skill_version, broker_kind, status)"
            " values (%s, %s, 1, 'paper', %s) returning id",
            (user, skill[0], status),
        ).fetchone()
        assert made
        return str(made[0])

    return make
