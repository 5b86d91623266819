"""The catch matrix is sealed with its page; it has passed only if every fault was caught."""

from __future__ import annotations

import pytest

from runbook_lib.records import verify
from runbook_lib.runs.drills import catch_matrix
from runbook_lib.runs.drills.mutation import Fate, Judged, Unseen
from runbook_lib.runs.drills.parallel import Row
from runbook_lib.settings import profiles

PHASE = "phase_0_platform_prep"
CAUGHT = Row(PHASE, "Vault <missing>", "0.1j", "0.1j", "caught", "create", "create it", "Enable it.", 1.5)
ALARM = Row(PHASE, "nothing is wrong", "", "0.1b", "false alarm", "", "<html>", "", 2.0)
MISSED = Row(PHASE, "getter joins wrongly", "0.2c", "", "missed", "came_back", "", "", 2.0)


@pytest.fixture
def record(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    return catch_matrix.begin(profiles.load("rehearsal"), ["phase_0"], 2)


def page(record):
    return (record.folder / catch_matrix.PAGE).read_text()


def test_a_matrix_without_a_miss_has_passed_and_its_page_is_under_the_seal(record):
    catch_matrix.keep(record, CAUGHT)

    seal = catch_matrix.finish(record, 3.0)

    assert seal["outcome"] == "passed" and seal["drills"] == {"caught": 1, "missed": 0, "false alarm": 0}
    assert catch_matrix.PAGE in seal["files"] and verify.verify(record.folder) == []
    text = page(record)
    assert "1 of 1 caught" in text and "Vault &lt;missing&gt;" in text and "Enable it." in text
    assert "Every fault was noticed" in text


def test_a_miss_fails_the_matrix_and_stands_at_the_top_of_its_page(record):
    for row in (CAUGHT, MISSED, ALARM):
        catch_matrix.keep(record, row)

    seal = catch_matrix.finish(record, 3.0)

    assert seal["outcome"] == "failed" and seal["ended"] == "2 not caught"
    text = page(record)
    assert "1 of 3 caught" in text and "1 missed, 1 false alarms" in text and "nobody" in text
    assert '"false-alarm"' in text and "&lt;html&gt;" in text
    assert "Every fault was noticed" not in text


def test_the_record_of_a_drill_that_was_not_caught_is_kept_and_sealed_with_the_matrix(record, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "ledger.jsonl").write_text("{}\n")

    catch_matrix.keep(record, Row(**{**vars(MISSED), "record": str(own)}))

    [kept] = (record.folder / "not_caught").glob("*/ledger.jsonl")
    assert str(kept.relative_to(record.folder)) in catch_matrix.finish(record, 1.0)["files"]


def test_a_matrix_of_nothing_has_not_passed(record):
    assert catch_matrix.finish(record, 0.0)["outcome"] == "failed"


KILLED = Fate(PHASE, "0.2a", "each: anon dropped", "spoiled replies")
SURVIVED = Fate(PHASE, "0.1k", "sql misspelt: 'none' <b>", "", "It is only shown.")


def test_mutants_that_are_killed_or_have_a_reason_pass_and_the_page_lists_the_survivors(record):
    catch_matrix.keep_mutants(record, Judged(PHASE, (KILLED, SURVIVED), 3, ()))

    seal = catch_matrix.finish(record, 3.0)

    assert seal["outcome"] == "passed" and verify.verify(record.folder) == []
    text = page(record)
    assert "1 killed, 1 by spoiled replies" in text and "3 of 3 expected values seen red alone" in text
    assert "misspelt: &#39;none&#39; &lt;b&gt;" in text and "It is only shown." in text


@pytest.mark.parametrize(
    "result",
    [
        Judged(PHASE, (Fate(PHASE, "0.1k", "within removed", ""),), 0, ()),
        Judged(PHASE, (KILLED,), 1, (Unseen(PHASE, "0.2a", "anon"),)),
    ],
    ids=["a survivor without a reason", "a value that was never seen red"],
)
def test_what_nobody_notices_fails_the_matrix(record, result):
    catch_matrix.keep_mutants(record, result)

    seal = catch_matrix.finish(record, 3.0)

    assert seal["outcome"] == "failed" and seal["ended"] == "1 not noticed or idle"
    assert '"missed"' in page(record)
