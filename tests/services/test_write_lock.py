"""One writer: the second is told who holds the lock; the database releases it when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.commands.command import sql
from runbook_lib.commands.expectations import value
from runbook_lib.errors import StepRefused
from runbook_lib.services import write_lock as module
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from tests.core_fixtures import eventually, phase_of
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
    (lock,) = module.HELD.values()
    lock.close()  # what the reset of the password does to every session

    mine.take()
    assert module.HELD and lock not in module.HELD.values()


def test_a_lock_lost_to_somebody_else_is_not_believed_in(mine, request):
    mine.take()
    next(iter(module.HELD.values())).close()
    request.getfixturevalue("grace")

    with pytest.raises(StepRefused, match="held by grace"):
        mine.take()


def test_the_database_releases_the_lock_of_a_killed_process(grace, mine):
    with pytest.raises(StepRefused, match="held by grace"):
        mine.take()

    grace.send_signal(signal.SIGKILL)
    grace.communicate()
    eventually(lambda: _taken(mine), "the lock of a killed process")


def _taken(writer):
    try:
        writer.take()
    except StepRefused:
        return False
    return True
