"""Each phase, crashed once and resumed, leaves the platform as an undisturbed run does: nothing is there twice."""

from __future__ import annotations

import os
import random

import psycopg
import pytest

from runbook_lib.commands.command import http
from runbook_lib.records import history, plan, run_record
from runbook_lib.records.record_folder import Record
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import rehearsals
from runbook_lib.runs.drills.drill import _ask
from runbook_lib.settings import profiles
from tests import crashing
from tests.runs.drills.conftest import ALL

EVERY = os.environ.get(ALL) == "1"
PHASES = [name for name in plan.notebooks() if name.startswith("phase_")] if EVERY else ["phase_1_paper"]
POINTS = int(os.environ.get("RUNBOOK_POINTS", "1"))  # of each phase: the first half way, the others anywhere
ATTEMPTS = 3  # resumed runs until one passes
# What acts and the person make. What the platform itself writes as time goes by differs from run to run.
HELD = """
    select 'deployment ' || broker_kind as what, count(*) as n from public.deployments group by broker_kind
    union all select 'command ' || kind, count(*) from public.agent_commands group by kind
    union all select 'skill', count(*) from public.skills
    union all select 'version', count(*) from public.skill_versions
    union all select 'agent', count(*) from public.hyperliquid_agents
    union all select 'pending agent', count(*) from public.pending_hyperliquid_agents
    union all select 'wallet', count(*) from public.hyperliquid_master_wallets
    union all select 'setting', count(*) from public.platform_config
"""


def held():
    """What the platform holds: rows by kind, variables of the web app, machines."""
    database, password = profiles.load("rehearsal").database.url, os.environ["SUPABASE_DB_PASSWORD"]
    with psycopg.connect(database, password=password, autocommit=True) as connection:
        rows = connection.execute(HELD).fetchall()
    variables = _ask(http("vercel", "GET /v10/projects/{vercel.project}/env")).rows
    machines = _ask(http("fly", "GET /v1/apps/{fly.app}/machines")).rows
    return {
        **dict(rows),
        "variables": sorted(str(one.get("key")) for one in variables),
        "machines": len([one for one in machines if one.get("state") != "destroyed"]),
    }


def begun(notebook, root, parent=None):
    record = run_record.begin(
        profiles.load("rehearsal"), notebook, root=root, source=plan.notebook(notebook), parent=parent
    )
    record.notebook.write_bytes(plan.notebook(notebook).read_bytes())
    return record


def sealed(record):
    """A record as resuming seals it."""
    record = Record(record.folder, profiles.load("rehearsal").redactor())
    run_record.finish(record, **({} if history.read(record).closed() else {"ended": "cut off"}))
    return record


def run(notebook, root, point=None):
    """What a rehearsal of its own holds after a run that was struck and resumed; the events; the last record."""
    before = dict(os.environ)
    try:
        with lifecycle.rehearse(state=rehearsals.starting_state(plan.notebook(notebook))) as running:
            os.environ.update(running.environment, RUNBOOK_RECORDS=str(root))
            os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
            return _run(notebook, root, running.folder, point)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(notebook, root, folder, point):
    record = begun(notebook, root)
    counts = crashing.walk(folder, record, point, lambda: None)
    record = sealed(record)
    for _ in range(ATTEMPTS if point else 0):
        if record.sealed()["outcome"] == "passed":
            break
        child = begun(notebook, root, record)
        crashing.walk(folder, child, None, lambda: None)
        record = sealed(child)
    return held(), counts, record


@pytest.mark.parametrize("notebook", PHASES)
def test_a_phase_that_is_struck_and_resumed_leaves_what_an_undisturbed_one_leaves(tmp_path, notebook):
    expected, counts, clean = run(notebook, tmp_path / "clean")
    assert clean.sealed()["outcome"] == "passed", history.read(clean).outcomes()

    possible = [point for point in crashing.points(counts) if point.what != "postgres"]
    anywhere = random.Random(os.environ.get("RUNBOOK_SEED", "7")).sample(possible, POINTS - 1)
    for point in (crashing.Point("kernel", "written", counts["written"] // 2), *anywhere):
        found, _, last = run(notebook, tmp_path / str(point), point)

        bad = [(step, e["complaint"]) for step, e in history.read(last).outcomes().items() if e["outcome"] != "passed"]
        assert last.sealed()["outcome"] == "passed", f"struck at {point}: {bad}"
        assert found == expected, f"struck at {point}"
        print(f"{notebook}: struck at {point}, resumed {len(last.parents)} times")
