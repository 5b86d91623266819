"""A rehearsal comes up, answers, and leaves nothing behind, however its command ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg
import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.rehearsal.lifecycle import attach, find, rehearse, stop, sweep
from runbook_lib.rehearsal.world import folders, processes
from runbook_lib.rehearsal.world.http_server import HOSTS
from tests.rehearsal.conftest import client, connect, eventually

SUPERVISOR = """
import signal, sys, time
from runbook_lib.rehearsal.lifecycle import rehearse
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background of a shell has it ignored
with rehearse(state=sys.argv[1]) as running:
    print(running.folder, flush=True)
    time.sleep(60)
"""


linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at processes through /proc")


@pytest.fixture
def supervisor(request):
    """A command of its own that holds a rehearsal, and the folder of it."""
    state = getattr(request, "param", "clean")
    command = subprocess.Popen([sys.executable, "-c", SUPERVISOR, state], stdout=subprocess.PIPE, text=True)
    yield command, Path(command.stdout.readline().strip())
    command.kill()
    command.wait()
    command.stdout.close()


def living(entries):
    return [entry["role"] for entry in entries if processes.alive(entry)]


def descendants(pid):
    """Every process below one, as written down for `living`."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return [{"role": str(one), "pid": one, "started": processes.started(one)} for one in found]


def test_everything_in_the_list_of_addresses_answers(rehearsal):
    for service in HOSTS:
        reply = httpx.get(rehearsal.addresses[service] + "/nothing/here")
        assert f"the rehearsal's {HOSTS[service]} knows no GET" in reply.json()["error"]
    with connect(rehearsal) as connection:
        assert connection.execute("select 1").fetchone() == (1,)


def test_a_wrong_database_password_is_refused_in_the_vendors_words(rehearsal):
    with pytest.raises(psycopg.OperationalError, match='password authentication failed for user "postgres"'):
        connect(rehearsal, password="wrong")


@linux
def test_nothing_listens_on_anything_but_loopback(rehearsal):
    pids = {str(entry["pid"]) for entry in processes.recorded(rehearsal.folder)}
    inodes = {
        match[1]
        for pid in pids
        for handle in Path(f"/proc/{pid}/fd").iterdir()
        if handle.exists() or handle.is_symlink()
        if (match := re.match(r"socket:\[(\d+)]", str(handle.readlink())))
    }
    listening = [
        fields[1]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[9] in inodes and fields[3] == "0A"
    ]
    assert len(listening) >= 8
    assert {address.split(":")[0] for address in listening} == {"0100007F"}


def test_secrets_are_readable_by_their_owner_alone(rehearsal):
    assert (rehearsal.folder / "environment.json").stat().st_mode & 0o077 == 0
    assert rehearsal.folder.stat().st_mode & 0o077 == 0


def test_leaving_the_block_takes_everything_down():
    with rehearse() as running:
        started = processes.recorded(running.folder)
        assert {"platform", "postgres"} <= set(living(started))
    assert living(started) == []
    assert not running.folder.exists()


def test_an_error_in_the_block_takes_everything_down():
    with pytest.raises(KeyboardInterrupt), rehearse() as running:
        raise KeyboardInterrupt
    assert not running.folder.exists()


def test_two_rehearsals_at_once_do_not_meet(rehearsal):
    with rehearse() as other:
        assert set(other.addresses.values()).isdisjoint(rehearsal.addresses.values())
        assert other.environment["VERCEL_TOKEN"] != rehearsal.environment["VERCEL_TOKEN"]
        assert {running.folder for running in find()} >= {other.folder, rehearsal.folder}
        # what a command stops or uses by itself is never a rehearsal that somebody else holds
        assert not {running.folder for running in find(kept=True)} & {other.folder, rehearsal.folder}
    assert attach(rehearsal.folder) == rehearsal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_end_of_the_command_takes_everything_down_before_it_is_gone(supervisor, number):
    command, folder = supervisor
    started = processes.recorded(folder)
    command.send_signal(number)
    command.wait(10)
    assert living(started) == []
    assert not folder.exists()


def test_kill_9_of_the_command_is_noticed_by_what_it_started(supervisor):
    command, folder = supervisor
    started = processes.recorded(folder)
    command.kill()
    eventually(lambda: not folder.exists())
    eventually(lambda: living(started) == [])


def test_kill_9_of_command_and_platform_is_cleaned_up_by_the_next_start(supervisor):
    command, folder = supervisor
    started = processes.recorded(folder)
    os.kill(command.pid, signal.SIGSTOP)  # so that it cannot clean up either
    platform = next(int(str(entry["pid"])) for entry in started if entry["role"] == "platform")
    os.kill(platform, signal.SIGKILL)
    command.kill()
    command.wait()
    eventually(lambda: not folders.alive(folder))
    sweep()
    assert not folder.exists()
    assert living(started) == []


@linux
@pytest.mark.parametrize("victim", ["command", "platform"])
@pytest.mark.parametrize("supervisor", ["live"], indirect=True)
def test_kill_9_of_either_leaves_no_runner_behind(supervisor, victim):
    command, folder = supervisor
    platform = next(int(str(entry["pid"])) for entry in processes.recorded(folder) if entry["role"] == "platform")
    everybody = descendants(platform)
    assert len(everybody) > 3  # the database has several, a runner and its parent are two
    os.kill(command.pid if victim == "command" else platform, signal.SIGKILL)
    eventually(lambda: living(everybody) == [])


def test_the_death_of_the_platform_process_ends_its_database():
    with rehearse() as running:
        started = processes.recorded(running.folder)
        platform = next(int(str(entry["pid"])) for entry in started if entry["role"] == "platform")
        os.kill(platform, signal.SIGKILL)
        eventually(lambda: "postgres" not in living(started))


def test_a_kept_rehearsal_outlives_its_command_until_it_is_stopped():
    code = "from runbook_lib.rehearsal.lifecycle import keep; print(keep().folder)"
    folder = Path(subprocess.check_output([sys.executable, "-c", code], text=True).strip())
    running = attach(folder)
    with client(running, "person", "REHEARSAL_TOKEN") as person:
        assert person.get("/gestures").status_code == 200
    started = processes.recorded(folder)
    stop(folder)
    assert living(started) == []
    with pytest.raises(ConfigError, match="no rehearsal runs in"):
        attach(folder)


def test_a_sweep_leaves_the_living_alone(rehearsal):
    assert rehearsal.folder not in sweep()
    assert attach(rehearsal.folder) == rehearsal


def test_a_recorded_number_that_now_belongs_to_somebody_else_is_not_ended(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        processes.end([{"role": "runner", "pid": bystander.pid, "started": "1"}], grace=0.2)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_the_checkout_and_the_command_lines_are_in_place(rehearsal):
    repository = Path(rehearsal.addresses["repository"])
    migrations = sorted(path.name for path in (repository / "packages/db/supabase/migrations").iterdir())
    assert migrations[0].endswith(".sql")
    assert (repository / "apps/live-runner/Dockerfile").exists()
    for name in ("fly", "supabase"):
        assert os.access(rehearsal.folder / "bin" / name, os.X_OK)
