"""The watch against a platform that has a day behind it: what rings, when, to whom; and what happens to the watch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from runbook_lib.records import alarms, record_folder, verify
from runbook_lib.records.record_folder import Record
from runbook_lib.rehearsal import lifecycle
from runbook_lib.settings import profiles
from tests.core_fixtures import PATIENCE, eventually
from tests.hearing import Hearing, Line

NOTEBOOK = "phase_4_first_day"
LONG = os.environ.get("RUNBOOK_LONG_WATCH") == "1"  # an hour, with everything lost twice; else less than a minute
SPAN = float(os.environ.get("RUNBOOK_LONG_WATCH_SECONDS", "3600" if LONG else "15"))  # seconds
OWN_DELAY = 5.0  # seconds from an event to its alert at one round a second
LINES = ("fly", "vercel", "hyperliquid", "openrouter", "database")
NEWEST = "select id from public.deployments where broker_kind = 'hyperliquid-mainnet' order by created_at desc limit 1"
BEFORE = "select id from public.deployments where broker_kind = 'hyperliquid-mainnet' order by created_at limit 1"
DRIFT = f"insert into public.agent_logs (deployment_id, event, message) ({NEWEST.replace('id', 'id, %s, %s', 1)})"


@dataclass
class Platform:
    """A rehearsal, the lines the watch reaches it by, who hears its alerts, and a database connection of our own."""

    running: lifecycle.Running
    root: Path
    hearing: Hearing
    lines: dict[str, Line]
    database: psycopg.Connection
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self):
        """Of a watch: the rehearsal by way of the lines."""
        folder = self.root / self.running.folder.name
        folder.mkdir(exist_ok=True)
        deadman = f"http://127.0.0.1:{self.hearing.port}/all-well"
        addresses = {**self.running.addresses, **{n: line.url for n, line in self.lines.items()}, "deadman": deadman}
        (folder / "addresses.json").write_text(json.dumps(addresses))
        target = f"json://127.0.0.1:{self.hearing.port}/alarm"
        records = str(self.root / "records")
        own = {"RUNBOOK_REHEARSAL": str(folder), "RUNBOOK_RECORDS": records, "ALERT_TARGET": target}
        return {**os.environ, **self.running.environment, **own}

    def run(self, *words):
        """A command, to its end."""
        command = [sys.executable, "-m", "runbook_lib.cli", *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def watch(self, *options):
        """Start a watch; it runs until it is told to stop."""
        command = [sys.executable, "-m", "runbook_lib.cli", "watch", NOTEBOOK, "--every", "1", *options]
        log = (self.root / "watch.log").open("ab")
        self.started.append(subprocess.Popen(command, env=self.environment, stdout=log, stderr=log))
        log.close()
        return self.started[-1]

    def stop(self, process, number=signal.SIGTERM):
        process.send_signal(number)
        return process.wait(PATIENCE)

    def does(self, statement, *values):
        cursor = self.database.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []

    # --- what the ledgers say -----------------------------------------------------------------------------------------

    def watches(self):
        begun = [record for record in record_folder.every(self.root / "records") if record.ledger.events()]
        return [record for record in begun if record.opened()["mode"] == "watch"]

    def events(self, *kinds):
        """Every line of every watch, oldest first; of those kinds only."""
        found = [event for record in self.watches() for event in Record(record.folder).ledger.events()]
        return [event for event in found if not kinds or event["event"] in kinds]

    def rang(self):
        return [(event["event"], event["alarm"]) for event in self.events("raised", "recurred", "cleared")]

    def rounds(self, number=1):
        """Wait for so many rounds more that judged everything."""
        before = len(self.good())
        eventually(lambda: len(self.good()) >= before + number, f"{number} good rounds; {self.log()}")

    def good(self):
        return [event for event in self.events("round") if not event.get("replayed") and not event["unknown"]]

    def log(self):
        return (self.root / "watch.log").read_text()[-2000:]

    def contiguous(self):
        """Where one round's line ends the next begins, over every record."""
        lines = self.events("round")
        return [(a["until"], b["from"]) for a, b in pairwise(lines) if a["until"] != b["from"]]

    def settings(self):
        os.environ.update(self.environment)
        return profiles.load("rehearsal")


RICH = "update public.skill_versions set payload = jsonb_set(payload, '{risk,maxMonthlyCostUsd}', '100000')"


@pytest.fixture(scope="module")
def day():
    """One platform with a day behind it for the module; each test finds it as it was.

    Its ticks cost no more than the cap for as long as the module takes: at a tick a second the Skill's $10 last ten
    minutes, and then the cost guard trips, and rings.
    """
    with lifecycle.rehearse(state="first_day") as running:
        password = running.environment["SUPABASE_DB_PASSWORD"]
        with psycopg.connect(running.addresses["database"], password=password, autocommit=True) as database:
            database.execute(RICH)
        yield running


@pytest.fixture
def platform(day, tmp_path):
    lines = {name: Line(day.addresses[name]) for name in LINES}
    password = day.environment["SUPABASE_DB_PASSWORD"]
    address = day.addresses["database"]
    with (
        Hearing() as hearing,
        psycopg.connect(address, password=password, autocommit=True, row_factory=dict_row) as database,
    ):
        made = Platform(day, tmp_path, hearing, lines, database)
        yield made
        for process in made.started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for line in lines.values():
            line.cut()
        for table in ("agent_logs", "agent_commands", "decision_snapshots"):
            column = "context" if table == "decision_snapshots" else "payload" if "commands" in table else "data"
            database.execute(f"delete from public.{table} where {column} ? 'tried'")
        for table, column in (("decision_snapshots", "tick_at"), ("agent_logs", "ts")):
            back = f"{column} = {column} + interval '30 days' where {column} < now() - interval '20 days'"
            database.execute(f"update public.{table} set {back}")
        database.execute("delete from public.agent_logs where event = 'state_drift'")
        database.execute("delete from public.platform_config where key = 'live_runner_image'")
        database.execute("update public.deployments set status = 'stopped', error_text = null where status = 'error'")


def drift(platform):
    platform.does(DRIFT, "state_drift", "tried")


# --- the past ---------------------------------------------------------------------------------------------------------


def test_a_clean_day_raises_nothing(platform):
    watching = platform.watch("--replay", "24", "--every", "300")
    platform.rounds(1)

    assert platform.stop(watching) == 130
    assert platform.rang() == []
    replayed = sum(event["rounds"] for event in platform.events("round") if event.get("replayed"))
    assert replayed == 288
    assert platform.contiguous() == []


LOGGED = """
    insert into public.agent_logs (deployment_id, ts, event, data)
    select %(before)s, now() - %(hours)s * interval '1 hour' + n * interval '40 minutes', '{event}', '{{"tried": 1}}'
    from generate_series(1, {times}) n
"""
MISSING = """
    update public.{table} set {column} = {column} - interval '30 days'
    where deployment_id = %(before)s and {where} and {column} between
    now() - %(hours)s * interval '1 hour' and now() - %(hours)s * interval '1 hour' + interval '20 minutes'
"""
DEAR = """
    insert into public.decision_snapshots
      (deployment_id, tick_at, context, prompt_tokens, completion_tokens, cost_usd)
    values (%(before)s, now() - %(hours)s * interval '1 hour', '{"tried": 1}', 400000, 9000, 0.445)
"""
TRIPPED = """
    insert into public.agent_commands (deployment_id, kind, payload, created_at, acked_at)
    select %(before)s, kind, '{"reason": "cost_guard: month to date", "tried": 1}', at, at
    from (select 'pause', now() - %(hours)s * interval '1 hour'
          union all select 'resume', now() - %(hours)s * interval '1 hour' + interval '1 second') t (kind, at)
"""
MARKED = """
    with marked as (
      update public.deployments set status = 'error', error_text = 'heartbeat lost: tried'
      where id = %(before)s returning id)
    insert into public.agent_state (deployment_id, updated_at)
    select id, now() - %(hours)s * interval '1 hour' from marked
    on conflict (deployment_id) do update set updated_at = excluded.updated_at
"""
PAST = {  # alarm -> how many hours ago it is written into the day, and how
    "4.4b": (20, MISSING.format(table="decision_snapshots", column="tick_at", where="true")),
    "4.4c": (18, MISSING.format(table="agent_logs", column="ts", where="event = 'reconciled'")),
    "4.4d": (16, DEAR),
    "4.5a": (14, LOGGED.format(event="tick_failed", times=2)),
    "4.5b": (12, LOGGED.format(event="state_drift", times=1)),
    "4.5c": (10, LOGGED.format(event="liquidation", times=1)),
    "4.5d": (8, TRIPPED),
    "4.5e": (6, MARKED),
}
ANY_ERROR = "4.4g"  # rings with what the sweep has marked: an error is a status that nobody asked for


def test_one_of_each_alarm_in_a_day_is_raised_exactly_once_at_its_time(platform):
    before = platform.does(BEFORE)[0]["id"]
    for hours, statement in PAST.values():
        platform.database.execute(statement, {"before": before, "hours": hours})
    platform.does("insert into public.platform_config (key, value) values ('live_runner_image', '\"another\"')")

    watching = platform.watch("--replay", "24", "--every", "300")
    platform.rounds(1)
    platform.stop(watching)

    raised = {event["alarm"]: event for event in platform.events("raised")}
    assert sorted(name for _, name in platform.rang()) == sorted([*PAST, ANY_ERROR, "4.5h"])
    assert all(raised[alarm]["replayed"] and 0 <= raised[alarm]["latency"] <= 300 for alarm in PAST)
    began = datetime.fromisoformat(platform.events("watching")[0]["at"])
    for alarm, (hours, _) in PAST.items():
        ago = began - datetime.fromisoformat(raised[alarm]["event_at"])
        assert abs(ago - timedelta(hours=hours)) < timedelta(minutes=90), alarm


# --- now --------------------------------------------------------------------------------------------------------------


def test_an_event_is_alerted_within_seconds_and_loud_until_somebody_takes_it_over(platform):
    watching = platform.watch()
    platform.rounds(2)
    pings = len(eventually(lambda: platform.hearing.paths("/all-well"), "a ping"))

    drift(platform)
    happened = time.monotonic()
    first = eventually(lambda: platform.hearing.paths("/alarm"), "an alert")[0]
    assert time.monotonic() - happened < OWN_DELAY * 2  # by our own clock, on a machine that may be busy
    [raised] = platform.events("raised")
    assert (raised["alarm"], raised["latency"] < OWN_DELAY) == ("4.5b", True)
    assert "4.5b" in json.loads(first)["title"]
    quiet = len(platform.hearing.paths("/all-well"))
    eventually(lambda: len(platform.hearing.paths("/alarm")) > 2, "it is told again")
    assert len(platform.hearing.paths("/all-well")) <= quiet + 1 and quiet >= pings

    code, said = platform.run("status")
    assert code == 1 and "open alarm: 4.5b" in said

    code, said = platform.run("ack", "4.5b", "--as", "ada")
    assert code == 0, said
    eventually(lambda: platform.events("cleared"), "what is over and taken over is settled")
    platform.rounds(1)
    told = len(platform.hearing.paths("/alarm"))
    platform.rounds(4)
    assert len(platform.hearing.paths("/alarm")) == told
    drift(platform)
    eventually(lambda: len(platform.hearing.paths("/alarm")) > told, "a second drift is loud again")
    assert platform.stop(watching) == 130
    assert [kind for kind, name in platform.rang() if name == "4.5b"] == ["raised", "cleared", "raised"]
    assert all(verify.verify(record.folder) == [] for record in platform.watches())


def test_a_second_watch_of_the_same_is_refused_and_what_is_no_watch_too(platform):
    watching = platform.watch()
    platform.rounds(1)

    code, said = platform.run("watch", NOTEBOOK)
    assert (code, "watched already" in said) == (2, True)
    code, said = platform.run("watch", "phase_5")
    assert (code, "nothing to watch" in said) == (2, True)
    platform.stop(watching)
    assert platform.contiguous() == []
    code, said = platform.run("resume", platform.watches()[0].name)
    assert (code, "./runbook watch" in said) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_watch_that_was_ended_goes_on_without_a_gap_or_a_repeated_alarm(platform, number):
    watching = platform.watch()
    platform.rounds(1)
    drift(platform)
    eventually(lambda: platform.events("raised"), "the alarm")
    platform.stop(watching, number)
    planned = platform.events("watching")[0]["ends"]

    again = platform.watch()
    eventually(lambda: len(platform.watches()) == 2, "it goes on in a record of its own")
    platform.rounds(2)
    platform.stop(again)

    assert platform.rang() == [("raised", "4.5b")]
    assert platform.contiguous() == []
    assert platform.events("watching")[1]["ends"] == planned
    assert all(verify.verify(record.folder) == [] for record in platform.watches())
    [(_, alarm)] = alarms.open_alarms(platform.settings(), platform.root / "records")
    assert alarm.name == "4.5b"


def kernel(watching):
    """The pids of what the watch has started, kernels among them."""
    return [int(pid) for pid in Path(f"/proc/{watching.pid}/task/{watching.pid}/children").read_text().split()]


def lost(platform, watching, what):
    """Take something away until rounds are unknown for it; a kernel is only ever away for a moment."""
    if what == "kernel":
        before = len(platform.events("kernel"))
        for pid in kernel(watching):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: len(platform.events("kernel")) > before, f"its end is told; {platform.log()}")
        return
    for name in LINES if what == "network" else (what,):
        platform.lines[name].cut()
    before = len([event for event in platform.events("round") if event.get("unknown")])
    eventually(
        lambda: len([event for event in platform.events("round") if event.get("unknown")]) > before + 1,
        f"without the {what} rounds are unknown; {platform.log()}",
    )


def test_everything_is_lost_twice_and_the_watch_goes_on(platform):
    """Kernel, database and network, each twice, spread over the time; a drift meanwhile is told afterwards."""
    watching = platform.watch("--hours", str((SPAN + 3600) / 3600))
    platform.rounds(3)
    began = time.monotonic()
    for number, what in enumerate(("kernel", "database", "network") * 2, 1):
        while time.monotonic() - began < SPAN * number / 7:
            time.sleep(0.1)
        lost(platform, watching, what)
        pings = len(platform.hearing.paths("/all-well"))
        if number == 2:
            drift(platform)
        if what != "kernel":
            eventually(lambda: platform.events("round")[-1]["unknown"], "it is unknown still")
            assert len(platform.hearing.paths("/all-well")) == pings
        for line in platform.lines.values():
            line.mend()
        platform.rounds(2)
        if number == 2:
            platform.run("ack", "4.5b", "--as", "ada")
    while time.monotonic() - began < SPAN:
        time.sleep(0.1)
    platform.rounds(1)
    platform.stop(watching)

    rang = platform.rang()
    assert [one for one in rang if one[1] != "unknown"] == [("raised", "4.5b"), ("cleared", "4.5b")]
    unknown = [kind for kind, name in rang if name == "unknown"]
    assert unknown == ["raised", "cleared"] * (len(unknown) // 2) and 8 <= len(unknown) <= 12
    assert platform.contiguous() == []
    assert all(verify.verify(record.folder) == [] for record in platform.watches())
