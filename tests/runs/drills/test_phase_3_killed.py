"""Killed at any moment of a dry run, no undo is lost: the ledger owes it, no phase opens, and it is carried out."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace

import psycopg
import pytest

from runbook_lib.commands.command import http
from runbook_lib.records import gates, history, record_folder
from runbook_lib.runs.drills import drill
from runbook_lib.settings import profiles
from tests.runs.drills.conftest import ALL

NOTEBOOK = "phase_3_dry_runs"
RUNS = 8 if os.environ.get(ALL) == "1" else 2
# The act that owes, and how long after it the dry run is over, more or less: seconds.
SPANS = {"3.1b": 1.5, "3.2e": 8.0}
CAP = "payload #>> '{risk,maxMonthlyCostUsd}'"


@pytest.fixture
def staged(rested):
    """A tiny live deployment of its own, running, and nothing broken."""
    whole = replace(drill.cases_of(NOTEBOOK)[-1], name="killed", before=None, sql=(), says="", step="3.4k")
    drill._ask(http("person", f"POST /snapshots/{NOTEBOOK}-before"))
    drill._set_stage(whole)
    yield whole
    drill._ask(http("person", "DELETE /faults/{name}", name=whole.fault))


@pytest.fixture
def database():
    with psycopg.connect(
        profiles.load("rehearsal").database.url, password=os.environ["SUPABASE_DB_PASSWORD"], autocommit=True
    ) as connection:
        yield connection


def payloads(database):
    """The digest of every Skill's payload, and how many caps are lowered."""
    digests = database.execute("select skill_id, version, md5(payload::text) from public.skill_versions").fetchall()
    lowered = database.execute(f"select count(*) from public.skill_versions where {CAP} = '0.01'").fetchone()
    return sorted(digests), lowered[0]


def ended(record):
    """The steps of a record that did not pass, in their words."""
    ends = history.read(record).outcomes().values()
    return [(end["step"], end["complaint"]) for end in ends if end["outcome"] != "passed"]


def killed(case, act, seconds):
    """A record of the notebook whose process was killed so many seconds after ``act`` began to owe."""
    record = drill._begun(case, None)
    process = drill.PROCESSES.Process(target=drill._walk, args=(dict(os.environ), record.folder, case))
    process.start()
    deadline = time.monotonic() + 60
    while act not in {event.get("step") for event in record.ledger.events() if event["event"] == "owed"}:
        assert process.is_alive(), f"the notebook ended before {act}: {ended(record)}"
        assert time.monotonic() < deadline, f"{act} was not reached within a minute"
        time.sleep(0.005)
    time.sleep(seconds)
    process.kill()
    process.join()
    return record


@pytest.mark.parametrize("attempt", range(RUNS))
@pytest.mark.parametrize("act", SPANS)
def test_a_kill_at_any_moment_loses_no_undo(staged, database, act, attempt):
    before, _ = payloads(database)

    record = killed(staged, act, random.uniform(0, SPANS[act]) if attempt else 0)

    owed = history.read(record).owed()
    assert owed or payloads(database)[0] == before, "the payload is changed, and nobody owes its undo"
    if not owed:
        return
    chosen, root = profiles.load("rehearsal"), record_folder.records_root()
    assert not any(one.open for one in gates.board(chosen, root))
    told = subprocess.run(
        [sys.executable, "-m", "runbook_lib.cli", "undo", record.name], check=False, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr + told.stdout
    assert payloads(database) == (before, 0)
    assert record.name not in {one.name for one, _ in gates.owed(chosen, root)}
