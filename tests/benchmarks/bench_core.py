"""What a user waits for: the command line, a rehearsal, phase 0, and what the ledger costs.

`./runbook bench` calls `rows`.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from runbook_lib.commands.command import sql
from runbook_lib.records import plan, record_folder, run_record, seal_chain, verify
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import headless
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from tests.benchmarks.figures import Row

EVENTS = 10_000


def rows(rounds: int = 3) -> Iterator[Row]:
    """Medians of so many interleaved rounds."""
    yield _help(rounds)
    yield from _rehearsal(rounds)
    yield from _ledger()


def _help(rounds: int) -> Row:
    """`./runbook --help` beside `papermill --version`, each a process of its own."""
    folder = Path(sys.executable).parent
    commands = [sys.executable, "-P", "-m", "runbook_lib.cli", "--help"], [str(folder / "papermill"), "--version"]
    times = [[_timed(command) for command in commands] for _ in range(3 * rounds)]
    ours, theirs = (statistics.median(one) for one in zip(*times, strict=True))
    return Row("--help beside papermill --version", ours, theirs)


def _timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def _rehearsal(rounds: int) -> list[Row]:
    """Stand-ins up and first query answered; phase 0 through, and how much of it is not waiting for the platform."""
    up, phase, waited = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        with lifecycle.rehearse() as running, tempfile.TemporaryDirectory() as folder:
            os.environ.update(running.environment, RUNBOOK_RECORDS=folder)
            os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
            _first_query()
            up.append(time.perf_counter() - started)
            started = time.perf_counter()
            done = headless.run(profiles.load("rehearsal"), plan.notebook("phase_0_platform_prep"), {})
            phase.append(time.perf_counter() - started)
            waited.append(_answers(done.record))
    return [
        Row("stand-ins up, first query answered", statistics.median(up)),
        Row("phase 0 rehearsed", statistics.median(phase)),
        Row("of which ours, not the platform's answers", statistics.median(map(float.__sub__, phase, waited))),
    ]


def _first_query() -> None:
    services = Services(profiles.load("rehearsal"))
    services.look(sql("select 1"))
    services.close()


def _answers(record: record_folder.Record) -> float:
    """Seconds in which the platform's answers were awaited."""
    events = record.ledger.events()
    return sum(reply["seconds"] for event in events for reply in event.get("replies", ()))


def _ledger() -> list[Row]:
    """Ten thousand events appended, each with an fsync, then verified."""
    with tempfile.TemporaryDirectory() as folder:
        record = run_record.create(Path(folder), "rehearsal", "bench", "a: 1\n", id="x", mode="watch")
        started = time.perf_counter()
        for number in range(EVENTS):
            record.ledger.append("outcome", step=f"0.{number}a", outcome="passed", seen="4 rows", replies=[])
        appended = time.perf_counter() - started
        seal_chain.seal(record, "passed")
        size, started = (record.folder / verify.LEDGER).stat().st_size, time.perf_counter()
        assert verify.verify(record.folder) == []
        verified = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row("ledger: events appended with fsync", EVENTS / appended, unit="/s"),
        Row("ledger: events verified", EVENTS / verified, unit="/s"),
        Row("ledger: bytes an event", size / EVENTS, unit="B"),
        Row("ledger: greatest memory of this process", memory, unit="MiB"),
    ]
