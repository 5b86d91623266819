"""A stranger finds every change of a signed record, and every record that is gone; with Python and ssh-keygen alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runbook_lib import records, verify
from runbook_lib.verify import LEDGER, SIGNATURE, SIGNERS
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
    folder = forged(made, tmp_path, b'"outcome":"passed"', b'"outcome":"failed"')
    assert verify.verify(folder) == []
    assert "not signed by ada" in verify.verify(folder, signers)[0]
    keys.sign(records.Record(folder), stranger)
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
    copy = Path(shutil.copytree(record.folder, folder / record.folder.parent.name / record.folder.name))
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
    folder = Path(shutil.copytree(made.folder, tmp_path / made.folder.parent.name / made.folder.name))
    armour = f"{verify.BEGIN}\n" + ("A" * 70 + "\n") * 2000 + f"{verify.END}\n"
    (folder / SIGNATURE).write_text(armour)
    assert "longer than" in verify.verify(folder, signers)[0] or "not a signature" in verify.verify(folder, signers)[0]
    assert "longer than" in verify.verify(made.folder, signers + "\n" + "# more\n" * 5000)[0]


def test_a_signature_of_what_need_not_be_signed_is_not_in_the_seal(tmp_path):
    record = records.create(tmp_path, "rehearsal", "phase_try", "a: 1\n", id="x")
    records.seal(record, "passed")
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
    problems, said = judged(tmp_path / "records", signers, head=seals[-1])
    assert problems == 0
    assert all("signed by ada with ED25519 key SHA256:" in line for line in said.splitlines())
    assert [line.rpartition(" ")[2] for line in said.splitlines()] == seals


@pytest.mark.parametrize("gone", [0, 1])
def test_a_record_that_is_gone_is_found_by_the_one_after_it(three, tmp_path, signers, gone):
    seal = three[gone].sealed()["hash"]
    shutil.rmtree(three[gone].folder)
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 1
    assert f"{three[gone + 1].folder}: the seal before it, {seal}, is gone" in said


def test_removal_of_the_newest_is_found_by_the_head(three, tmp_path, signers):
    """With everything of it: also what the runbook itself remembers."""
    head = three[-1].sealed()["hash"]
    shutil.rmtree(three[-1].folder)
    (tmp_path / "records" / "production" / "head.json").unlink()
    assert judged(tmp_path / "records", signers)[0] == 0
    problems, said = judged(tmp_path / "records", signers, head=head)
    assert problems == 1
    assert f"none of the 2 records has the seal {head}" in said


def test_an_old_tail_in_a_newer_ones_place_is_found(three, tmp_path, signers):
    """The newest record's folder filled again with an older record: each part of it is genuine."""
    old, new = three[1].folder, three[2].folder
    shutil.rmtree(new)
    shutil.copytree(old, new)
    (tmp_path / "records" / "production" / "head.json").unlink()
    problems, said = judged(tmp_path / "records", signers)
    assert problems == 2
    assert f"{new}: holds the record {old.parent.name}/{old.name}" in said
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
    records.seal(records.Record(first.folder), "passed", operator="ada")
    keys.sign(first, ada)
    assert verify.verify(first.folder, signers) == []
    problems, said = judged(tmp_path / "records", signers)
    assert problems >= 1
    assert f"the seal before it, {kept['hash']}, is gone" in said


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
    assert (code, said.splitlines()[-1]) == (0, "records: 3, all sound")
    (tmp_path / "mine").write_text("eve ssh-ed25519 AAAA")
    code, said = alone(archive, "--signers", "mine", cwd=tmp_path)
    assert code == 1 and said.count("not signed by ada") == 3
    code, said = alone(archive / three[0].name, cwd=tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "records: 1, all sound")
    code, said = alone(tmp_path / "nowhere", cwd=tmp_path)
    assert code == 2 and "no records in" in said


def test_a_stranger_is_told_what_happened_when_and_by_whom(three, tmp_path, signers):
    (tmp_path / "mine").write_text(signers)
    record = three[0]
    code, said = alone(record.folder, "--tell", "--signers", "mine", cwd=tmp_path)
    lines = said.splitlines()
    at = record.opened()["at"]
    assert code == 0 and lines[0] == f"--- {record.folder.name}"
    assert lines[1] == f"{at}  opened  phase_0  by ada"
    assert lines[2].endswith("outcome  0.1a  passed  “ok”")
    assert lines[3].endswith("sealed  passed  by ada")


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
