"""Each sealed record is copied to the archive; a copy that fails is said, fails no run, and is made by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from runbook_lib.errors import ConfigError
from runbook_lib.records import archive, run_record, signing
from runbook_lib.records.record_folder import Record
from runbook_lib.records.verify import SIGNATURE, SIGNERS, verify
from runbook_lib.settings import profiles
from tests import keys

# Seals a record, and is killed as soon as the seal is on the disk.
KILLED = """
import os, signal, sys
from pathlib import Path
from runbook_lib.records import archive, ledger, record_folder
write = ledger.Ledger._write
def killed(*given):
    write(*given)
    os.kill(os.getpid(), signal.SIGKILL)
ledger.Ledger._write = killed
archive.close(record_folder.Record(Path(sys.argv[1])))
"""


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "archive"
    made.mkdir()
    return made


@pytest.fixture
def profile(folder):
    """A rehearsal profile that names an archive."""
    return profiles.load("rehearsal").model_copy(update={"archive": str(folder)})


@pytest.fixture
def root(tmp_path):
    return tmp_path / "records"


def begun(root, profile):
    given = f"profile: {{kind: {profile.kind}, archive: {profile.archive or 'null'}}}\n"
    return run_record.create(root, profile.name, "phase_try", given, kind=profile.kind, operator="ada")


def closed(root, profile):
    record = begun(root, profile)
    record.ledger.append("outcome", step="0.1a", outcome="passed")
    (record.folder / "charts").mkdir()
    (record.folder / "charts" / "one.png").write_bytes(b"\x89PNG")
    record.ledger.append("closed", steps=1)
    archive.close(record)
    return record


def caught_up(root, profile):
    return archive.catch_up(root, lambda _: profile)


def notes(root):
    return list(root.glob(f"*/{archive.PENDING}/*"))


def test_a_sealed_record_is_copied_and_the_copy_verifies_alone(root, folder, profile):
    record = closed(root, profile)
    assert not (folder / record.name).exists()
    assert caught_up(root, profile) == []
    assert verify(folder / record.name) == []
    assert notes(root) == []
    assert [path.name for path in (folder / record.name).parent.iterdir()] == [record.folder.name]


def test_a_profile_without_an_archive_notes_nothing(root):
    closed(root, profiles.load("rehearsal"))
    assert notes(root) == []


def test_an_archive_that_is_away_is_said_until_it_is_back(root, folder, profile):
    record = closed(root, profile)
    folder.rmdir()
    for _ in range(2):
        assert caught_up(root, profile) == [f"{record.name}: not archived: there is no folder {folder}"]
    assert not folder.exists()
    folder.mkdir()
    assert caught_up(root, profile) == []
    assert verify(folder / record.name) == []


def test_a_copy_that_cannot_be_written_is_said_and_leaves_no_half_of_it(root, folder, profile):
    record = closed(root, profile)
    (folder / profile.name).write_text("in the way")
    assert record.name in caught_up(root, profile)[0]
    (folder / profile.name).unlink()
    assert caught_up(root, profile) == []


def test_a_copy_that_is_not_the_same_is_said_and_not_replaced(root, folder, profile):
    record = closed(root, profile)
    there = folder / record.name
    (there / "charts").mkdir(parents=True)
    (there / "charts" / "one.png").write_text("another")
    for _ in range(2):
        assert "differs in charts/one.png, ledger.jsonl, parameters.yaml" in caught_up(root, profile)[0]
    assert (there / "charts" / "one.png").read_text() == "another"


def test_what_the_disk_gives_back_is_compared(root, folder, profile, monkeypatch):
    closed(root, profile)

    def corrupting(copied, *_):
        (copied / "charts" / "one.png").write_bytes(b"\x89PNh")

    monkeypatch.setattr(archive, "_reach_the_disk", corrupting)
    assert "differs in charts/one.png" in caught_up(root, profile)[0]
    assert not [path for path in folder.rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert caught_up(root, profile) == []


def test_a_run_that_is_killed_after_its_seal_is_archived_by_the_next_command(root, folder, profile):
    record = begun(root, profile)
    done = subprocess.run([sys.executable, "-c", KILLED, record.folder], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Record(record.folder).sealed()
    assert caught_up(root, profile) == []
    assert verify(folder / record.name) == []


def test_a_run_that_goes_on_is_left_alone(root, folder, profile):
    record = begun(root, profile)
    archive._note(record)
    assert caught_up(root, profile) == []
    assert len(notes(root)) == 1


def test_two_commands_that_catch_up_at_once_make_one_copy(root, folder, profile):
    made = [closed(root, profile) for _ in range(5)]
    children = []
    for _ in range(4):
        if (pid := os.fork()) == 0:
            os._exit(len(caught_up(root, profile)))
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    assert all(verify(folder / record.name) == [] for record in made)
    assert notes(root) == []


def test_a_profile_that_cannot_be_read_loses_no_copy(root, folder, profile):
    record = closed(root, profile)

    def broken(_):
        raise ConfigError("production.yaml: still to be filled in")

    assert archive.catch_up(root, broken) == [f"{record.name}: production.yaml: still to be filled in"]
    assert caught_up(root, profile) == []


@pytest.fixture
def production(profile, tmp_path, monkeypatch):
    key = keys.key(tmp_path, "ada")
    monkeypatch.setenv("RUNBOOK_OPERATOR", "ada")
    monkeypatch.setenv(signing.KEY, str(key))
    changes = {"kind": "production", "name": "production", "allowed_signers": [keys.line(key)]}
    return profile.model_copy(update=changes)


def test_a_production_is_signed_and_its_archive_says_who_may_sign(root, folder, production):
    record = closed(root, production)
    assert caught_up(root, production) == []
    assert verify(folder / record.name, (folder / "production" / SIGNERS).read_text()) == []


def test_a_production_that_could_not_be_signed_is_sealed_and_said_until_it_is(root, folder, production, monkeypatch):
    key = os.environ[signing.KEY]
    monkeypatch.delenv(signing.KEY)
    record = closed(root, production)
    assert record.sealed()
    for _ in range(2):
        said = caught_up(root, production)[0]
        assert "names no key" in said and said.endswith(f"then ./runbook sign {record.name}")
    assert not (folder / record.name).exists()
    monkeypatch.setenv(signing.KEY, key)
    signing.sign(record)
    assert caught_up(root, production) == []
    assert (folder / record.name / SIGNATURE).exists()
