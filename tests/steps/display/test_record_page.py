"""A record's page tells what the ledger holds, verifies it, fetches nothing and keeps secrets and markup out."""

from __future__ import annotations

import base64
import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook_lib.records import record_folder, run_record, verify
from runbook_lib.steps.display import record_page, rendering
from tests import sealing

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
STEP = 'phase.check("{0}", "Title of {0}", sql("select 1"), expect=rows(1), fix="mend it")'
OPENED = {"project": "abcdefghijklmnopqrst", "operator": "al", "mode": "attended", "versions": {"python": "3.11.7"}}
PLAN = {"notebook": "phase_9", "cells": [], "steps": [["9.9b", "check", "t", 0], ["9.9c", "check", "t", 1]]}
SEAL = {
    "cells": ["2 passed", "4 timed out"],
}


def reply(*rows, text="", error=None):
    return {"rows": list(rows), "status": None, "error": error, "text": text, "at": 0.0, "seconds": 0.1}


def sending(record, number, verb="check", commands=("select 1;",)):
    record.ledger.append("sending", step=number, verb=verb, title=f"Title of {number}", commands=list(commands))


def outcome(record, number, word="passed", *replies, **facts):
    told = {"seen": "", "complaint": None, "symptom": None, "fix": None, "replies": list(replies), **facts}
    record.ledger.append("outcome", step=number, verb="check", title=f"Title of {number}", outcome=word, **told)


@pytest.fixture
def record(tmp_path):
    made = run_record.create(
        tmp_path, "rehearsal", "phase_9", "profile: rehearsal\n", id="1", parent=None, plan=PLAN, **OPENED
    )
    image = new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"})
    cells = [
        new_markdown_cell("# Phase nine\n\nIt costs nothing."),
        new_code_cell(STEP.format("9.9b")),
        new_markdown_cell("## 9.9 The section\n\nWords."),
        new_code_cell(STEP.format("9.9a")),
        new_code_cell("cost_per_tick(ticks, 0, 1)", outputs=[image]),
    ]
    nbformat.write(new_notebook(cells=cells), made.notebook)
    return made


def sealed(record, word):
    return sealing.seal(record, word, **SEAL)


def page_of(record):
    return record_page.show(record).read_text()


def test_the_head_tells_what_when_by_whom_and_that_it_verifies(record):
    sending(record, "9.9a")
    outcome(record, "9.9a")
    record.ledger.append("owed", step="9.9a", command={"kind": "Sql"}, text="select 1;")
    seal = sealed(record, "failed")
    text = page_of(record)
    for said in ("phase_9 on rehearsal", "al, attended", "abcdefghijklmnopqrst", seal["hash"], "python 3.11.7"):
        assert said in text
    assert "Verified when this page was made" in text and "Never run: 9.9b, 9.9c" in text
    assert "4 timed out" in text and "owes an undo" in text


def test_making_the_page_leaves_the_record_as_it_was_sealed(record):
    sealed(record, "failed")
    page_of(record)
    assert verify.verify(record.folder) == [] and record in list(record_folder.every(record.root))
    assert len(list(record_folder.every(record.root))) == 1


def test_a_changed_record_says_so_at_the_top(record):
    sealed(record, "failed")
    record.notebook.write_text(record.notebook.read_text().replace("nothing", "a lot"))
    text = page_of(record)
    assert "Does not verify" in text and "changed since it was sealed" in text and "Verified when" not in text


def test_a_production_record_is_not_called_verified_when_nobody_judged_its_signature(tmp_path):
    facts = {"id": "1", "parent": None, "kind": "production", **OPENED}
    made = run_record.create(tmp_path, "production", "phase_9", "", **facts)
    sealed(made, "passed")
    text = page_of(made)
    assert "Does not verify" in text and "Verified when" not in text


def test_a_run_that_was_cut_off_is_not_called_verified(record):
    sending(record, "9.9a", "act")
    view = record_page.view(record)
    assert (view["outcome"], view["problems"], view["sound"]) == ("not sealed", [], "")
    assert view["steps"][0]["outcome"] == "unknown" and "no answer was recorded" in str(view["steps"][0]["advice"])
    assert "Not sealed" in page_of(record)


def test_the_notebook_gives_the_order_and_what_it_does_not_name_comes_last(record):
    for number in ("9.9a", "press-1", "9.9b"):
        sending(record, number)
        outcome(record, number)
    blocks = [block.get("number") or block.get("text") or "chart" for block in record_page.view(record)["blocks"]]
    assert blocks == ["9.9b", "9.9 The section", "9.9a", "chart", "press-1"]


def test_a_section_in_which_nothing_ran_has_no_heading(record):
    book = json.loads(record.notebook.read_text())
    book["cells"].insert(1, {**book["cells"][2], "id": "none", "source": ["## 9.8 Never reached"]})
    record.notebook.write_text(json.dumps(book))
    sending(record, "9.9a")
    headings = [block["text"] for block in record_page.view(record)["blocks"] if block["kind"] == "heading"]
    assert headings == ["9.9 The section"]


def test_a_step_shows_its_commands_its_replies_and_its_earlier_tries(record):
    sending(record, "9.9a")
    outcome(record, "9.9a", "failed", complaint="expected 1 row, found 0", fix="mend it")
    sending(record, "9.9a")
    outcome(record, "9.9a", "passed", reply(*[{"id": n, "risk": {"cap": n}} for n in range(20)]), seen="20 rows")
    step = record_page.view(record)["steps"][0]
    assert step["commands"] == ["select 1;"] and step["outcome"] == "passed" and step["advice"] == []
    assert len(step["earlier"]) == 1 and "failed at" in step["earlier"][0] and "found 0" in step["earlier"][0]
    assert step["replies"][0]["cells"][1] == ["1", '{"cap": 1}'] and step["replies"][0]["more"] == 8


def test_who_vouched_is_told_with_the_time(record):
    sending(record, "9.9a", "confirm")
    record.ledger.append("vouched", step="9.9a", statement="a backup exists", by="AL")
    outcome(record, "9.9a")
    assert re.search(r"AL vouched at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", page_of(record))


def test_who_pressed_what_and_what_was_seen_of_it_is_told_at_the_step(record):
    record.ledger.append("pressed", step="9.9a", verb="act", label="Pause 7f3c on rehearsal", by="AL")
    sending(record, "9.9a", "act")
    seen = {"lit": True, "time": "2026-11-22T20:00:00.240Z", "milliseconds": 240.0, "note": ""}
    record.ledger.append("lamp", step="9.9a", lamp="acknowledged", **seen)
    outcome(record, "9.9a")
    step = record_page.view(record)["steps"][0]
    assert step["lamps"][0].startswith("Pause 7f3c on rehearsal: pressed by AL at")
    assert "acknowledged 20:00:00.240Z +240 ms" in step["lamps"]
    assert "Also in the ledger" not in page_of(record)


def test_an_event_without_a_place_of_its_own_is_told_too(record):
    record.ledger.append("unlocked", by="al", held="grace, since noon")
    text = page_of(record)
    assert "Also in the ledger" in text and "grace, since noon" in text


def test_nothing_is_fetched_and_nothing_runs(record):
    sending(record, "9.9a", commands=["<script>alert(1)</script>", "</pre><img src=https://evil.example/x>"])
    outcome(record, "9.9a", "passed", reply({"<b>": "\"><iframe src='//evil.example'>"}, text="x"))
    text = page_of(record)
    assert "default-src 'none'" in text
    for wrong in ("<script", "<iframe", "<link", "<img src=https", "@import", "url("):
        assert wrong not in text
    assert re.findall(r"(?:src|href)=\"(?!#|data:image/png;base64,)[^\"]*\"", text) == []


def test_an_image_can_hold_nothing_but_base64(record):
    book = json.loads(record.notebook.read_text())
    book["cells"][-1]["outputs"][0]["data"]["image/png"] = f'{PNG}" onerror="alert(1)'
    record.notebook.write_text(json.dumps(book))
    assert 'onerror="' not in page_of(record)


def test_a_secret_that_got_into_a_record_does_not_get_onto_its_page(record, monkeypatch):
    secret = 'a<secret>&"value"-of-length'
    monkeypatch.setenv("FLY_API_TOKEN", secret)
    outcome(record, "9.9a", "passed", reply({"env": secret, "deep": {"list": [secret]}}), seen=secret)
    text = page_of(record)
    assert "secret&gt;" not in text and "value" not in text and "$FLY_API_TOKEN" in text


@pytest.mark.parametrize("around", [("x" * (record_page.LONGEST - 8), ""), ("", "x" * (record_page.OUTPUT - 8))])
def test_a_secret_is_taken_out_of_a_value_before_it_is_cut_to_length(record, monkeypatch, around):
    """Half a secret is no secret that would be known as one."""
    before, after = around
    monkeypatch.setenv("FLY_API_TOKEN", "first-half-second-half")
    long = f"{before}first-half-second-half{after}"
    outcome(record, "9.9a", "passed", reply(*([{"env": long}] if before else []), text=long))
    text = page_of(record)
    assert "first-ha" not in text and "ond-half" not in text


def test_times_are_read_in_utc_whatever_wrote_them():
    assert rendering.moment("2026-11-22T20:24:33.123+02:00") == "2026-11-22 18:24:33 UTC"
