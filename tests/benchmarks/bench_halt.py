"""How long a halt takes, from the press, with twenty live deployments: what the stand-ins' own clocks say.

    python -m tests.benchmarks.bench_halt [rounds] [deployments]

Each deployment has a wallet of its own, holds a position and has an order resting when the halt is pressed. Times are
read afterwards from the database (acknowledgements), the venue (cancellations, fills) and Fly (exits of machines); the
next column is when the halt had proven it. Seconds. The last is what the halt spent at the venue for each wallet: 1200
a minute are let through.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from runbook_lib.halt.state import Request
from runbook_lib.halt.stop import Done, halt
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.rehearsal.runner.runner_faults import runner_fault
from tests.benchmarks.figures import Row
from tests.halting import APP, Platform

NOBODY = "postgresql://postgres@127.0.0.1:9/postgres"
SITUATIONS = ("all answer", "database down", "web app down", "one machine deaf")
MEASURES = {"no new orders": "pause", "no resting orders": "cancel", "flat": "flat", "machines stopped": "machines"}
PAUSED = """
    select acked_at from public.agent_commands
    where deployment_id::text = %s and kind = 'pause' and acked_at >= to_timestamp(%s) order by acked_at limit 1
"""


@dataclass(frozen=True)
class Measured:
    """One measure in one situation: over all deployments of all rounds, in seconds after the press."""

    situation: str
    measure: str
    p50: float
    p95: float
    proven: float  # the median of when the halt itself knew; nan when it said that it did not
    of: int  # deployments for which it came about
    asked: int
    weight: float  # what the whole halt spent at the venue for each wallet, as the venue counts; the median

    def rows(self) -> list[Row]:
        name = f"halt of {self.asked}, {self.situation}: {self.measure}"
        told = {"p50": self.p50, "p95": self.p95, "proven": self.proven}
        rows = [Row(f"{name}, {figure}", value) for figure, value in told.items()]
        return rows + (
            [Row(f"{name}, venue weight of a wallet", self.weight, unit="")] if self.measure == "flat" else []
        )


def rows(rounds: int = 3) -> Iterator[Row]:
    """From the command to its first sending, then every measure in every situation."""
    yield Row("./runbook halt --yes to its first sending", first_sending(3 * rounds))
    yield from _all(measured(rounds))


def _all(found: list[Measured]) -> list[Row]:
    return [row for one in found for row in one.rows()]


def first_sending(rounds: int) -> float:
    """Seconds from starting the command to the first line `sending` in its ledger, the median."""
    command = [sys.executable, "-P", "-m", "runbook_lib.cli", "halt", "--profile", "rehearsal", "--all", "--yes"]
    times = []
    with rehearse(state="live", tick=2.0) as running, tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, **running.environment, "RUNBOOK_RECORDS": folder}
        for _ in range(rounds):
            pressed = time.time()
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
            times.append(min(_sendings(Path(folder), pressed)) - pressed)
    return statistics.median(times)


def _sendings(folder: Path, after: float) -> Iterator[float]:
    for ledger in folder.glob("*/*/*/ledger.jsonl"):
        for event in map(json.loads, ledger.read_text().splitlines()):
            at = datetime.fromisoformat(event["at"]).timestamp()
            if event["event"] == "sending" and at > after:
                yield at


def measured(rounds: int = 3, deployments: int = 20) -> list[Measured]:
    """Every measure in every situation."""
    with rehearse(state="live", tick=2.0) as running, tempfile.TemporaryDirectory() as folder:
        platform = Platform(running)
        while len(platform.live()) < deployments:
            platform.deploy()
        found = [row for name in SITUATIONS for row in _situation(platform, name, rounds, Path(folder))]
        platform.close()
    return found


def _situation(platform: Platform, name: str, rounds: int, folder: Path) -> Iterator[Measured]:
    seen: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    proven: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    live, weights = platform.live(), []
    for _ in range(rounds):
        with runner_fault(platform.running.folder, propose=None):  # until all is in place, no runner decides anything
            platform.revive(*live)
            for deployment in live:
                platform.buy(deployment)
                platform.rest(deployment)
        held = {one for one in live if platform.positions(one)}
        before = platform.weight()
        press, done = _press(platform, name, live[0], folder)
        wallets = 1 if name == "database down" else len(live)  # then no other than the profile's own is known
        weights.append((platform.weight() - before) / wallets)
        for measure, part in MEASURES.items():
            asked = [one for one in live if measure != "flat" or one in held]
            seen[measure] += [_after(platform, measure, one, press) for one in asked]
            ended = next(one for one in done.parts if one.name == part)
            proven[measure].append(ended.ended if ended.outcome == "passed" and ended.ended else math.nan)
    for measure, times in seen.items():
        known = sorted(one for one in times if not math.isnan(one))
        middle = sorted(proven[measure])[len(proven[measure]) // 2]
        times_of = _at(known, 0.5), _at(known, 0.95), middle
        yield Measured(name, measure, *times_of, len(known), len(times), statistics.median(weights))


def _press(platform: Platform, name: str, first: str, folder: Path) -> tuple[float, Done]:
    """Halt everything in a situation; the moment of the press (epoch seconds) and how it ended."""
    changes: dict[str, Any] = {"limits": {"pause": 3.0, "flat": 15.0}}
    if name in ("database down", "one machine deaf"):
        changes |= {"key": platform.key(first), "wallet": platform.wallet(first)}
    if name == "database down":
        changes["database_down"] = NOBODY
    around: Any = nullcontext()
    if name == "web app down":
        around = platform.named_fault("web-down")
    if name == "one machine deaf":
        around = runner_fault(platform.running.folder, first, deaf=True)
    chosen = platform.settings(**changes)
    with around:
        press = time.time()
        return press, halt(chosen, Request(), root=folder)


def _after(platform: Platform, measure: str, deployment: str, press: float) -> float:
    """Seconds from the press until a measure came about for one deployment; nan if it never did."""
    wallet = platform.wallet(deployment)
    if measure == "no new orders":
        acked = platform.sees(PAUSED, deployment, press)
        return acked[0]["acked_at"].timestamp() - press if acked else _exit(platform, deployment, press)
    if measure == "machines stopped":
        return _exit(platform, deployment, press)
    if measure == "no resting orders":
        ended = [o["statusTimestamp"] / 1000 for o in platform.asks("historicalOrders", user=wallet)]
        return (
            math.nan if platform.orders(deployment) else max([one - press for one in ended if one > press], default=0)
        )
    fills = [fill["time"] / 1000 - press for fill in platform.asks("userFills", user=wallet)]
    return math.nan if platform.positions(deployment) else max([one for one in fills if one > 0], default=0.0)


def _exit(platform: Platform, deployment: str, press: float) -> float:
    """When its machine's process had ended, by Fly's events."""
    machine = platform.machines(deployment)[-1]
    events = platform.fly.get(f"/v1/apps/{APP}/machines/{machine['id']}/events").json()
    exits = [e["timestamp"] / 1000 for e in events if e["type"] == "exit" and e["timestamp"] / 1000 > press]
    return exits[0] - press if exits and machine["state"] == "stopped" else math.nan


def _at(times: list[float], share: float) -> float:
    return times[min(len(times) - 1, math.ceil(share * len(times)) - 1)] if times else math.nan


def _table(found: list[Measured]) -> Iterator[str]:
    yield f"{'':20}{'':20}{'p50':>8}{'p95':>8}{'proven':>8}{'weight':>8}   deployments"
    for row in found:
        numbers = "".join(f"{value:8.2f}" for value in (row.p50, row.p95, row.proven))
        weight = f"{row.weight:8.0f}" if row.measure == "flat" else " " * 8
        yield f"{row.situation:20}{row.measure:20}{numbers}{weight}   {row.of} of {row.asked}"


if __name__ == "__main__":
    began = datetime.now().astimezone()
    for line in _table(measured(*map(int, sys.argv[1:]))):
        print(line)
    print(f"took {(datetime.now().astimezone() - began).total_seconds():.0f} s")
