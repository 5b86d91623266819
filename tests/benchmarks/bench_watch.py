"""What a watch costs: a day judged in hindsight, an event until its alert, and its queries where there is much to read.

`./runbook bench` calls `rows`. The queries are those of the notebook; they read ten million snapshots of a thousand
deployments in time order, as the platform indexes them, and (theirs) with the two indexes that are proposed. What a
query reads from end to end is named with the index it lacks.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from runbook_lib.checklist.first_day import NOW, gaps
from runbook_lib.checklist.tick_costs import unusual_costs
from runbook_lib.commands.command import Sql, sql
from runbook_lib.records import plan
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import watch
from runbook_lib.settings import profiles
from tests.benchmarks.figures import Row
from tests.hearing import Hearing

NOTEBOOK = "phase_4_first_day"
SNAPSHOTS = int(os.environ.get("BENCH_SNAPSHOTS", "10_000_000"))
DEPLOYMENTS = 1000
DAYS = 40
DELAYS = 5  # events that are alerted
LOADED_TABLE = "decision_snapshots"
LACKS = f"all of {LOADED_TABLE}, which lacks an index (tick_at) include (deployment_id, cost_usd)"
PROPOSED = (
    "create index on public.decision_snapshots (deployment_id, tick_at) include (cost_usd)",
    "create index on public.decision_snapshots (tick_at) include (deployment_id, cost_usd)",
)
CROWD = """
    with skill as (select skill_id, skill_version, user_id, hyperliquid_agent_id from public.deployments
                   where broker_kind = 'hyperliquid-mainnet' and status = 'running' limit 1)
    insert into public.deployments
      (user_id, skill_id, skill_version, hyperliquid_agent_id, broker_kind, status, created_at)
    select user_id, skill_id, skill_version, hyperliquid_agent_id, 'hyperliquid-mainnet', 'running',
           now() - interval '41 days' from skill, generate_series(1, %(deployments)s)
"""
LOADED = """
    insert into public.decision_snapshots (deployment_id, tick_at, prompt_tokens, completion_tokens, cost_usd)
    select ids[1 + n %% %(deployments)s], now() - %(days)s * interval '1 day' * (1 - n::float8 / %(snapshots)s),
           20000, 900, 0.0245
    from (select array_agg(id) as ids from public.deployments where created_at < now() - interval '40 days') d,
         generate_series(1, %(snapshots)s) n
"""


def rows(rounds: int = 3) -> Iterator[Row]:
    """The watch itself, then its queries."""
    yield from _watched()
    yield from _queries(rounds)


# --- the watch --------------------------------------------------------------------------------------------------------


def _watched() -> list[Row]:
    """A day judged in hindsight at a round a minute; then events, each until its alert arrives."""
    before = dict(os.environ)
    with (
        lifecycle.rehearse(state="first_day") as running,
        Hearing() as hearing,
        tempfile.TemporaryDirectory() as folder,
    ):
        os.environ.update(running.environment, ALERT_TARGET=f"json://127.0.0.1:{hearing.port}/alarm")
        replayed = _took(Path(folder) / "past", watch.Schedule(plan.notebook(NOTEBOOK), 0.001, 60.0, replay=24.0))
        delays = list(_delays(running, hearing, Path(folder) / "now"))
    os.environ.clear()
    os.environ.update(before)
    return [
        Row("watch: 24 h at a round a minute, in hindsight", replayed),
        Row("watch: event to alert at a round a second, median", statistics.median(delays)),
        Row("watch: event to alert at a round a second, worst", max(delays)),
    ]


def _took(root: Path, schedule: watch.Schedule) -> float:
    """Seconds from a watch's start to its last replayed round."""
    started, ends = time.perf_counter(), [0.0]

    def say(event: dict[str, Any]) -> None:
        if event["event"] == "round" and event.get("replayed"):
            ends.append(time.perf_counter() - started)

    watch.watch(profiles.load("rehearsal"), schedule, root=root, say=say)
    return ends[-1]


def _delays(running: lifecycle.Running, hearing: Hearing, root: Path) -> Iterator[float]:
    """Seconds from each state_drift to the alert that tells of it."""
    found: list[float] = []

    def drift() -> None:
        with _connected(running) as database:
            for _ in range(DELAYS):
                time.sleep(3.3)
                heard, happened = len(hearing.heard), time.perf_counter()
                database.execute(
                    "insert into public.agent_logs (deployment_id, event) select id, 'state_drift' from"
                    " public.deployments where broker_kind = 'hyperliquid-mainnet' order by created_at desc limit 1"
                )
                while len([path for path, _ in hearing.heard[heard:] if path == "/alarm"]) == 0:
                    time.sleep(0.005)
                found.append(time.perf_counter() - happened)

    drifting = threading.Thread(target=drift, daemon=True)
    schedule = watch.Schedule(plan.notebook(NOTEBOOK), 30 / 3600, 1.0)
    quiet = profiles.load("rehearsal")
    quiet = quiet.model_copy(update={"alerts": quiet.alerts.model_copy(update={"repeat": 3600.0})})
    drifting.start()
    watch.watch(quiet, schedule, root=root, say=lambda _: None)
    yield from found


# --- its queries ------------------------------------------------------------------------------------------------------


def _queries(rounds: int) -> Iterator[Row]:
    with lifecycle.rehearse(state="live") as running, _connected(running) as database:
        numbers = {"deployments": DEPLOYMENTS, "days": DAYS, "snapshots": SNAPSHOTS}
        started = time.perf_counter()
        database.execute(CROWD, {"deployments": DEPLOYMENTS})
        database.execute("drop index public.decision_snapshots_of_deployment")
        database.execute(LOADED, numbers)
        database.execute(
            "create index decision_snapshots_of_deployment on public.decision_snapshots (deployment_id, tick_at)"
        )
        database.execute("vacuum analyze public.decision_snapshots")
        yield Row(f"{SNAPSHOTS:,} snapshots of {DEPLOYMENTS} deployments loaded", time.perf_counter() - started)
        one = database.execute("select id from public.deployments order by created_at limit 1").fetchone()
        asked = _asked(str(one[0]) if one else "")
        now = {name: _measured(database, query, rounds) for name, query in asked.items()}
        for statement in PROPOSED:
            database.execute(statement)
        database.execute("vacuum analyze public.decision_snapshots")
        for name, query in asked.items():
            seconds, reads = now[name]
            yield Row(f"{name}: {reads}", 1000 * seconds, 1000 * _measured(database, query, rounds)[0], "ms")


def _asked(deployment: str) -> dict[str, Sql]:
    day = {"since": (datetime.now(UTC) - timedelta(hours=24)).isoformat(), "until": NOW}
    return {
        "month of one deployment": sql(_cell('order by tick_at\n""", deployment=live'), deployment=deployment),
        "today's spend": sql(_cell("today_usd")),
        "month against OpenRouter": sql(_cell("all_usd")),
        "freshness": sql(_cell("seconds_stale"), floor=900.0),
        "costs of 24 h": unusual_costs(**day),
        "gaps of 24 h": gaps("tick", 20.0, **day),
    }


def _cell(words: str) -> str:
    """The SQL of the notebook's cell that holds ``words``."""
    cells = json.loads(plan.notebook(NOTEBOOK).read_text(encoding="utf-8"))["cells"]
    [source] = [text for cell in cells if words in (text := "".join(cell["source"]))]
    return re.findall(r'sql\("""(.*?)"""', source, re.DOTALL)[0]


def _measured(database: psycopg.Connection[Any], query: Sql, rounds: int) -> tuple[float, str]:
    """Median seconds until the rows are here, and what the plan reads."""
    values = {name: json.dumps(v) if isinstance(v, dict) else v for name, v in query.values.items()} or None
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        database.execute(query.statement.encode(), values).fetchall()
        took.append(time.perf_counter() - started)
    [[plan]] = database.execute(f"explain (format json) {query.statement}".encode(), values).fetchall()
    scans = dict.fromkeys(_scans(plan[0]["Plan"]))
    return statistics.median(took), ", ".join(scans)


def _scans(node: dict[str, Any]) -> Iterator[str]:
    if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] == LOADED_TABLE:
        yield LACKS
    elif "Index" in node["Node Type"] and "Index Name" in node:
        yield node["Index Name"]
    for inner in node.get("Plans", ()):
        yield from _scans(inner)


def _connected(running: lifecycle.Running) -> psycopg.Connection[Any]:
    password = running.environment["SUPABASE_DB_PASSWORD"]
    return psycopg.connect(running.addresses["database"], password=password, autocommit=True, options="-c TimeZone=UTC")
