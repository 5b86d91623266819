"""A record is sealed whole and without secrets, and the seals of a profile make one chain."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from runbook_lib.errors import RecordError
from runbook_lib.records import record_folder, seal_chain
from runbook_lib.records.verify import chain
from runbook_lib.settings.redaction import Redactor
from tests.records.test_ledger import make

SECRET = "correct-horse-battery"


def gaps(root):
    """What the chain of the rehearsal's seals tells of records that are gone."""
    sealed = [(record.folder, seal) for record in record_folder.every(root) if (seal := record.sealed())]
    return list(chain(sealed, {"hash": seal_chain.head(root / "rehearsal")}))


def test_each_seal_names_the_one_before_it(tmp_path):
    seals = [seal_chain.seal(make(tmp_path), "passed") for _ in range(3)]
    assert [seal["previous"] for seal in seals] == [None, seals[0]["hash"], seals[1]["hash"]]
    assert seal_chain.head(tmp_path / "rehearsal") == seals[2]["hash"]


SEAL = """
import sys
from pathlib import Path
from runbook_lib.records import run_record, seal_chain
root = Path(sys.argv[1])
for _ in range(20):
    seal_chain.seal(run_record.create(root, "rehearsal", f"phase_{sys.argv[2]}", "", id="x", mode="watch"), "passed")
"""


def test_two_processes_that_seal_at_once_do_not_fork_the_chain(tmp_path):
    both = [subprocess.Popen([sys.executable, "-c", SEAL, tmp_path, who]) for who in "ab"]
    assert [process.wait(120) for process in both] == [0, 0]
    seals = {seal["hash"]: seal["previous"] for record in record_folder.every(tmp_path) if (seal := record.sealed())}
    found, walked = seal_chain.head(tmp_path / "rehearsal"), 0
    while found is not None:
        found, walked = seals[found], walked + 1
    assert walked == len(seals) == 40
    assert gaps(tmp_path) == []


CRASH = """
import os, signal, sys
from pathlib import Path
from runbook_lib.records import run_record, seal_chain
replace, calls = seal_chain._replace, []
def crashing(path, content):
    calls.append(content)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(path, content)
seal_chain._replace = crashing
root = Path(sys.argv[1])
seal_chain.seal(run_record.create(root, "rehearsal", "phase_crash", "", id="x", mode="watch"), "passed")
"""


@pytest.mark.parametrize(("call", "was_sealed"), [(1, False), (2, True)])
def test_a_crash_while_sealing_leaves_one_chain(tmp_path, call, was_sealed):
    first = seal_chain.seal(make(tmp_path), "passed")
    crashed = subprocess.run([sys.executable, "-c", CRASH, tmp_path, str(call)], timeout=120, check=False)
    assert crashed.returncode == -signal.SIGKILL
    record = record_folder.find(tmp_path, "phase_crash")
    seal = record.sealed()
    assert (seal is not None) is was_sealed
    after = seal_chain.seal(make(tmp_path), "passed")
    assert after["previous"] == (seal or first)["hash"]
    if seal is None:  # it can still be sealed later, and takes its place then
        assert seal_chain.seal(record, "failed")["previous"] == after["hash"]
    assert gaps(tmp_path) == []


def test_a_record_that_is_gone_leaves_a_gap(tmp_path):
    made = [make(tmp_path) for _ in range(3)]
    hashes = [seal_chain.seal(record, "passed")["hash"] for record in made]
    shutil.rmtree(made[1].folder)
    assert gaps(tmp_path) == [
        f"{made[2].folder}: the seal before it, {hashes[1]}, is not here: it is gone, or its record is damaged"
    ]
    shutil.rmtree(made[2].folder)
    assert gaps(tmp_path) == [f"the newest seal, {hashes[2]}, is not here: it is gone, or its record is damaged"]


def test_a_secret_is_redacted_in_the_ledger_and_refused_elsewhere(tmp_path):
    redact = Redactor({"FLY_API_TOKEN": SECRET})
    record = make(tmp_path, redact=redact)
    record.ledger.append("shown", commands=[], rows=[{SECRET: f"Bearer {SECRET}"}])
    assert record.ledger.events()[-1]["rows"] == [{"$FLY_API_TOKEN": "Bearer $FLY_API_TOKEN"}]
    (record.folder / "notebook.ipynb").write_text(f"héllo {SECRET.encode().hex()}")
    with pytest.raises(RecordError, match=r"notebook\.ipynb: .*FLY_API_TOKEN \(hex\) at character 6; not sealed"):
        seal_chain.seal(record, "passed")
    assert record.sealed() is None
    (record.folder / "notebook.ipynb").unlink()
    seal_chain.seal(record, "passed")


def test_what_is_no_plain_file_is_not_sealed(tmp_path):
    record = make(tmp_path)
    os.mkfifo(record.folder / "pipe")
    with pytest.raises(RecordError, match="not a plain file; not sealed"):
        seal_chain.seal(record, "passed")
