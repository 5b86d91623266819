"""One writer: the second is told who holds the lock; the database releases it when its holder dies."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from runbook_lib.commands.command import http, sql
from runbook_lib.commands.expectations import value
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services import advisory_lock
from runbook_lib.services import write_lock as module
from runbook_lib.services.advisory_lock import WritingSession
from runbook_lib.services.database import GRACE
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from tests import operators
from tests.core_fixtures import at, connect, eventually, phase_of
from tests.structure.imports import Library

HOLD = """
import sys
from runbook_lib.settings import profiles
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
writer = Writer(Services(profiles.load("rehearsal")), "grace 2026-11-22/1_phase")
writer.take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def mine(chosen):
    """The writer of this process."""
    services = Services(chosen)
    made = Writer(services, "ada 2026-11-22/2_phase")
    made.release()
    yield made
    made.release()
    services.close()


@pytest.fixture
def grace(environment):
    """Another operator's process, which holds the lock."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert holder.stdout.readline() == "held\n"
    yield holder
    if holder.poll() is None:
        holder.kill()
    holder.communicate()


def test_the_second_writer_is_told_who_holds_the_lock_and_since_when(grace, mine):
    with pytest.raises(StepRefused, match=r"held by grace 2026-11-22/1_phase, since 20\d\d-.*Z: you can look"):
        mine.take()


def test_the_second_operator_looks_and_stops_things_but_changes_nothing_else(grace, chosen, tmp_path, table, count):
    """While another writes: a check, an undo and a notebook of safety actions work; an act of a phase does not."""
    one = sql("select 1 as n")
    change, back = sql(f"insert into public.{table} values (gen_random_uuid())"), sql(f"delete from public.{table}")
    phase = phase_of(chosen, tmp_path, "check 1a", "act 1b")
    phase.check("1a", "look", one, expect=value(1), fix="x")
    with pytest.raises(StepRefused, match="held by grace 2026-11-22/1_phase, since"):
        phase.act("1b", "change", change, repeatable=True)
    assert count() == 0

    safety = phase_of(chosen, tmp_path, "act 1b")
    safety.name = "respond_to_incident"
    safety.act("1b", "stop", change, repeatable=True, undo=back)
    assert count() == 1
    safety.undo("1b")
    assert count() == 0


def test_a_halt_cannot_even_ask_for_the_lock():
    """Nothing that the halt is made of knows that there is one."""
    reached = Library.read(Path(module.__file__).parents[1]).reached("halt.stop")

    assert "services.database" in reached
    assert "services.write_lock" not in reached


def test_a_phase_opened_again_in_the_same_process_is_the_same_writer(mine, chosen):
    mine.take()
    again = Writer(Services(chosen), "ada 2026-11-22/3_phase")
    again.take()

    assert len(module.HELD) == 1


def test_a_lock_whose_holder_has_left_can_be_taken(grace, mine):
    grace.communicate("")  # it ends by itself

    eventually(lambda: _taken(mine), "the lock of a process that ended")


def test_a_lock_that_the_database_dropped_is_taken_again(mine):
    mine.take()
    (session,) = module.HELD.values()
    session.connection.close()  # what the reset of the password does to every session

    mine.take()
    (again,) = module.HELD.values()
    assert again.fence > session.fence and again.pid != session.pid


def test_a_lock_lost_to_somebody_else_is_not_believed_in(mine, request):
    mine.take()
    next(iter(module.HELD.values())).connection.close()
    request.getfixturevalue("grace")

    with pytest.raises(StepRefused, match="held by grace"):
        mine.take()


def test_the_database_releases_the_lock_of_a_killed_process(grace, mine):
    with pytest.raises(StepRefused, match="held by grace"):
        mine.take()

    grace.send_signal(signal.SIGKILL)
    grace.communicate()
    eventually(lambda: _taken(mine), "the lock of a killed process")


# --- the proof --------------------------------------------------------------------------------------------------------


@pytest.fixture
def services(chosen):
    """Services of the one writer."""
    made = Services(chosen)
    writer = Writer(made, "ada 2026-11-22/2_phase")
    writer.release()
    writer.take()
    yield made
    writer.release()
    made.close()


def ended(running, services):
    """The server ends the session that holds the lock; whoever holds it is not told."""
    with connect(running) as connection:
        connection.execute("select pg_terminate_backend(%s)", (services.database.writing.pid,))
        pid = services.database.writing.pid
        gone = "select 1 from pg_stat_activity where pid = %s"
        eventually(lambda: connection.execute(gone, (pid,)).fetchone() is None, "the end of a session")


def test_a_change_runs_in_the_session_that_holds_the_lock(services, table, count):
    pid = services.database.writing.pid
    made = f"insert into public.{table} values (gen_random_uuid(), pg_backend_pid()::text) returning word"
    assert services.change(sql(made)).value("word") == str(pid)
    assert count() == 1
    assert services.change(sql("select pg_backend_pid()::text as word")).value("word") == str(pid)


def test_a_change_after_the_lock_was_lost_is_not_made(services, table, count, running):
    ended(running, services)
    with pytest.raises(ServiceError, match="the writing lock was lost") as lost:
        services.change(sql(f"insert into public.{table} values (gen_random_uuid(), 'x')"))
    assert not lost.value.sent and count() == 0


def test_a_request_after_the_lock_was_lost_is_not_sent(services, running, vendor, chosen):
    there = Services(at(chosen, vendor))
    there.database.writing = services.database.writing
    assert there.change(http("openrouter", "POST /things/a")).status == 200
    ended(running, services)
    with pytest.raises(ServiceError, match="the writing lock was lost") as lost:
        there.change(http("openrouter", "POST /things/b"))
    assert not lost.value.sent and vendor.things == {"a"}
    assert there.look(http("openrouter", "GET /things/a")).status == 200  # looking needs no lock
    there.close()


def test_an_act_says_under_which_number_the_lock_is_held(chosen, tmp_path, table):
    phase = phase_of(chosen, tmp_path, "act 1a", "act 1b")
    for number in ("1a", "1b"):
        phase.act(number, "change", sql(f"insert into public.{table} values (gen_random_uuid(), 'x')"), repeatable=True)
    fences = [event["fence"] for event in phase.record.ledger.events() if event["event"] == "sending"]
    assert fences == [phase.services.database.writing.fence] * 2


def test_no_change_is_made_after_somebody_else_has_the_lock(chosen, running, table, count):
    """Killed at any moment: what the first has changed by the time the second holds the lock is all it ever changes."""
    kill = "select pg_terminate_backend(%s)"
    change = sql(f"insert into public.{table} values (gen_random_uuid(), 'first')")
    late = []
    with connect(running) as killer:
        for turn in range(TRIES):
            first, second = Services(chosen), Services(chosen)
            session = first.database.take_lock(NAME, f"first {turn}")
            first.database.writing = session

            def changes(first=first):
                with contextlib.suppress(ServiceError):
                    while not first.change(change).error:
                        pass

            changing = threading.Thread(target=changes)
            changing.start()
            time.sleep(random.uniform(0, 0.01))
            killer.execute(kill, (session.pid,))
            held = eventually(lambda: _session(second.database.take_lock(NAME, "second")), "the lock")  # noqa: B023
            before = count()
            changing.join()
            late += [turn] if count() != before else []
            held.connection.close()
            for services in (first, second):
                services.close()
    assert late == []


@pytest.mark.parametrize("how", [operators.killed, operators.frozen])
def test_of_two_operators_the_one_that_lost_the_lock_changes_nothing_more(running, environment, how):
    """Two processes; `./runbook bench lock` makes 500 tries of it."""
    with operators.Trial(running) as trial:
        figures = trial.lose(how, 5)
    assert (figures.late, figures.unproven, figures.both) == (0, 0, 0)
    assert figures.acts and figures.gaps


needs_pooler = pytest.mark.skipif(operators.program() is None, reason="pgbouncer is not installed")


@needs_pooler
def test_behind_a_pooler_by_session_one_operator_holds_the_lock(running, environment):
    with operators.pooler(running, "session") as address, operators.Trial(running, address) as trial:
        figures = trial.lose(operators.killed, 3)
    assert (figures.late, figures.unproven, figures.both) == (0, 0, 0) and figures.acts


@needs_pooler
def test_behind_a_pooler_by_transaction_nobody_takes_the_lock(running, environment):
    with operators.pooler(running, "transaction") as address, operators.Trial(running, address) as trial:
        words = trial.refused(5)
    assert "taken" not in words
    assert any("pooled by transaction" in word for word in words)


def test_the_session_of_a_lost_lock_is_closed(services, table):
    """The server's last words may come before it hangs up: nothing else would end what nobody uses any more."""
    session = services.database.writing
    session.connection.execute("select pg_advisory_unlock_all()")
    with pytest.raises(ServiceError, match="the writing lock was lost"):
        services.change(sql(f"insert into public.{table} values (gen_random_uuid(), 'x')"))
    assert session.connection.closed


def test_a_change_on_a_connection_that_leads_nowhere_is_a_lost_lock(services, table):
    """Its descriptor is closed, or somebody else's by now: no error of Postgres tells of that."""
    held = services.database.writing.connection.fileno()
    kept, (nowhere, other) = os.dup(held), os.pipe()
    os.dup2(nowhere, held)
    try:
        with pytest.raises(ServiceError, match="the writing lock was lost") as lost:
            services.change(sql(f"insert into public.{table} values (gen_random_uuid(), 'x')"))
        assert not lost.value.sent
    finally:
        for descriptor in (kept, nowhere, other):
            os.close(descriptor)


def test_hanging_up_on_a_server_that_has_hung_up_is_no_error(chosen):
    """It is done in a thread of its own, whose errors nobody hears; here they fail the test."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        there, _ = server.accept()
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        there.close()  # with a reset
        with Services(chosen).database.limited(client, within=0.05 - GRACE):
            time.sleep(0.3)


NAME = "trial of the writing lock"
TRIES = 40


def _session(taken):
    return taken if isinstance(taken, WritingSession) else None


# --- connections that hold nobody back, and sessions that hold somebody back for nothing -----------------------------


def test_two_connections_of_a_direct_address_do_not_share_a_session(chosen):
    with Services(chosen).database.connect() as first, Services(chosen).database.connect() as second:
        session = advisory_lock.take(first, NAME, "first")
        assert not advisory_lock.pooled(session, second)
        assert advisory_lock.take(second, NAME, "second") is None
        assert advisory_lock.holder(second, NAME).who == "first"


def test_a_session_that_holds_the_lock_for_another_client_takes_it_for_nobody_else(chosen):
    """Postgres lets a session take its own lock again: behind a pooler two clients would both hold it."""
    with Services(chosen).database.connect() as shared:
        assert advisory_lock.take(shared, NAME, "first")
        with pytest.raises(StepRefused, match="pooled by transaction"):
            advisory_lock.take(shared, NAME, "second")


def test_two_connections_that_share_a_session_are_told(chosen):
    """As a pooler by transaction gives them out: the lock is taken again on the same session, and held by both."""
    with Services(chosen).database.connect() as shared:
        assert advisory_lock.pooled(advisory_lock.take(shared, NAME, "first"), shared)


def test_a_lock_that_two_connections_share_is_not_exclusive_and_not_kept(chosen):
    with Services(chosen).database.connect() as first, Services(chosen).database.connect() as second:
        assert advisory_lock.exclusive(first, second)
        assert not advisory_lock.exclusive(first, first)
        assert (
            first.execute("select 1 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()").fetchone()
            is None
        )


def test_ones_own_dead_session_is_ended_and_told(chosen, running):
    """The client's side is gone, the server's side stays, and the lock with it."""
    services, told = Services(chosen), []
    mine = Writer(services, "ada 2026-11-22/2_phase", told.append)
    mine.release()
    mine.take()
    (session,) = module.HELD.values()
    # What is left of a connection whose peer was reset: a descriptor that leads nowhere, and a server that waits.
    kept = os.dup(session.connection.fileno())
    nowhere, other = os.pipe()
    os.dup2(nowhere, session.connection.fileno())
    try:
        mine.take()
        (again,) = module.HELD.values()
        assert again.pid != session.pid and again.fence > session.fence
        assert [str(dead).startswith("ada 2026-11-22/2_phase, since") for dead in told] == [True]
    finally:
        for descriptor in (kept, nowhere, other):
            os.close(descriptor)
        mine.release()
        services.close()


def test_a_frozen_session_is_not_waited_for(chosen, running):
    """The server's process is stopped: nothing comes back, not even an error."""
    quick = chosen.model_copy(update={"budgets": chosen.budgets.model_copy(update={"answer": 1.0})})
    services = Services(quick)
    mine = Writer(services, "ada 2026-11-22/2_phase")
    mine.release()
    mine.take()
    pid = services.database.writing.pid
    os.kill(pid, signal.SIGSTOP)
    started = time.monotonic()
    try:
        with pytest.raises(StepRefused, match="held by ada 2026-11-22/2_phase"):
            mine.take()
        assert time.monotonic() - started < 30
    finally:
        os.kill(pid, signal.SIGCONT)
        mine.release()
        services.close()


def test_unlock_ends_the_session_that_was_shown_and_no_other(grace, chosen, mine):
    other = eventually(lambda: module.holder(chosen), "grace")
    assert other.who == "grace 2026-11-22/1_phase" and other.address
    with pytest.raises(StepRefused, match=r"not held by .* any more"):
        module.unlock(chosen, dataclasses.replace(other, pid=other.pid + 1))
    module.unlock(chosen, other)
    eventually(lambda: _taken(mine), "the lock of a session that was ended")


def _taken(writer):
    try:
        writer.take()
    except StepRefused:
        return False
    return True
