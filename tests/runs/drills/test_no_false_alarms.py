"""The clean rehearsal, ten times, with every core kept busy by something else: no step may complain."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

FLAG = "RUNBOOK_CRY_WOLF"  # set to 1: it takes a quarter of an hour, and the whole machine
TIMES = 10
LIMIT = 900  # seconds one rehearsal may take on a machine that is busy with other things

pytestmark = pytest.mark.skipif(
    os.environ.get(FLAG) != "1", reason=f"set {FLAG}=1 to rehearse {TIMES} times under load"
)


def spin() -> None:
    while True:
        pass


@pytest.fixture(scope="module")
def busy() -> Iterator[None]:
    """As many processes as there are cores, doing nothing but work."""
    spinning = [multiprocessing.get_context("spawn").Process(target=spin) for _ in range(os.cpu_count() or 1)]
    for process in spinning:
        process.start()
    yield
    for process in spinning:
        process.kill()
        process.join()


@pytest.mark.parametrize("time", range(TIMES))
def test_a_clean_rehearsal_under_load_passes(busy, time, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "runbook_lib.cli", "rehearse"],
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        env={**os.environ, "RUNBOOK_RECORDS": str(tmp_path)},
    )

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
