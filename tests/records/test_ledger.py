"""The ledger keeps what it was told; a sealed record shows any change."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.errors import RecordError
from runbook_lib.records import run_record, seal_chain, verify
from runbook_lib.records.ledger import Ledger
from runbook_lib.records.record_folder import Record
from runbook_lib.records.verify import LEDGER


def make(root, phase="phase_try", redact=None, events=4):
    record = run_record.create(root, "rehearsal", phase, "a: 1\n", redact, id="x", mode="watch")
    for number in range(events):
        record.ledger.append("outcome", step=f"1{number}", outcome="passed", seen="“ok”\n\u2028", rows=[{"n": 1.5}])
    return record


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    record = make(tmp_path_factory.mktemp("records"))
    (record.folder / "charts").mkdir()
    (record.folder / "charts" / "parameters.yaml").write_text("the same name, deeper down")
    (record.folder / "charts" / LEDGER).write_text("not the ledger")
    seal_chain.seal(record, "passed")
    assert verify.verify(record.folder) == []
    return record


def problems_with(record, name, data):
    """What verify says of the record with another content of one file, which is then put back."""
    path = record.folder / name
    before = path.read_bytes()
    try:
        path.write_bytes(data)
        return verify.verify(record.folder)
    finally:
        path.write_bytes(before)


def lines_of(record):
    return record.ledger.path.read_bytes().splitlines(keepends=True)


def changed_line(before, after):
    """Number of the first line that differs."""
    for number, (old, new) in enumerate(zip(before.splitlines(True), after.splitlines(True), strict=False), 1):
        if old != new:
            return number
    return min(before.count(b"\n"), after.count(b"\n")) + 1


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_to_the_ledger_is_found_and_its_line_named(sealed, data):
    before = sealed.ledger.path.read_bytes()
    place = data.draw(st.integers(0, len(before) - 1), "place")
    byte = data.draw(st.integers(0, 255), "byte").to_bytes(1, "big")
    kind = data.draw(st.sampled_from(["change", "delete", "insert", "cut"]), "kind")
    after = {
        "change": before[:place] + byte + before[place + 1 :],
        "delete": before[:place] + before[place + 1 :],
        "insert": before[:place] + byte + before[place:],
        "cut": before[:place],
    }[kind]
    if after == before:
        return
    found = problems_with(sealed, LEDGER, after)
    assert found
    assert all(problem.startswith(str(sealed.ledger.path)) for problem in found)
    if kind != "cut":
        # A changed byte may join two lines or split one: the line named is then the first that is wrong.
        assert any(f"line {n}:" in found[0] for n in (changed_line(before, after), changed_line(before, after) + 1))


@pytest.mark.parametrize("number", range(6))
def test_a_line_that_is_gone_is_found(sealed, number):
    lines = lines_of(sealed)
    found = problems_with(sealed, LEDGER, b"".join(lines[:number] + lines[number + 1 :]))
    assert found and (f"line {number + 1}:" in found[0] or "not sealed" in found[0])


@pytest.mark.parametrize("number", range(5))
def test_swapped_lines_are_found(sealed, number):
    lines = lines_of(sealed)
    lines[number : number + 2] = lines[number + 1], lines[number]
    found = problems_with(sealed, LEDGER, b"".join(lines))
    assert f"line {number + 1}:" in found[0]


def test_a_line_after_the_seal_is_found(sealed):
    lines = lines_of(sealed)
    assert "line 7: something stands after the seal" in problems_with(sealed, LEDGER, b"".join([*lines, b"x"]))[0]


@pytest.mark.parametrize("name", ["parameters.yaml", "charts/parameters.yaml", f"charts/{LEDGER}"])
@given(st.data())
@settings(max_examples=30, deadline=None)
def test_any_change_to_another_file_is_found_and_the_file_named(sealed, name, data):
    before = (sealed.folder / name).read_bytes()
    after = data.draw(st.binary(max_size=len(before) + 2).filter(lambda b: b != before))
    assert problems_with(sealed, name, after) == [f"{sealed.folder / name}: changed since it was sealed"]


def copied(record, tmp_path):
    return Path(shutil.copytree(record.folder, tmp_path / "copy" / record.folder.name, symlinks=True))


def test_a_copied_record_verifies_with_nothing_around_it(sealed, tmp_path):
    assert verify.verify(copied(sealed, tmp_path)) == []


def test_files_that_are_gone_added_or_replaced_by_a_link_are_found(sealed, tmp_path):
    folder = copied(sealed, tmp_path)
    original = folder / "parameters.yaml"
    original.rename(tmp_path / "elsewhere.yaml")
    assert verify.verify(folder) == [f"{original}: missing"]
    original.symlink_to(tmp_path / "elsewhere.yaml")
    assert verify.verify(folder) == [f"{original}: changed since it was sealed"]
    (folder / "charts" / "more.png").write_text("x")
    assert f"{folder / 'charts' / 'more.png'}: not in the seal" in verify.verify(folder)
    (folder / "nowhere").symlink_to(tmp_path / "nowhere")
    assert f"{folder / 'nowhere'}: not in the seal" in verify.verify(folder)


def test_a_ledger_that_is_gone_or_a_folder_is_said(sealed, tmp_path):
    folder = copied(sealed, tmp_path)
    (folder / LEDGER).unlink()
    assert "cannot be read" in verify.verify(folder)[0]
    (folder / LEDGER).mkdir()
    assert "not a plain file" in verify.verify(folder)[0]


def test_a_sealed_record_takes_no_more(tmp_path):
    record = make(tmp_path)
    seal_chain.seal(record, "passed")
    before = record.ledger.path.read_bytes()
    for sealed in (record.ledger, Ledger(record.ledger.path)):
        with pytest.raises(RecordError, match="nothing is added to a sealed record"):
            sealed.append("closed", steps=4)
    with pytest.raises(RecordError, match="sealed"):
        seal_chain.seal(Record(record.folder), "failed")
    assert record.ledger.path.read_bytes() == before
    assert seal_chain.head(tmp_path / "rehearsal") == record.sealed()["hash"]


@pytest.mark.parametrize("fresh", [True, False])
def test_a_line_torn_by_a_crash_is_cut_off_by_the_next(tmp_path, fresh):
    record = make(tmp_path)
    whole = record.ledger.path.read_bytes()
    with record.ledger.path.open("ab") as file:
        file.write(b'{"n":6,"at":"2026')
    written = Ledger(record.ledger.path) if fresh else record.ledger
    assert len(written.events()) == 5
    written.append("closed", steps=4)
    assert record.ledger.path.read_bytes().startswith(whole)
    assert [event["n"] for event in written.events()] == [1, 2, 3, 4, 5, 6]
    seal_chain.seal(record, "passed")
    assert verify.verify(record.folder) == []


APPEND = """
import sys
from pathlib import Path
from runbook_lib.records.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for number in range(100):
    ledger.append("shown", commands=[], rows=0, by=sys.argv[2], number=number)
"""


def test_two_processes_that_append_at_once_keep_one_sound_chain(tmp_path):
    record = make(tmp_path)
    both = [subprocess.Popen([sys.executable, "-c", APPEND, record.ledger.path, who]) for who in "ab"]
    assert [process.wait(120) for process in both] == [0, 0]
    seal_chain.seal(record, "passed")
    assert verify.verify(record.folder) == []
    for who in "ab":
        mine = [event["number"] for event in record.ledger.events() if event.get("by") == who]
        assert mine == list(range(100))


FULL = """
import resource, sys
from pathlib import Path
from runbook_lib.errors import RecordError
from runbook_lib.records.ledger import Ledger
path = Path(sys.argv[1])
ledger = Ledger(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 40,) * 2)
for _ in range(2):
    try:
        ledger.append("sending", step="1", verb="act", title="x" * 100, commands=[])
    except RecordError as error:
        print(error)
"""


def test_a_full_disk_leaves_what_was_there_and_says_that_nothing_is_sent(tmp_path):
    record = make(tmp_path)
    before = record.ledger.path.read_bytes()
    said = subprocess.check_output([sys.executable, "-c", FULL, record.ledger.path], text=True, timeout=120)
    assert said.count("nothing is sent until it can") == 2
    assert record.ledger.path.read_bytes() == before
    record.ledger.append("closed", steps=4)
    seal_chain.seal(record, "passed")
    assert verify.verify(record.folder) == []


def test_text_that_no_file_can_hold_is_kept_as_a_mark(tmp_path):
    record = make(tmp_path)
    record.ledger.append("shown", commands=[], rows=0, seen="half a pair: \ud800")
    assert Ledger(record.ledger.path).events()[-1]["seen"] == "half a pair: ?"
    seal_chain.seal(record, "passed")
    assert verify.verify(record.folder) == []


def test_the_time_now_is_never_before_the_last_line(tmp_path, monkeypatch):
    record = make(tmp_path)
    last = record.ledger.events()[-1]["at"]
    assert record.ledger.now() >= last
    behind = Record(record.folder).ledger
    monkeypatch.setattr(behind._clock, "_start", behind._clock._start - timedelta(hours=1))
    assert behind.now() == last


def test_a_damaged_line_is_a_record_error_for_whoever_reads_it(tmp_path):
    record = make(tmp_path)
    with record.ledger.path.open("ab") as file:
        file.write(b"{broken\n")
    with pytest.raises(RecordError, match="damaged"):
        Record(record.folder).sealed()
    with pytest.raises(RecordError, match="damaged"):
        Ledger(record.ledger.path).append("closed", steps=4)
