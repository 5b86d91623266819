"""How many runners the stand-ins carry: fifty, each with a tick a second, without a late heartbeat.

`./runbook bench` calls `rows`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from runbook_lib.commands.command import http, sql
from runbook_lib.rehearsal import lifecycle
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from tests.benchmarks.figures import Row

RUNNERS = 50
WATCHED = 20.0  # seconds
STATES = ("paper_ready", "mainnet_ready", "live", "first_day")


def rows(rounds: int = 1) -> Iterator[Row]:
    """Starting states reached, then fifty runners watched."""
    del rounds  # one look: it takes half a minute
    yield from map(_state, STATES)
    yield from _fifty()


def _state(name: str) -> Row:
    started = time.perf_counter()
    with lifecycle.rehearse(state=name):
        return Row(f"starting state {name} reached", time.perf_counter() - started)


def _fifty() -> list[Row]:
    with lifecycle.rehearse(state="paper_ready") as running:
        os.environ.update(running.environment)
        services = Services(profiles.load("rehearsal"))
        _gesture(services, "author", maxMonthlyCostUsd=100_000)
        started = time.perf_counter()
        for _ in range(RUNNERS):
            _gesture(services, "deploy_paper")
        while _beating(services)[0] < RUNNERS:
            time.sleep(0.2)
        up, oldest, deadline = time.perf_counter() - started, 0.0, time.monotonic() + WATCHED
        while time.monotonic() < deadline:
            oldest = max(oldest, _beating(services)[1])
            time.sleep(0.5)
        failed = services.look(sql("select count(*) from public.agent_logs where event = 'tick_failed'")).value()
        memory = sum(map(_pss, _family(os.getpid()))) / 1024
        services.close()
    return [
        Row(f"{RUNNERS} machines to running", up),
        Row(f"{RUNNERS} runners at 1 s ticks: oldest heartbeat", oldest),
        Row(f"{RUNNERS} runners at 1 s ticks: failed ticks", float(failed), unit=""),
        Row(f"{RUNNERS} runners: memory of the whole rehearsal", memory, unit="MiB"),
    ]


def _gesture(services: Services, name: str, **facts: object) -> None:
    found = services.change(http("person", f"POST /gestures/{name}", json=facts))
    if found.error:
        raise RuntimeError(found.error)


def _beating(services: Services) -> tuple[int, float]:
    """How many deployments run, and the seconds since the oldest heartbeat of any."""
    found = services.look(
        sql("""
            select count(*) as running, coalesce(max(extract(epoch from now() - s.updated_at)), 0) as oldest
            from public.deployments d join public.agent_state s on s.deployment_id = d.id where d.status = 'running'
        """)
    )
    return int(found.value("running")), float(found.value("oldest"))


def _family(pid: int) -> Iterator[int]:
    """Every descendant of a process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        if parent == pid:
            child = int(path.parent.name)
            yield child
            yield from _family(child)


def _pss(pid: int) -> int:
    """Its share of memory, in KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
