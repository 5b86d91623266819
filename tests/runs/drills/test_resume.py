"""Crashed at any point and resumed, a run leaves the platform as if it had never been disturbed, each act done once.

The points are counted in an undisturbed run: every line of the ledger, and every parcel to or from a service.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress

import psycopg
import pytest

from runbook_lib.commands.command import http
from runbook_lib.records import history, run_record
from runbook_lib.records.record_folder import Record
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs.drills.drill import _ask
from runbook_lib.settings import profiles
from tests import crashing
from tests.cli.test_main import Runbook
from tests.core_fixtures import eventually, write_notebook

POINTS = int(os.environ.get("RUNBOOK_CRASHES", "8"))  # 500 for a thorough search
ATTEMPTS = 3  # resumed runs until one passes: Postgres recovers, a lock is given back

# What the acts change, and a book of every change that took effect.
TABLES = """
create table public.kept (id uuid primary key, run int, word text);
create table public.counted (run int, word text);
create table public.changed (run int primary key, word text);
create table public.effects (place text, run int, what text);
create function public.note() returns trigger language plpgsql as
  $$ begin insert into public.effects values (tg_table_name, new.run, tg_op); return new; end $$;
create trigger note after insert or update on public.kept for each row execute function public.note();
create trigger note after insert or update on public.counted for each row execute function public.note();
create trigger note after insert or update on public.changed for each row execute function public.note();
grant all on public.kept, public.counted, public.changed, public.effects to postgres;
alter role postgres set synchronous_commit = on
"""
# One cell a paragraph. Acts are made safe by their key, by a proof, by a proof of another service, by an undo.
CELLS = """
phase.check("1a", "Tables", sql("select 1 as n from pg_tables where tablename = 'kept'"), expect=value(1), fix="x")

keep = "insert into public.kept values (%(key)s, %(run)s, 'x') on conflict do nothing"
phase.act("1b", "Keep", sql(keep, key="{key}", run=RUN))

counted = sql("select word from public.counted where run = %(run)s", run=RUN)
phase.act("1c", "Count", sql("insert into public.counted values (%(run)s, 'x')", run=RUN), proof=counted)

new_app = http("fly", "POST /v1/apps", json={"app_name": "crash-RUN", "org_slug": "rehearsal"})
phase.act("1d", "Make an app", new_app, proof=http("fly", "GET /v1/apps/crash-RUN"))

there = "update public.changed set word = 'new' where run = %(run)s and word = 'old'"
back = "update public.changed set word = 'old' where run = %(run)s and word = 'new'"
phase.act("1e", "Change", sql(there, run=RUN), undo=sql(back, run=RUN), repeatable=True)

phase.undo("1e")

word = sql("select word from public.changed where run = %(run)s", run=RUN)
phase.check("1f", "It is as it was", word, expect=value("old"), fix="look")

phase.close()
"""


class Platform:
    """A rehearsal to crash on, and what has become of it."""

    def __init__(self, running, root):
        self.running, self.root, self.run, self.witness = running, root, 0, None
        for statement in TABLES.split(";\n"):
            _ask(http("person", "POST /sql", json={"sql": statement}))

    def connected(self):
        return psycopg.connect(
            self.running.addresses["database"], password=os.environ["SUPABASE_DB_PASSWORD"], autocommit=True
        )

    def crash(self):
        """Kill a session of Postgres as a crash would: the server throws everybody out and recovers."""
        self.witness = self.connected()
        with self.connected() as victim:
            os.kill(victim.info.backend_pid, signal.SIGKILL)

    def recover(self):
        """Wait until a crash is over: its witness was thrown out, and the server answers."""
        if self.witness:
            eventually(lambda: not self.answers(self.witness), "Postgres throws everybody out")
            eventually(self.connects, "Postgres recovers")
            self.witness.close()
            self.witness = None

    def connects(self):
        with suppress(psycopg.OperationalError), self.connected() as connection:
            return self.answers(connection)

    @staticmethod
    def answers(connection):
        with suppress(psycopg.OperationalError):
            return bool(connection.execute("select 1"))

    def begun(self, parent=None):
        """A record of the notebook: a new run of its own, or one that resumes a parent."""
        notebook = self.notebook(self.root.parent) if parent is None else parent.notebook
        record = run_record.begin(
            profiles.load("rehearsal"), "phase_crash", root=self.root, source=notebook, parent=parent
        )
        record.notebook.write_bytes(notebook.read_bytes())
        return record

    def notebook(self, folder):
        """The notebook of a new run, on rows of its own."""
        self.run += 1
        with self.connected() as connection:
            connection.execute("insert into public.changed values (%s, 'old')", (self.run,))
        cells = CELLS.strip().replace("RUN", str(self.run)).split("\n\n")
        return write_notebook(folder / "phase_crash.ipynb", *cells, opening=True)

    def state(self):
        """Everything of this run that the platform holds, and every change that took effect."""
        with self.connected() as connection:
            rows = connection.execute(
                "select 'kept', word from public.kept where run = %(run)s "
                "union all select 'counted', word from public.counted where run = %(run)s "
                "union all select 'changed', word from public.changed where run = %(run)s "
                "union all select 'effect on ' || place, what from public.effects where run = %(run)s",
                {"run": self.run},
            ).fetchall()
        app = _ask(http("fly", f"GET /v1/apps/crash-{self.run}"))
        return Counter([*rows, ("app", app.value("status"))])

    def struck(self, point):
        """The first record of a run that was struck, sealed as resuming does; and the events there were."""
        record = self.begun()
        counts = crashing.walk(self.running.folder, record, point, self.crash)
        self.recover()
        return self.sealed(record), counts

    def sealed(self, record):
        record = Record(record.folder, profiles.load("rehearsal").redactor())
        run_record.finish(record, **({} if history.read(record).closed() else {"ended": "cut off"}))
        return record

    def resumed(self, record):
        """The last of the records that resume one, until one has passed; each undisturbed."""
        for _ in range(ATTEMPTS):
            if record.sealed()["outcome"] == "passed":
                break
            child = self.begun(record)
            crashing.walk(self.running.folder, child, None, self.crash)
            record = self.sealed(child)
        return record


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    before = dict(os.environ)
    with lifecycle.rehearse() as running:
        os.environ.update(running.environment)
        yield Platform(running, tmp_path_factory.mktemp("crashes") / "records")
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def undisturbed(platform):
    """What a run leaves that nothing disturbs, and every point at which it can be struck."""
    record, counts = platform.struck(None)
    assert record.sealed()["outcome"] == "passed", record.ledger.path.read_text()[-3000:]
    return platform.state(), list(crashing.points(counts))


def chosen(every, number):
    """So many points, spread over all of them; over and over where there are not as many."""
    drawn = random.Random(os.environ.get("RUNBOOK_SEED", "7"))
    found = []
    while len(found) < number:
        found += drawn.sample(every, min(len(every), number - len(found)))
    return found


def test_an_undisturbed_run_does_each_act_once(undisturbed):
    state, every = undisturbed
    assert state == Counter(
        {
            **{("kept", "x"): 1, ("counted", "x"): 1, ("changed", "old"): 1, ("app", state_of_app(state)): 1},
            **{("effect on kept", "INSERT"): 1, ("effect on counted", "INSERT"): 1},
            **{("effect on changed", "INSERT"): 1, ("effect on changed", "UPDATE"): 2},
        }
    )
    assert len(every) > 100


def state_of_app(state):
    return next(word for place, word in state if place == "app")


def test_a_run_that_is_struck_anywhere_and_resumed_leaves_what_an_undisturbed_one_leaves(platform, undisturbed):
    expected, every = undisturbed
    wrong, ended = {}, Counter()
    for point in chosen(every, POINTS):
        record, _ = platform.struck(point)
        last = platform.resumed(record)
        ended[point.what, record.sealed()["outcome"], len(last.parents)] += 1
        found, seal = platform.state(), last.sealed()
        if seal["outcome"] != "passed" or found != expected:
            ends = {n: (e["outcome"], e["complaint"]) for n, e in history.read(last).outcomes().items()}
            wrong[str(point)] = (last.folder, seal.get("ended"), found - expected, expected - found, ends)
    print(f"{len(every)} points, {POINTS} struck: what, how the run ended, times resumed: {dict(ended)}")
    assert sum(number for (_, outcome, _), number in ended.items() if outcome != "passed") > POINTS / 4
    assert not wrong, "\n".join(f"{point}: {told}" for point, told in wrong.items())


@pytest.fixture
def runbook(tmp_path, monkeypatch, processes):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    return Runbook(tmp_path, processes)


@pytest.mark.parametrize("line", range(2, 20, 3) if POINTS > 8 else [6])
def test_a_command_that_is_killed_and_resumed_leaves_what_an_undisturbed_one_leaves(
    platform, undisturbed, runbook, line
):
    """The real command and its kernel: kill -9 when the ledger has so many lines, then ./runbook resume."""
    platform.notebook(runbook.notebooks)
    command = runbook.start("run", "phase_crash")
    eventually(lambda: sum(len(r.ledger.events()) for r in runbook.records) >= line, f"line {line} of the ledger")
    command.kill()
    command.communicate()
    code, said = runbook("resume", runbook.records[0].name)
    assert code == 0, said
    assert platform.state() == undisturbed[0]
