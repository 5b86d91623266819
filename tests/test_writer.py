"""One writer: the second is told who holds the lock; the database releases it when its holder dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from runbook_lib.errors import StepRefused
from runbook_lib.services import Services
from runbook_lib.writer import Writer
from tests.core_fixtures import eventually

HOLD = """
import sys
from runbook_lib import settings
from runbook_lib.services import Services
from runbook_lib.writer import Writer
writer = Writer(Services(settings.load("rehearsal")), "grace 2026-11-22/1_phase")
writer.take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def two(chosen):
    """Two operators on one profile."""
    services = [Services(chosen), Services(chosen)]
    writers = [Writer(services[0], "ada 2026-11-22/1_phase"), Writer(services[1], "grace 2026-11-22/2_phase")]
    yield writers
    for writer, one in zip(writers, services, strict=True):
        writer.release()
        one.close()


def test_the_second_writer_is_told_who_holds_the_lock_and_since_when(two):
    first, second = two
    first.take()

    with pytest.raises(StepRefused, match=r"held by ada 2026-11-22/1_phase, since 20\d\d-.*Z: you can look"):
        second.take()


def test_taking_twice_is_holding(two):
    two[0].take()
    two[0].take()


def test_a_released_lock_can_be_taken(two):
    first, second = two
    first.take()
    first.release()
    second.take()

    with pytest.raises(StepRefused, match="held by grace"):
        first.take()


def test_a_lock_that_the_database_dropped_is_taken_again(two, running):
    first, _ = two
    first.take()
    first._lock.close()  # what the reset of the password does to every session

    first.take()
    with pytest.raises(StepRefused, match="held by ada"):
        two[1].take()


def test_the_database_releases_the_lock_of_a_killed_process(two, environment):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StepRefused, match="held by grace"):
        two[0].take()

    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    eventually(lambda: _taken(two[0]), "the lock of a killed process")


def _taken(writer):
    try:
        writer.take()
    except StepRefused:
        return False
    return True
