"""A warm process forks others: each knows what it was told, its end is told, and none outlives the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.forks import ForkServer
from tests.core_fixtures import eventually

CALLED = """
import os, sys, time

def leave(facts, *descriptors):
    for descriptor in descriptors:
        os.write(descriptor, repr((facts, "json" in sys.modules)).encode())
    if "sleeps" in facts:
        time.sleep(60)
    sys.exit(facts["code"])
"""


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "called_by_forks.py").write_text(CALLED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = ForkServer("called_by_forks:leave", ["json", "no_such_module"], log=subprocess.DEVNULL)
    yield started
    started.close()


def forked(server, **facts):
    """A fork's own words, and its status to read from: its process id, then its exit code."""
    (status, theirs), (words, out) = os.pipe(), os.pipe()
    try:
        server.fork([theirs, out], facts)
    finally:
        os.close(theirs)
        os.close(out)
    return os.fdopen(words), os.fdopen(status)


def test_a_fork_gets_its_facts_and_descriptors_and_its_end_is_told(server):
    for code in (0, 3):
        words, status = forked(server, code=code)
        with words, status:
            assert words.read() == repr(({"code": code}, True))
            pid, ended = status.read().split()
            assert int(ended) == code
            assert not Path("/proc", pid).exists()


def test_a_request_larger_than_a_pipe_arrives_whole(server):
    words, status = forked(server, code=0, long="x" * 150_000)
    with words, status:
        assert len(words.read()) > 150_000
        assert status.read().split()[1] == "0"


def test_no_fork_outlives_the_server(server):
    words, status = forked(server, code=0, sleeps=True)
    with words, status:
        pid = int(status.readline())
        os.kill(server.pid, signal.SIGKILL)
        assert status.read() == ""
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the fork has ended")
    with pytest.raises(OSError):
        for _ in range(100):
            forked(server, code=0)


def test_the_server_does_not_outlive_who_started_it(tmp_path):
    starts = (
        "import subprocess, time; from runbook_lib.forks import ForkServer; "
        "server = ForkServer('signal:pause', log=subprocess.DEVNULL); print(server.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE, text=True) as starter:
        pid = int(starter.stdout.readline())
        starter.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the server has ended")
