"""The command line as an operator meets it: a process, its words, its exit code."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from runbook_lib.cli import main  # noqa: F401 - it has every command
from runbook_lib.cli.group import SECTIONS, cli
from runbook_lib.records import record_folder, run_record, verify
from runbook_lib.rehearsal import lifecycle
from runbook_lib.settings.profiles import PROFILES
from tests import keys, sealing
from tests.core_fixtures import eventually, write_notebook
from tests.runs.test_headless import CHECK, CLOSE, CONFIRM, SLOW
from tests.services.test_write_lock import HOLD

# The command line, with the notebooks of another folder.
COMMAND = """
import sys
from pathlib import Path
from runbook_lib.cli import main as cli
from runbook_lib.records import plan
from runbook_lib.settings import profiles
plan.NOTEBOOKS = Path(sys.argv[1])
profiles.load.__kwdefaults__["folder"] = Path(sys.argv[2])
cli.main(sys.argv[3:])
"""


class Runbook:
    def __init__(self, folder, processes):
        self.notebooks, self.root, self.processes = folder / "notebooks", folder / "records", processes
        self.profiles = PROFILES
        self.notebooks.mkdir()

    def write(self, name, *sources):
        write_notebook(self.notebooks / f"{name}.ipynb", *sources, opening=True)

    def start(self, *arguments, stdin=subprocess.DEVNULL):
        command = [sys.executable, "-c", COMMAND, str(self.notebooks), str(self.profiles), *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": stdin, "text": True}
        self.processes.append(subprocess.Popen(command, **pipes))
        return self.processes[-1]

    def __call__(self, *arguments):
        process = self.start(*arguments)
        said = process.communicate(timeout=300)[0]
        return process.returncode, said

    def saw(self, event, step):
        """Wait until a record's ledger tells of it."""
        told = (event, step)
        eventually(
            lambda: any((e["event"], e.get("step")) == told for r in self.records for e in r.ledger.events()), f"{told}"
        )

    def record(self, phase, outcome="passed"):
        """A sealed record, without a kernel."""
        facts = {"operator": "ada", "parent": None, "mode": "headless"}
        made = run_record.create(self.root, "rehearsal", phase, "", **facts)
        ended = outcome if outcome in ("passed", "failed", "waiting", "unknown") else "failed"
        made.ledger.append("outcome", step="0.1a", outcome=ended, replies=[])
        sealing.seal(made, outcome)
        return made

    @property
    def records(self):
        return list(record_folder.every(self.root))


@pytest.fixture
def runbook(environment, tmp_path, monkeypatch, processes):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("RUNBOOK_OPERATOR", "ada")
    return Runbook(tmp_path, processes)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rnu",), "no command 'rnu': did you mean 'run'?"),
        (("run", "phase_small1"), "no notebook 'phase_small1': did you mean 'phase_small'?"),
        (("run", "phase_small", "-p", "numbr=1"), "did you mean 'number'?"),
        (("run", "phase_small", "-p", "number"), "a parameter reads NAME=VALUE"),
        (("run", "phase_small", "--profile", "rehersal"), "did you mean 'rehearsal'?"),
        (("run", "phase_small", "-p", "profile=production"), "choose with --profile"),
        (("run",), "Missing argument"),
        (("run", "/nowhere/phase_small.ipynb"), "there is no file '/nowhere/phase_small.ipynb'"),
        (("run", "phase_small", "-p", "number=@x"), "-p number: '@x' is not YAML"),
        (("run", "phase_small", "-f", str(PROFILES / "rehearsal.yaml")), "is a profile and no file of parameters"),
        (("use", "rehersal"), "did you mean 'rehearsal'?"),
        (("halt", "--all", "--yes"), "no profile is chosen; production.yaml: still to be filled in"),
        (("open", "phase_small1"), "no notebook 'phase_small1': did you mean 'phase_small'?"),
        (("open", "phase_small", "-p", "numbr=1"), "did you mean 'number'?"),
        (("rehearse", "--attended", "phase_0", "phase_1"), "--attended takes one phase, found 2: phase_0, phase_1"),
        (("resume", "nothing"), "no record 'nothing'"),
        (("verify",), "no records below"),
    ],
)
def test_a_wrong_command_line_is_2_names_the_nearest_and_starts_nothing(runbook, arguments, words):
    runbook.write("phase_small", "1")
    code, said = runbook(*arguments)
    assert code == 2 and words in said and "Traceback" not in said
    assert runbook.records == []


STRANGE = ("x" * 5000, f"{'x/' * 2500}a.ipynb", "a\n/b.ipynb", "a\x1b[31m\r\udcff")  # names that nothing has


@pytest.mark.parametrize("command", ["show NAME", "diff NAME x", "verify NAME", "run NAME", "confirm NAME 1a --as ada"])
def test_a_name_that_nothing_can_have_is_refused_on_one_short_line(runbook, command):
    started = [runbook.start(*(name if word == "NAME" else word for word in command.split())) for name in STRANGE]
    for process in started:
        said = process.communicate(timeout=300)[0]
        assert process.returncode == 2 and "Traceback" not in said, said[-2000:]
        assert len(said.splitlines()) == 1 and len(said) < 1000 and "\x1b" not in said, said


def test_a_run_that_passes_is_0_and_prints_record_and_seal(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    code, said = runbook("run", "phase_small")
    record = runbook.records[0]
    assert code == 0 and "1a     passed   one is one" in said
    assert record.name in said and record.sealed()["hash"] in said
    assert record.opened()["operator"] == "ada"


def test_a_path_is_the_file_that_runs_under_the_name_of_the_phase_it_opens(runbook, tmp_path):
    runbook.write("phase_small", CHECK.format("1a", 2), CLOSE)
    other = write_notebook(tmp_path / "phase_small.ipynb", CHECK.format("1a", 1), CLOSE, opening=True)
    (tmp_path / "more.yaml").write_text("number: 0100\n")
    code, said = runbook("run", other.rename(tmp_path / "a copy.ipynb"), "-f", tmp_path / "more.yaml")
    assert code == 0, said
    assert runbook.records[0].opened()["phase"] == "phase_small"
    assert "number: 100\n" in (runbook.records[0].folder / "parameters.yaml").read_text()


def test_the_profile_is_chosen_once(runbook, monkeypatch):
    assert runbook("use") == (0, "commands go to rehearsal, chosen by default\n")
    monkeypatch.setenv("RUNBOOK_PROFILE", "production")
    code, said = runbook("doctor")
    assert code == 2 and said.startswith("profile production, chosen by RUNBOOK_PROFILE\nproduction.yaml: still to be")
    assert runbook("doctor", "--profile", "rehearsal")[0] == 0


def test_a_run_that_fails_is_1_and_says_what_to_do(runbook):
    runbook.write("phase_small", CHECK.format("1a", 2), CLOSE)
    code, said = runbook("run", "phase_small")
    assert code == 1 and "complaint: n: expected 1, found 2" in said and "fix: mend it" in said


def test_what_waits_is_3_and_a_person_and_a_resume_finish_it(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), CONFIRM.format("1b"), CLOSE)
    code, said = runbook("run", "phase_small")
    assert code == 3 and "./runbook confirm" in said
    name = runbook.records[0].name
    assert runbook("resume", name)[0] == 3  # nobody vouched: it waits again
    code, said = runbook("confirm", name, "1a", "--as", "Ada")
    assert code == 2 and "does not wait for '1a'" in said
    assert runbook("confirm", name, "1b", "--as", " ")[0] == 2
    code, said = runbook("confirm", name, "1b", "--as", "Ada")
    assert code == 0 and "Ada vouched for 1b: a backup exists" in said
    assert runbook("confirm", name, "1b", "--as", "Bob")[0] == 2
    code, said = runbook("resume", name)  # the record the first message named still leads there
    assert code == 0 and "vouched by Ada" in said
    assert runbook("verify")[0] == 0


def test_a_run_ended_while_sending_is_4(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), SLOW, CLOSE)
    process = runbook.start("run", "phase_small")
    runbook.saw("sending", "1b")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 4 and "Traceback" not in said


def test_an_interrupted_run_is_130_and_sealed(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), "import time; time.sleep(60)", CLOSE)
    process = runbook.start("run", "phase_small")
    runbook.saw("outcome", "1a")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert runbook.records[0].sealed()["outcome"] == "interrupted"
    assert verify.verify(runbook.records[0].folder) == []


def test_a_run_that_was_killed_is_sealed_as_cut_off_when_resumed(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), "import time; time.sleep(number)", CLOSE)
    process = runbook.start("run", "phase_small", "-p", "number=60")
    runbook.saw("outcome", "1a")
    process.kill()
    process.communicate()
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    assert runbook("verify")[0] == 1
    assert runbook("resume", runbook.records[0].name)[0] == 0
    first, second = runbook.records
    assert first.sealed()["ended"] == "cut off" and second.opened()["parent"]["record"] == first.name
    assert runbook("verify")[0] == 0


def test_verify_needs_only_the_folder_and_names_what_is_wrong(runbook, tmp_path):
    made = runbook.record("phase_small")
    copy = shutil.copytree(made.folder, tmp_path / "elsewhere" / made.folder.name)
    shutil.rmtree(runbook.root)
    code, said = runbook("verify", copy)
    assert code == 0 and f"{made.folder.name}: sound, passed, sealed" in said
    (copy / "parameters.yaml").write_text("{}")
    code, said = runbook("verify", copy)
    assert code == 1 and f"{copy / 'parameters.yaml'}: changed since it was sealed\n" in said
    (copy / "ledger.jsonl").unlink()
    code, said = runbook("verify", copy)
    assert code == 1 and "ledger.jsonl: cannot be read" in said


def test_verify_all_notices_a_record_that_is_gone_or_gutted(runbook):
    second = [runbook.record("phase_small") for _ in range(2)][-1]
    head = second.sealed()["hash"]
    assert runbook("verify", "--head", head)[0] == 0
    (second.folder / "ledger.jsonl").unlink()
    code, said = runbook("verify")
    assert code == 1 and "ledger.jsonl: cannot be read" in said and "the newest seal" in said
    shutil.rmtree(second.folder)
    assert "the newest seal" in runbook("verify")[1]
    (runbook.root / "rehearsal" / "head.json").unlink()
    assert runbook("verify")[0] == 0
    code, said = runbook("verify", "--head", head)
    assert code == 1 and f"no record has the seal {head}" in said


def test_verify_takes_a_whole_archive_and_who_may_sign(runbook, tmp_path):
    key = keys.key(tmp_path, "ada")
    keys.signed(tmp_path / "archive", key)
    code, said = runbook("verify", tmp_path / "archive")
    assert code == 1 and "name who may sign (--signers FILE)" in said
    (tmp_path / "signers").write_text(keys.line(key))
    code, said = runbook("verify", tmp_path / "archive", "--signers", tmp_path / "signers")
    assert code == 0 and "signed by ada with ED25519 key SHA256:" in said
    (tmp_path / "signers").write_text("")
    code, said = runbook("verify", tmp_path / "archive", "--signers", tmp_path / "signers", "--tell")
    assert code == 1 and "not signed by ada" in said and "NOT TO BE BELIEVED" in said


def test_a_record_is_signed_afterwards_by_its_own_operator_and_once(runbook, tmp_path, monkeypatch):
    made = keys.signed(runbook.root, keys.key(tmp_path, "ada"))
    assert runbook("sign", made.name) == (2, f"{made.name} is signed: ./runbook verify {made.name} says by whom\n")
    (made.folder / "seal.sig").unlink()
    code, said = runbook("sign", made.name)
    assert code == 1 and "RUNBOOK_SIGNING_KEY names no key" in said
    monkeypatch.setenv("RUNBOOK_SIGNING_KEY", str(tmp_path / "ada"))
    monkeypatch.setenv("RUNBOOK_OPERATOR", "grace")
    assert "is ada's to sign, not grace's" in runbook("sign", made.name)[1]
    monkeypatch.setenv("RUNBOOK_OPERATOR", "ada")
    assert runbook("sign", made.name) == (0, f"signed: {made.name}\n")
    assert verify.verify(made.folder, keys.line(tmp_path / "ada")) == []


def test_a_copy_that_fails_fails_no_run_and_is_made_by_the_next_command(runbook, tmp_path):
    profiles = shutil.copytree(PROFILES, tmp_path / "parameters")
    text = (profiles / "rehearsal.yaml").read_text()
    (profiles / "rehearsal.yaml").write_text(text.replace("archive: null", f"archive: {tmp_path / 'archive'}"))
    runbook.profiles = profiles
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    code, said = runbook("run", "phase_small")
    [made] = runbook.records
    assert code == 0 and f"NOT DONE YET: {made.name}: not archived: there is no folder" in said
    (tmp_path / "archive").mkdir()
    assert "NOT DONE" not in runbook("status")[1]
    assert verify.verify(tmp_path / "archive" / made.name) == []


def test_records_are_listed_and_damaged_ones_too(runbook):
    runbook.record("phase_small")
    runbook.record("phase_other", "failed")
    last = runbook.record("phase_small")
    (last.folder / "ledger.jsonl").write_text("{broken")
    code, said = runbook("records")
    assert code == 0 and [word in said for word in ("passed", "failed", "damaged")] == [True] * 3
    _, said = runbook("records", "--outcome", "failed")
    assert "phase_other" in said and "phase_small" not in said
    assert "phase_other" not in runbook("records", "--phase", "phase_small")[1]


def test_records_are_chosen_by_what_they_are_and_a_typo_is_told_the_nearest(runbook):
    made = runbook.record("phase_small")
    day = made.folder.parent.name
    for option in (("--date", day), ("--date", day[:7]), ("--operator", "ada"), ("--profile", "rehearsal")):
        assert "1 of 1 records" in runbook("records", *option)[1]
    assert "0 of 1 records" in runbook("records", "--profile", "production")[1]
    wrong = {"--phase": ("phase_smal1", "phase_small"), "--outcome": ("pased", "passed"), "--operator": ("adda", "ada")}
    wrong |= {"--profile": ("rehersal", "rehearsal"), "--date": (f"{day}x", day)}
    for option, (typo, meant) in wrong.items():
        code, said = runbook("records", option, typo)
        assert code == 2 and f"{option}: no record has {typo!r}: did you mean {meant!r}?" in said


def test_what_differs_between_two_records_is_told_in_steps(runbook):
    for number in (1, 2):
        runbook.write("phase_small", CHECK.format("1a", number), CLOSE)
        runbook("run", "phase_small", "-p", f"number={number}")
    first, second = (record.name for record in runbook.records)
    code, said = runbook("diff", first, second)
    assert code == 0 and all(word in said for word in ("outcome", "parameter number", "n: expected 1, found 2"))
    assert runbook("diff", first, first)[1] == "no differences\n"
    assert "no record 'phase_smal1'" in runbook("diff", first, "phase_smal1")[1]


def test_a_record_and_the_board_are_written_as_pages_and_their_places_printed(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    runbook("run", "phase_small")
    for arguments, said in ((("show", "phase_small"), "one is one"), (("status", "--html"), "phase_small")):
        code, printed = runbook(*arguments)
        assert code == 0 and said in Path(printed.strip()).read_text()
    assert runbook("verify")[0] == 0
    assert runbook("show", "phase_smal1")[0] == 2


def test_the_doctor_is_0_on_a_sound_profile_and_1_with_a_fix_otherwise(runbook, monkeypatch):
    assert runbook("doctor")[0] == 0
    monkeypatch.setenv("VERCEL_TOKEN", "wrong-0123456789")
    code, said = runbook("doctor")
    assert code == 1 and "failed   vercel project" in said and "make a new token" in said
    assert "Not proven by looking" in said and "1.8ha  that a paused deployment stays paused over a restart" in said


UNDO = """phase.act("1b", "change", sql("select 1, %(key)s::text", key="{key}"), undo=sql("select 2"))"""


def owing(runbook):
    """The sealed record of a run that could not close, because it owes an undo."""
    runbook.write("phase_small", CHECK.format("1a", 1), UNDO, CLOSE)
    assert runbook("run", "phase_small")[0] == 1
    return runbook.records[-1]


def test_what_a_record_asks_for_goes_to_its_own_rehearsal_and_to_no_other(runbook, running, monkeypatch):
    owed = owing(runbook)
    with lifecycle.rehearse() as newest, monkeypatch.context() as another:
        for name, value in newest.environment.items():
            another.setenv(name, value)
        for command in ("undo", "resume"):
            code, said = runbook(command, owed.name)
            assert code == 2 and f"{owed.name} was made in rehearsal {running.folder.name}; " in said, said
            assert f"commands would go to {newest.folder.name}: unset RUNBOOK_REHEARSAL" in said
        for name in newest.environment:
            another.delenv(name)
        code, said = runbook("undo", owed.name)
        assert code == 0 and runbook.records[-1].opened()["platform"] == running.folder.name, said


def test_an_undo_owed_to_a_rehearsal_out_of_sight_stays_owed(runbook, running, tmp_path, monkeypatch):
    owed = owing(runbook)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))  # where no rehearsal is found
    code, said = runbook("undo", owed.name)
    assert code == 2 and f"its rehearsal {running.folder.name} is not found, but something answers at " in said, said
    assert "set TMPDIR as it was when the rehearsal was started" in said and len(runbook.records) == 1


def test_an_undo_owed_to_a_rehearsal_that_is_gone_is_closed_and_nothing_is_sent(runbook, running, monkeypatch):
    with lifecycle.rehearse() as ending, monkeypatch.context() as there:
        for name, value in ending.environment.items():
            there.setenv(name, value)
        owed = owing(runbook)
    code, said = runbook("resume", owed.name)
    assert code == 2 and f"in rehearsal {ending.folder.name}, which is gone; commands would go to " in said
    assert f"{running.folder.name}: begin anew with ./runbook run phase_small" in said
    code, said = runbook("undo", owed.name)
    assert code == 0 and "1 closed, for their rehearsal is gone" in said, said
    closing = runbook.records[-1].ledger.events()
    assert [e["event"] for e in closing[1:-1]] == ["undone"] and closing[1]["how"] == "platform gone"
    assert runbook("verify")[0] == 0


def killed(runbook):
    """A run that was killed after it had changed something, which owes an undo."""
    runbook.write("phase_small", CHECK.format("1a", 1), UNDO, "import time; time.sleep(number)", CLOSE)
    process = runbook.start("run", "phase_small", "-p", "number=60")
    runbook.saw("outcome", "1b")
    process.kill()
    process.communicate()
    return runbook.records[-1]


def test_a_killed_run_is_shown_and_adopted_and_what_it_owes_is_undone(runbook):
    made = killed(runbook)
    code, said = runbook("adopt", made.name)
    assert code == 0 and f"adopted as interrupted: {made.name}, seal " in said
    assert "1a     passed   one is one" in said and "1b     owes an undo: select 2;" in said
    assert record_folder.Record(made.folder).sealed()["outcome"] == "interrupted"
    assert runbook("adopt", made.name) == (2, f"{made.name} is sealed: there is nothing to adopt\n")
    code, said = runbook("undo", made.name)
    assert code == 0 and "1b: select 2;" in said and "1 undone, on the record: " in said
    assert runbook("verify")[0] == 0


def test_a_killed_run_that_was_edited_or_forged_is_not_adopted(runbook):
    """Edited: the chain is broken. Forged: it is sound, and owes what the notebook does not register."""
    made = killed(runbook)
    text = made.ledger.path.read_bytes()
    made.ledger.path.write_bytes(text.replace(b"select 2", b"select 3"))
    code, said = runbook("adopt", made.name)
    assert code == 1 and "cannot be adopted: line" in said and "was changed" in said
    last, lines = "", []
    for line in text.splitlines():
        event = json.loads(line.replace(b"select 2", b"select 3"))
        del event["hash"]
        written, last = verify.written(event, last)
        lines.append(written)
    made.ledger.path.write_bytes(b"".join(lines))
    code, said = runbook("adopt", made.name)
    assert code == 2 and "1b registers another undo than this one" in said and "Traceback" not in said
    assert record_folder.Record(made.folder).sealed() is None


# --- the writing lock -------------------------------------------------------------------------------------------------

REF = "abcdefghijklmnopqrst"


@pytest.fixture
def holders(environment):
    """Other operators' processes, which hold the lock one after the other."""
    started = []

    def hold():
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout.readline() == "held\n"
        started.append(holder)
        return holder

    yield hold
    for holder in started:
        holder.kill()
        holder.communicate()


def test_who_holds_the_lock_is_shown_and_his_session_ended_on_the_record(runbook, holders):
    assert runbook("unlock")[1].endswith("the writing lock is free\n")
    holders()
    code, said = runbook("unlock", "--project", "another")
    assert code == 2 and f"--project: expected '{REF}', found 'another'; nothing was ended" in said
    code, said = runbook("unlock", "--project", REF)
    assert code == 0 and "held by  grace 2026-11-22/1_phase\n" in said, said
    assert re.search(r"since    20\d\d-\S+Z\nfrom     127.0.0.1, session \d+\n", said)
    [record] = runbook.records
    [unlocked] = [event for event in record.ledger.events() if event["event"] == "unlocked"]
    assert unlocked["by"] == "ada" and unlocked["held"].startswith("grace 2026-11-22/1_phase, since ")
    assert record.sealed()["outcome"] == "passed" and verify.verify(record.folder) == []
    assert runbook("unlock")[1].endswith("the writing lock is free\n")


def test_another_session_than_the_one_that_was_shown_is_not_ended(runbook, holders):
    """While the operator reads who holds the lock, that run ends and another one begins."""
    first = holders()
    process = runbook.start("unlock", stdin=subprocess.PIPE)
    said = "".join(iter(lambda: process.stdout.read(1), ":"))
    while "to end that session" not in said:
        said += process.stdout.read(1)
    first.kill()
    first.communicate()
    holders()
    rest = process.communicate(f"{REF}\n", timeout=60)[0]
    assert process.returncode == 2 and "is not held by grace" in rest and "any more, but by grace" in rest
    assert runbook.records[-1].sealed()["outcome"] == "failed"
    assert "held by  grace" in runbook("unlock", "--project", "")[1]


# --- side files -------------------------------------------------------------------------------------------------------


COMMANDS = (("run", "phase_small"), ("records",), ("status",))


def mended(runbook, spoil, words):
    """Spoil a side file before each command: none ends by it, and what each says names it."""
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    assert runbook("run", "phase_small")[0] == 0
    for command in COMMANDS:
        spoil(runbook.root / "rehearsal")
        code, said = runbook(*command)
        assert code == 0 and "Traceback" not in said and words in said, (command, said)
    assert runbook("verify")[0] == 0


@pytest.mark.parametrize("damage", [b"{}", b"\xff\x00"])
def test_a_damaged_note_of_the_newest_seal_is_named_and_written_again(runbook, damage):
    def spoil(profile):
        (profile / "head.json").write_bytes(damage)

    mended(runbook, spoil, "MENDED: ")
    assert "hash" in json.loads((runbook.root / "rehearsal" / "head.json").read_text())


def test_a_damaged_note_of_the_archive_is_named_and_taken_away(runbook):
    def spoil(profile):
        (profile / ".pending").mkdir(exist_ok=True)
        (profile / ".pending" / "x").write_bytes(b"\xff\x00")

    mended(runbook, spoil, "x: was damaged; taken away: it names no record")


def test_a_stray_ledger_is_named_and_ends_no_command(runbook):
    runbook.write("phase_small", CHECK.format("1a", 1), CLOSE)
    stray = runbook.root / "rehearsal" / "2026-11-22" / "copy" / "ledger.jsonl"
    stray.parent.mkdir(parents=True)
    stray.write_text("{}\n")
    for command in COMMANDS:
        code, said = runbook(*command)
        assert code == 0 and "Traceback" not in said, (command, said)
    assert "2026-11-22/copy" in runbook("records")[1] and "2026-11-22/copy" in runbook("status")[1]
    code, said = runbook("verify")
    assert code == 1 and "copy" in said and "Traceback" not in said


def test_help_lists_every_command_once_by_what_it_is_for_and_cuts_no_sentence(runbook):
    code, said = runbook("--help")
    assert code == 0 and said.index("Rehearse:") < said.index("  run ") < said.index("  resume") < said.index(
        "  verify"
    )
    assert sorted(cli.commands) == sorted(name for names in SECTIONS.values() for name in names)
    assert "..." not in said.partition("Rehearse:")[2]


def test_the_version_is_told(runbook):
    assert runbook("--version") == (0, f"runbook, version {version('launch-runbook')}\n")
