"""A stranger finds every change of a signed record, and every record that is gone; with Python and ssh-keygen alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.records import record_folder, run_record, seal_chain, verify
from runbook_lib.records.verify import LEDGER, SIGNATURE, SIGNERS
from tests import keys

FILES = (LEDGER, SIGNATURE, "parameters.yaml", "charts/one.png")
# Every class a byte can belong to: control, line feed, blank, digit, letter, mark, end of ASCII, parts of UTF-8.
CLASSES = b'\x00\t\n\r "0:Az{~\x7f\x80\xc3\xff'


@pytest.fixture(scope="module")
def ada(tmp_path_factory):
    return keys.key(tmp_path_factory.mktemp("keys"), "ada")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return keys.key(tmp_path_factory.mktemp("keys"), "grace")


@pytest.fixture(scope="module")
def signers(ada):
    return keys.line(ada)


@pytest.fixture(scope="module")
def made(tmp_path_factory, ada, signers):
    """A record, signed, sound."""
    record = keys.signed(tmp_path_factory.mktemp("records"), ada)
    assert verify.verify(record.folder, signers) == []
    return record


@pytest.fixture
def three(tmp_path, ada):
    """The records of a production, in order."""
    return [keys.signed(tmp_path / "records", ada, f"phase_{n}") for n in range(3)]


def judged(root, signers, **options):
    """Problems of all the records below a folder, and every line that was said."""
    said = []
    return verify.report(verify.every(root), lambda _: signers, said.append, **options), "\n".join(said)


# --- bytes ------------------------------------------------------------------------------------------------------------


def mutations(data):
    """Each kind of change, at places all over the file, with a byte of each class."""
    places = range(0, len(data), max(1, len(data) // 40))
    for place in [*places, len(data) - 1]:
        yield data[:place]
        yield data[:place] + data[place + 1 :]
        for byte in CLASSES:
            new = bytes([byte])
            yield data[:place] + new + data[place:]
            if data[place : place + 1] != new:
                yield data[:place] + new + data[place + 1 :]
    yield from (data + bytes([byte]) for byte in CLASSES)


@pytest.mark.parametrize("name", FILES)
def test_no_changed_byte_of_any_file_is_missed(made, signers, name):
    path = made.folder / name
    before, tried, missed = path.read_bytes(), 0, []
    try:
        for after in mutations(before):
            path.write_bytes(after)
            tried += 1
            # A signature is judged by ssh-keygen, a process each: where the rest finds it, that is enough.
            if not verify.verify(made.folder, signers if name == SIGNATURE else None):
                missed.append(after)
    finally:
        path.write_bytes(before)
    assert tried > 900
    assert missed == []
    assert verify.verify(made.folder, signers) == []


def test_a_forger_who_mends_the_chain_is_found_by_the_signature(made, signers, tmp_path, stranger):
    """Whoever can change a file can compute new hashes; only a key that is allowed makes the signature."""
    folder = forged(made, tmp_path, b'"seen":"', b'"seen":"not ')
    assert verify.verify(folder) == []
    assert "not signed by ada" in verify.verify(folder, signers)[0]
    keys.sign(record_folder.Record(folder), stranger)
    assert verify.verify(folder) == []
    assert "not signed by ada" in verify.verify(folder, signers)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"production"', b'"kind":"rehearsal"'),
        (b'"operator":"ada"', b'"operator":"eve"'),
        (b'"seen":"', b'"seen":"not '),
        (b'"previous":null', b'"previous":"0"'),
    ],
)
def test_no_forged_fact_is_missed(made, signers, tmp_path, old, new):
    assert verify.verify(forged(made, tmp_path, old, new), signers)


def forged(record, folder, old, new):
    """A copy in which some text of the ledger is another, with a sound chain of hashes."""
    copy = Path(shutil.copytree(record.folder, folder / record.name))
    bodies = [line.rpartition(b',"hash":')[0] for line in (copy / LEDGER).read_bytes().splitlines()]
    assert any(old in body for body in bodies)
    last, lines = "", []
    for body in bodies:
        changed = body.replace(old, new).decode()
        last = verify.digest_of(last, changed)
        lines.append(f'{changed},"hash":"{last}"}}\n')
    (copy / LEDGER).write_text("".join(lines))
    return copy


# --- signatures -------------------------------------------------------------------------------------------------------


def test_a_signature_that_is_gone_or_of_another_seal_is_found(three, signers):
    first, second, _ = (record.folder for record in three)
    shutil.copy(second / SIGNATURE, first / SIGNATURE)
    assert "not signed by ada" in verify.verify(first, signers)[0]
    (first / SIGNATURE).unlink()
    assert verify.verify(first, signers) == [f"{first / SIGNATURE}: missing: the seal is not signed"]
    assert verify.verify(first) == []  # no damage


def test_another_operators_key_does_not_sign_for_this_one(tmp_path, ada, stranger):
    record = keys.signed(tmp_path, ada)
    keys.sign(record, stranger)
    both = f"{keys.line(ada)}\n{keys.line(stranger)}"
    assert "not signed by ada" in verify.verify(record.folder, both)[0]


def test_a_key_signs_only_while_it_is_valid(made, ada):
    day = timedelta(days=1)
    now = datetime.now(UTC)
    assert (
        verify.verify(
            made.folder, keys.line(ada, f'valid-after="{now - day:%Y%m%d}",valid-before="{now + day:%Y%m%d}"')
        )
        == []
    )
    for wrong in (f'valid-after="{now + day:%Y%m%d}"', f'valid-before="{now - day:%Y%m%d}"'):
        assert "key" in verify.verify(made.folder, keys.line(ada, wrong))[0]


def test_a_key_that_has_expired_since_still_proves_what_it_signed(tmp_path, ada, monkeypatch):
    made = keys.signed(tmp_path, ada)
    at = datetime.fromisoformat(made.sealed()["at"]) + timedelta(seconds=2)
    monkeypatch.setenv("TZ", "<-08>8")
    for zone in ("", "Z"):  # a time is UTC, whether it says so or not
        assert verify.verify(made.folder, keys.line(ada, f'valid-before="{at:%Y%m%d%H%M%S}{zone}"')) == []
        monkeypatch.setenv("TZ", "<+14>-14")


def test_a_signature_for_another_purpose_is_none_of_a_seal(tmp_path, ada, signers):
    record = keys.signed(tmp_path, ada)
    line = (record.folder / LEDGER).read_bytes().splitlines(keepends=True)[-1]
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", str(ada)]
    made = subprocess.run(command, input=line, capture_output=True, check=True)
    (record.folder / SIGNATURE).write_bytes(made.stdout)
    assert "not signed by ada" in verify.verify(record.folder, signers)[0]


def test_a_huge_signature_or_list_of_signers_is_refused_and_not_waited_for(made, signers, tmp_path):
    folder = Path(shutil.copytree(made.folder, tmp_path / made.name))
    armour = f"{verify.BEGIN}\n" + ("A" * 70 + "\n") * 2000 + f"{verify.END}\n"
    (folder / SIGNATURE).write_text(armour)
    assert "longer than" in verify.verify(folder, signers)[0] or "not a signature" in verify.verify(folder, signers)[0]
    assert "longer than" in verify.verify(made.folder, signers + "\n" + "# more\n" * 5000)[0]


def test_a_signature_of_what_need_not_be_signed_is_not_in_the_seal(tmp_path):
    record = run_record.create(tmp_path, "rehearsal", "phase_try", "a: 1\n", id="x")
    seal_chain.seal(record)
    (record.folder / SIGNATURE).write_text("x")
    assert verify.verify(record.folder) == [f"{record.folder / SIGNATURE}: not in the seal"]


def test_without_ssh_keygen_nothing_is_praised(made, signers, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ssh-keygen is not installed" in verify.verify(made.folder, signers)[0]


def test_a_signature_that_nobody_could_judge_is_a_problem(three, tmp_path):
    problems, said = judged(tmp_path / "records", None)
    assert problems == 3
    assert "whose signature it has was not judged" in said


# --- records ----------------------------------------------------------------------------------------------------------


def test_sound_records_are_praised_with_who_signed_and_the_seal(three, tmp_path, signers):
    seals = [record.sealed()["hash"] for record in three]
    problems, said = judged(tmp_path / "records", signers, heads=seals[-1:])
    assert problems == 0
    *lines, newest, last = said.splitlines()
    assert all("signed by ada with ED25519 key SHA256:" in line for line in lines)
    assert [line.rpartition(" ")[2] for line in lines] == seals
    assert newest == f"newest seal of production: {seals[-1]} ({three[-1].folder.name})"
    assert last == f"records: 3, all sound, {verify.UNASKED}"


@pytest.mark.parametrize("gone", [0, 1])
def test_a_record_that_is_gone_is_found_by_the_one_after_it(three, tmp_path, signers, gone):
    seal = three[gone].sealed()["hash"]
    shutil.rmtree(three[gone].folder)
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 1
    assert f"{three[gone + 1].folder}: the seal before it, {seal}, is not here" in said


def test_removal_of_the_newest_is_found_by_the_head(three, tmp_path, signers):
    """With everything of it: also what the runbook itself remembers."""
    head = three[-1].sealed()["hash"]
    shutil.rmtree(three[-1].folder)
    (tmp_path / "records" / "production" / "head.json").unlink()
    assert judged(tmp_path / "records", signers)[0] == 0
    problems, said = judged(tmp_path / "records", signers, heads=[head])
    assert problems == 1
    assert f"no record has the seal {head}" in said


def test_an_old_tail_in_a_newer_ones_place_is_found(three, tmp_path, signers):
    """The newest record's folder filled again with an older record: each part of it is genuine."""
    old, new = three[1].folder, three[2].folder
    shutil.rmtree(new)
    shutil.copytree(old, new)
    (tmp_path / "records" / "production" / "head.json").unlink()
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 2
    assert f"{new}: holds the record production/{old.parent.name}/{old.name}" in said
    assert f"{new}: has the seal of {old}" in said


def test_swapped_records_are_found(three, tmp_path, signers):
    first, second = three[0].folder, three[1].folder
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 2 and said.count("holds the record") == 2


def test_an_old_end_of_a_ledger_with_its_own_signature_is_found(tmp_path, ada, signers):
    """A ledger cut back and sealed again by its operator's key is another record at the same place: a fork."""
    records_ = [keys.signed(tmp_path / "records", ada, f"phase_{n}") for n in range(2)]
    first = records_[0]
    lines = first.ledger.path.read_bytes().splitlines(keepends=True)
    kept = first.sealed()
    (tmp_path / "records" / "production" / "head.json").unlink()
    (first.folder / LEDGER).write_bytes(b"".join(lines[:-2]))
    seal_chain.seal(record_folder.Record(first.folder))
    keys.sign(first, ada)
    assert verify.verify(first.folder, signers) == []
    problems, said = judged(tmp_path / "records", signers)
    assert problems >= 1
    assert f"the seal before it, {kept['hash']}, is not here" in said


def test_a_seal_that_is_older_than_the_one_it_follows_is_found(three):
    """A key that has expired can sign what claims to be older; but what it follows is newer."""
    told = [(record.folder, dict(record.sealed())) for record in three]
    told[2][1]["at"] = "2026-01-01T00:00:00Z"
    assert [line.partition(", before")[0] for line in verify.chain(told)] == [
        f"{three[2].folder}: sealed at 2026-01-01T00:00:00Z"
    ]


def test_a_second_beginning_is_a_fork(three):
    told = [(record.folder, dict(record.sealed())) for record in three[:2]]
    told[1][1]["previous"] = None
    assert list(verify.chain(told)) == [f"{told[1][0]}: its seal follows no other, as does that of {told[0][0]}"]


def test_something_put_among_the_records_is_found(three, tmp_path, signers):
    shutil.copytree(three[0].folder, three[0].folder.with_name("235959Z_phase_0"))
    (three[0].folder.parent / "235958Z_phase_0").mkdir()
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 3
    assert "235958Z_phase_0/ledger.jsonl: cannot be read" in said


@pytest.fixture
def rehearsed(tmp_path):
    """A rehearsal, which nobody signs: whoever rewrites a line can compute every hash anew."""
    root, made = tmp_path / "records", []
    for number in range(3):
        facts = {"id": "x", "kind": "rehearsal", "operator": "ada", "mode": "headless"}
        last = {"record": made[-1].name, "seal": made[-1].sealed()["hash"]} if made else None
        record = run_record.create(root, "rehearsal", f"phase_{number}", "a: 1\n", **facts, parent=last, rests_on=last)
        for step in ("0.1a", "0.1b"):
            record.ledger.append("outcome", step=step, outcome="passed", replies=[])
        record.ledger.append("closed", steps=2)
        seal_chain.seal(record)
        made.append(record)
    assert judged(root, None)[0] == 0
    return made


def rewritten(record, change):
    """Write a ledger anew, with ``change`` made to its events and a sound chain of hashes."""
    events = [json.loads(line) for line in (record.folder / LEDGER).read_bytes().splitlines()]
    last, lines = "", []
    for number, event in enumerate(change(events), 1):
        told = {**event, "n": number}
        told.pop("hash", None)
        line, last = verify.written(told, last)
        lines.append(line)
    (record.folder / LEDGER).write_bytes(b"".join(lines))
    path = record.root / "rehearsal" / "head.json"
    path.write_text(json.dumps({"hash": last, "pending": None}))


def test_records_under_another_profiles_name_are_found(rehearsed, tmp_path):
    """Renamed, or copied beside: the first line of each says where it belongs."""
    root = tmp_path / "records"
    shutil.copytree(root / "rehearsal", root / "production")
    problems, said = judged(root, None, heads=[rehearsed[-1].sealed()["hash"]])
    assert problems == 3 and said.count("production/") and said.count("holds the record rehearsal/") == 3
    shutil.rmtree(root / "rehearsal")
    assert judged(root, None)[0] == 3


def test_a_renamed_date_is_found(rehearsed, tmp_path):
    day = rehearsed[0].folder.parent
    day.rename(day.with_name("old"))
    assert judged(tmp_path / "records", None)[0] == 3


def test_a_folder_in_the_place_of_a_record_is_found(rehearsed, tmp_path):
    (rehearsed[0].folder.parent / "004000_fake").mkdir()
    problems, said = judged(tmp_path / "records", None)
    assert problems == 1 and "004000_fake/ledger.jsonl: cannot be read" in said


def test_a_ledger_that_is_a_link_is_found(rehearsed, tmp_path):
    path = rehearsed[0].folder / LEDGER
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert verify.verify(rehearsed[0].folder) == [f"{path}: not a plain file"]


def test_records_given_one_by_one_are_not_called_all_there_are(rehearsed, tmp_path):
    shutil.rmtree(rehearsed[0].folder)
    code, said = alone(*(record.folder for record in rehearsed[1:]), cwd=tmp_path)
    assert code == 0 and "whether any is gone was not judged: name the folder of all records" in said


def test_what_was_sealed_after_a_head_is_told(rehearsed, tmp_path):
    heads = [record.sealed()["hash"] for record in rehearsed]
    problems, said = judged(tmp_path / "records", None, heads=heads[:1])
    assert problems == 0
    assert f"sealed after {heads[0]}: {rehearsed[1].folder.name}, {rehearsed[2].folder.name}" in said
    assert "sealed after" not in judged(tmp_path / "records", None, heads=heads[2:])[1]


def test_a_record_put_at_the_end_is_found_where_the_newest_is_remembered(rehearsed, tmp_path):
    head = tmp_path / "records" / "rehearsal" / "head.json"
    before = head.read_bytes()
    forged_ = run_record.create(tmp_path / "records", "rehearsal", "phase_3", "", id="x")
    seal_chain.seal(forged_)
    head.write_bytes(before)
    problems, said = judged(tmp_path / "records", None)
    assert problems == 1 and f"{forged_.folder}: sealed after the newest seal that is known here" in said


def test_each_head_is_looked_for(rehearsed, tmp_path):
    good, bad = rehearsed[-1].sealed()["hash"], "0" * 64
    for heads in ([bad, good], [good, bad]):
        code, said = alone(tmp_path / "records", *(word for head in heads for word in ("--head", head)), cwd=tmp_path)
        assert code == 1 and f"no record has the seal {bad}" in said


def with_seal(**facts):
    return lambda events: [*events[:-1], {**events[-1], **facts}]


def with_both(**facts):
    return lambda events: [{**events[0], **facts}, *events[1:-1], {**events[-1], **facts}]


MADE_UP = {"record": "rehearsal/2026-01-01/000000Z_phase_1", "seal": "0" * 64}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_both(parent=MADE_UP), "goes on from rehearsal/2026-01-01/000000Z_phase_1 with the seal 000"),
        (lambda events: [{**events[0], "rests_on": MADE_UP}, *events[1:]], "rests on rehearsal/2026-01-01/"),
        (with_seal(parent=MADE_UP), "the seal says parent record rehearsal/2026-01-01/"),
        (with_seal(operator="eve"), "the seal says operator eve, its lines say ada"),
        (with_seal(steps={"passed": 99}), "the seal says steps passed 99, its lines say passed 2"),
        (
            lambda events: [*events[:2], *events[3:]],
            "the seal says steps passed 2, failed 0, waiting 0, unknown 0, its lines say passed 1",
        ),
        (
            lambda events: [*events[:2], {**events[2], "outcome": "failed"}, *events[3:]],
            "sealed as passed, its lines say failed: 0.1b",
        ),
        (lambda events: events[1:], "the first line, and no other, says what was opened"),
    ],
)
def test_a_newest_record_that_contradicts_itself_or_the_others_is_found(rehearsed, tmp_path, change, words):
    rewritten(rehearsed[-1], change)
    problems, said = judged(tmp_path / "records", None)
    assert problems and words in said


GARBAGE = [
    *({"at": at} for at in (None, "soon", "2026-11-22T00:00:00")),
    *({"files": None}, {"files": []}, {"previous": []}, {"owed": 1}, {"steps": []}),
    *({"operator": "a\x00b"}, {"operator": "\ud800"}),
]


@pytest.mark.parametrize("facts", GARBAGE)
def test_a_seal_of_garbage_is_a_problem_and_no_crash(rehearsed, tmp_path, facts, signers):
    rewritten(rehearsed[-1], with_seal(**facts))
    (rehearsed[-1].folder / SIGNATURE).write_bytes(b"")
    (tmp_path / "mine").write_text(signers)
    code, said = alone(tmp_path / "records", "--tell", "--signers", "mine", cwd=tmp_path)
    assert code == 1 and "Traceback" not in said


@pytest.mark.parametrize("known", ["[]", "{}", "1", '{"hash": []}', '{"hash": 1, "pending": []}', "["])
def test_a_damaged_memory_of_the_newest_seal_is_no_crash(rehearsed, tmp_path, known):
    (tmp_path / "records" / "rehearsal" / "head.json").write_text(known)
    assert "Traceback" not in alone(tmp_path / "records", cwd=tmp_path)[1]


@pytest.mark.parametrize("line", [b"", b"{broken\n", b"[]\n", b'{"n":1}\n', b"[" * 100_000 + b"\n", b"\xff\n"])
def test_the_story_of_a_broken_ledger_comes_after_its_verdict_and_is_marked(rehearsed, tmp_path, line):
    (rehearsed[0].folder / LEDGER).write_bytes(line)
    code, said = alone(tmp_path / "records", "--tell", cwd=tmp_path)
    first, second, *_ = said.splitlines()
    assert code == 1 and "Traceback" not in said
    assert first.startswith(f"{rehearsed[0].folder}/{LEDGER}: ") and "NOT TO BE BELIEVED" in second


def test_a_story_without_a_ledger_says_so(rehearsed, tmp_path):
    (rehearsed[0].folder / LEDGER).unlink()
    code, said = alone(tmp_path / "records", "--tell", cwd=tmp_path)
    assert code == 1 and "nothing can be told: No such file" in said


def test_an_empty_list_of_signers_lets_nobody_sign_and_one_that_is_missing_is_said(three, tmp_path):
    (tmp_path / "nobody").write_text("")
    code, said = alone(tmp_path / "records", "--signers", "nobody", cwd=tmp_path)
    assert code == 1 and said.count("not signed by ada") == 3
    code, said = alone(tmp_path / "records", "--signers", "nowhere", cwd=tmp_path)
    assert code == 2 and "nowhere cannot be read" in said and "Traceback" not in said


def test_records_that_nobody_signed_are_counted_and_their_operator_is_a_claim(rehearsed, tmp_path):
    said = judged(tmp_path / "records", None)[1]
    assert said.count("not signed, says it is by ada") == 3
    assert said.splitlines()[-1] == f"records: 3, all sound, not signed: 3, {verify.UNASKED}"


def test_what_is_owed_is_told_with_where_it_was_undone(tmp_path):
    root, parent = tmp_path / "records", None
    for owed in (["switches"], []):
        facts = {"mode": "undo" if parent else "halt", "parent": parent, "owes": ["switches"] if parent else []}
        record = run_record.create(root, "rehearsal", "halt", "", id="x", **facts)
        back = {"kind": "Shell", "line": "./runbook unhalt"}
        record.ledger.append(
            *(["owed"] if owed else ["undone"]), step="switches", command=back, text="./runbook unhalt"
        )
        seal = seal_chain.seal(record, "passed")
        said = judged(root, None)[1]
        if owed:
            assert f"{record.folder.name}: sound, passed, owes switches" in said and "switches is owed still" in said
            halted, parent = record.folder.name, {"record": record.name, "seal": seal["hash"]}
    assert f"{halted}: switches was undone in {record.folder.name}" in said and "still" not in said
    assert any("; undoes record rehearsal/" in line for line in verify.story(record.folder))


def test_what_was_taken_over_is_told_apart_from_what_was_made(tmp_path):
    record = run_record.create(tmp_path, "rehearsal", "phase_0", "", id="x")
    record.ledger.append("sending", step="0.1a", verb="check", title="One", commands=["select 1;\nselect 2;"])
    rows = [{"n": 1}, {"n": 2}]
    reply = {"rows": rows, "status": 200, "text": "", "error": None}
    record.ledger.append("outcome", step="0.1a", outcome="passed", replies=[reply])
    whence = {"recalled": "2026-11-22T00:00:00Z", "recalled_from": "rehearsal/a/b", "why": "not sent again"}
    record.ledger.append("outcome", step="0.1b", outcome="passed", **whence)
    record.ledger.append("closed", steps=2)
    seal_chain.seal(record)
    assert "sound, passed, steps: 1 made here, 1 taken over, sealed" in judged(tmp_path, None)[1]
    told = "\n".join(verify.story(record.folder))
    assert "    | select 1;\n    | select 2;\n" in told and "reply: status 200, rows: 2, first n 1" in told
    assert "not made here, passed at 2026-11-22T00:00:00Z; taken over from rehearsal/a/b; why not sent again" in told


def test_no_control_character_of_a_record_reaches_the_terminal(tmp_path):
    record = run_record.create(tmp_path, "rehearsal", "phase_0", "", id="x")
    record.ledger.append("outcome", step="0.1a", outcome="passed", seen="\x1b[31mred")
    record.ledger.append("closed", steps=1)
    seal_chain.seal(record)
    assert "\x1b" not in alone(tmp_path, "--tell", cwd=tmp_path)[1]


# --- what lines come to -----------------------------------------------------------------------------------------------

OPENED = {"event": "opened", "phase": "phase_try", "mode": "headless", "plan": {"steps": [["1a"], ["1b"]]}}
CLOSED = {"event": "closed"}
OWED, UNDONE = ({"event": word, "step": "1b"} for word in ("owed", "undone"))


def outcome(step, word="passed"):
    return {"event": "outcome", "step": step, "outcome": word}


def told(*events, **opened):
    lines = verify.Told()
    for event in ({**OPENED, **opened}, *events):
        lines.take(event)
    return lines


def test_only_a_closed_run_with_every_planned_step_passed_passed():
    whole = [outcome("1a"), outcome("1b")]
    assert told(*whole, CLOSED).outcome(None) == "passed"
    assert told(*whole).outcome(None) == "failed"
    assert told(whole[0], CLOSED).outcome(None) == "failed"
    assert told(*whole, OWED, CLOSED).outcome(None) == "failed"
    assert told(*whole, OWED, UNDONE, CLOSED).outcome(None) == "passed"
    assert told(*whole, CLOSED, owes=["1b"]).outcome(None) == "failed"
    assert told(*whole, CLOSED).outcome("timed out") == "failed"
    assert told(*whole, CLOSED).outcome("interrupted: SIGINT") == "interrupted"


@given(st.lists(st.tuples(st.sampled_from(["1a", "1b"]), st.sampled_from(verify.OUTCOMES)), max_size=6))
def test_the_worst_newest_word_of_any_step_is_the_runs(ends):
    lines, newest = told(*(outcome(*end) for end in ends), CLOSED), set(dict(ends).values())
    worst = next((word for word in ("unknown", "failed", "waiting") if word in newest), None)
    assert lines.outcome(None) == (worst or ("passed" if len(dict(ends)) == 2 else "failed"))
    assert sum(lines.claims([])["steps"].values()) == len(dict(ends))


def claim(step, due="1b"):
    return {"step": step, "claim": "it works", "why": "no row yet", "due": due}


def test_what_could_not_be_proven_is_carried_until_the_step_it_is_due_at_has_passed():
    carried, own = claim("0.9a"), {"event": "unproven", **claim("1a", due="2.1a")}
    asked = {"event": "sending", "step": "1a", "verb": "check"}
    assert told(carried=[carried]).claims([])["unproven"] == [carried]
    assert told(outcome("1b", "failed"), carried=[carried]).claims([])["unproven"] == [carried]
    assert told(outcome("1b"), carried=[carried]).claims([])["unproven"] == []
    assert told(asked, own, outcome("1a")).claims([])["unproven"] == [claim("1a", due="2.1a")]
    assert told(asked, own, outcome("1a"), asked, outcome("1a")).claims([])["unproven"] == []


# --- as a stranger ----------------------------------------------------------------------------------------------------


def alone(*arguments, cwd):
    """The file on its own, in an interpreter that sees nothing of this project and of its packages."""
    copy = shutil.copy(verify.__file__, cwd / "verify.py")
    command = [sys._base_executable, "-I", "-S", copy, *map(str, arguments)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin"},
    )
    return done.returncode, done.stdout + done.stderr


def test_a_stranger_verifies_a_copy_with_python_alone(three, tmp_path, signers):
    archive = tmp_path / "archive"
    shutil.copytree(tmp_path / "records", archive)
    head = three[-1].sealed()["hash"]
    (archive / "production" / SIGNERS).write_text(signers)
    code, said = alone(archive, "--head", head, cwd=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, f"records: 3, all sound, {verify.UNASKED}")
    (tmp_path / "mine").write_text("eve ssh-ed25519 AAAA")
    code, said = alone(archive, "--signers", "mine", cwd=tmp_path)
    assert code == 1 and said.count("not signed by ada") == 3
    code, said = alone(archive / three[0].name, cwd=tmp_path)
    assert code == 0 and said.splitlines()[-1].startswith("records: 1, all sound, whether any is gone was not judged")
    code, said = alone(tmp_path / "nowhere", cwd=tmp_path)
    assert code == 2 and "no records in" in said


def test_a_stranger_is_told_what_happened_when_and_by_whom(three, tmp_path, signers):
    (tmp_path / "mine").write_text(signers)
    record = three[0]
    code, said = alone(record.folder, "--tell", "--signers", "mine", cwd=tmp_path)
    lines = said.splitlines()
    at = record.opened()["at"]
    assert code == 0 and lines[0].startswith(f"{record.folder.name}: sound, passed")
    assert lines[1].strip() == f"{at}  opened"
    assert "phase phase_0; profile production; kind production; operator ada; mode headless" in lines[2]
    assert lines[3].endswith("outcome  0.1a  passed  “ok”")
    assert lines[7].endswith("sealed  passed")


def test_it_starts_from_the_checkout_too_where_modules_have_names_of_the_standard_library(three, tmp_path, signers):
    (tmp_path / "mine").write_text(signers)
    command = [sys._base_executable, verify.__file__, tmp_path / "records", "--signers", tmp_path / "mine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_format_is_as_the_file_says(made):
    """What a stranger would write from the description alone."""
    import hashlib

    last = ""
    for line in made.ledger.path.read_text().splitlines():
        body, _, rest = line.rpartition(',"hash":"')
        last = hashlib.sha256(f"{last}\n{body}".encode()).hexdigest()
        assert rest == f'{last}"}}'
    assert json.loads(line)["event"] == "sealed"
