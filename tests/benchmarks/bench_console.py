"""How quick the console is with two hundred deployments, and that hours of it leave nothing behind.

`./runbook bench console` calls `rows`. One of the deployments has a runner; the others are rows as a runner leaves
them: a heartbeat, a thousand ticks and two thousand log entries each. Click, acknowledgement and screen are the
console's own: what the runner took (its acknowledgement, on the database's clock) is taken off.
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook_lib.console import markup, overview_charts
from runbook_lib.console.overview import Reader
from runbook_lib.console.page import Page
from runbook_lib.records import record_folder
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from runbook_lib.settings.profiles import Settings
from tests.benchmarks.figures import Row

DEPLOYMENTS, TICKS, ENTRIES = 200, 1000, 2000
DRAWINGS = 60  # drawings of all charts and paintings of all tables, the first quarter to warm up
PATIENCE = 60.0
FILL = """
    with one as (select user_id, skill_id, skill_version from public.deployments order by created_at limit 1),
    made as (
      insert into public.deployments (user_id, skill_id, skill_version, broker_kind, status)
      select user_id, skill_id, skill_version, 'paper', 'running' from one, generate_series(2, %(deployments)s)
      returning id),
    state as (insert into public.agent_state (deployment_id, equity_usd) select id, 10000 from made),
    ticks as (
      insert into public.decision_snapshots
        (deployment_id, tick_at, verdict, prompt_tokens, completion_tokens, cost_usd)
      select id, now() - n * interval '5 minutes', '{"status": "noop", "reason": "agent_proposed_nothing"}', 20000, 900,
             0.02 + 0.0001 * (n %% 40)
      from made, generate_series(1, %(ticks)s) n)
    insert into public.agent_logs (deployment_id, ts, event, message)
    select id, now() - n * interval '150 seconds', case n %% 2 when 0 then 'tick' else 'reconciled' end, 'as left'
    from made, generate_series(1, %(entries)s) n
"""


def rows(rounds: int = 3) -> Iterator[Row]:
    """Medians of so many rounds, and the worst of the presses."""
    with platform() as chosen, tempfile.TemporaryDirectory() as folder:
        yield from _looks(chosen, rounds)
        yield from asyncio.run(_live(chosen, Path(folder), rounds))


@contextmanager
def platform() -> Iterator[Settings]:
    """A rehearsal with one live deployment and the rows of 199 others."""
    before = dict(os.environ)
    with rehearse(state="paper_running") as running:
        os.environ.update(running.environment)
        chosen = profiles.load("rehearsal")
        with Services(chosen).database.connect() as connection:
            connection.execute("set statement_timeout = 0")
            connection.execute(FILL, {"deployments": DEPLOYMENTS, "ticks": TICKS, "entries": ENTRIES})
            connection.execute("analyze")
        yield chosen
    os.environ.clear()
    os.environ.update(before)


def _looks(chosen: Settings, rounds: int) -> list[Row]:
    """The first look, which sums the month, and a later one."""
    first, later = [], []
    for _ in range(rounds):
        reader = Reader(chosen)
        first.append(_timed(reader.read))
        later += [_timed(reader.read) for _ in range(3)]
        assert len(reader.read().rows) == DEPLOYMENTS
        reader.close()
    return [
        Row(f"console, {DEPLOYMENTS} deployments: first look", statistics.median(first)),
        Row("console: a later look", statistics.median(later)),
    ]


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def _live(chosen: Settings, folder: Path, rounds: int) -> list[Row]:
    paints, refreshes, presses = [], [], []
    for _ in range(rounds):
        started = time.perf_counter()
        console = Page(chosen, operator="bench", root=folder)
        try:
            await _until(lambda console=console: console.overview)
            paints.append(time.perf_counter() - started)
            await _until(lambda console=console: all(image.value for image in console._figures))
            refreshes += [await _refresh(console) for _ in range(3)]
            presses += [await _press(console, kind) for kind in ("pause", "resume", "pause", "resume")]
        finally:
            console.close()
    drawn = await _drawn(chosen, folder)
    sealed = all(record.sealed() for record in record_folder.every(folder))
    return [
        Row("console: cell run to the first full picture", statistics.median(paints)),
        Row("console: asked to refresh, until it is on the screen", statistics.median(refreshes)),
        Row("console: click to effect on the screen, our own part, median", statistics.median(presses)),
        Row("console: click to effect on the screen, our own part, worst", max(presses)),
        *drawn,
        Row("console: presses without a sealed record", float(not sealed), unit=""),
    ]


async def _refresh(console: Page) -> float:
    looks, started = console.looks, time.perf_counter()
    console._wake.set()
    await _until(lambda: console.looks > looks)
    return time.perf_counter() - started


async def _press(console: Page, kind: str) -> float:
    """Seconds from the click to the effect shown, less what the runner took to acknowledge."""
    console._picker.value = (console.overview.rows[0]["id"],)  # the one with a runner was made first
    shown, started = console._presses.value, time.perf_counter()
    console._buttons[kind].click()
    await _until(lambda: console.pressed[0][1].effect and console._presses.value != shown)
    took = time.perf_counter() - started
    await _until(lambda: console.pressed[0][1].outcome)
    assert console.pressed[0][1].outcome == "passed", console.pressed[0][1].words
    await _until(lambda: not console._busy)
    return took - float(console.pressed[0][1].words.rsplit(" after ", 1)[1].split()[0]) / 1000


async def _drawn(chosen: Settings, folder: Path) -> list[Row]:
    """One drawing of the charts, how long it keeps the loop, and what a hundred of them leave in memory."""
    console = Page(chosen, operator="bench", root=folder)
    await _until(lambda: console.overview)
    longest, before = [], 0
    for number in range(DRAWINGS):
        for image, maker in zip(console._figures, overview_charts.DRAWN, strict=True):
            started = time.perf_counter()
            figure = maker(console.overview)
            longest.append(time.perf_counter() - started)
            image.value = markup.figure(overview_charts.png(figure), "", 10.0, datetime.now(UTC))
        console._paint()
        if number == DRAWINGS // 4:
            before = _resident()
        await asyncio.sleep(0)
    grown = _resident() - before
    console.close()
    return [
        Row("console: one chart made, during which a press waits, median", statistics.median(longest)),
        Row(f"console: memory after {DRAWINGS * 3 // 4} more drawings of everything", grown / 1e6, unit="MB"),
    ]


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def _until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.001)
