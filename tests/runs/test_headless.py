"""Small notebooks, run whole: a kernel, a record, a seal that says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import nbformat
import pytest

from runbook_lib.errors import ConfigError, RecordError
from runbook_lib.records import record_folder, run_record, verify
from runbook_lib.records.record_folder import Record
from runbook_lib.runs import headless
from tests.core_fixtures import eventually, write_notebook

CHECK = 'phase.check("{}", "one is one", sql("select {} as n"), expect=value(1, "n"), fix="mend it")'
CONFIRM = 'phase.confirm("{}", "a backup exists")'
CLOSE = "phase.close()"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    return tmp_path / "records"


def run(chosen, tmp_path, *sources, parameters=None, **options):
    notebook = write_notebook(tmp_path / "phase_small.ipynb", *sources, opening=True)
    return headless.run(chosen, notebook, parameters or {}, **options)


def test_a_run_that_passes_leaves_a_sealed_record(chosen, tmp_path):
    told = []
    done = run(chosen, tmp_path, CHECK.format("1a", 1), CLOSE, on_event=told.append, parameters={"number": 7})
    assert done.outcome == "passed" and verify.verify(done.record.folder) == []
    assert done.seal["edited"] == [] and done.seal["missing"] == []
    assert done.seal["steps"] == {"passed": 1, "failed": 0, "waiting": 0, "unknown": 0}
    assert done.seal["cells"] == ["0 passed", "1 passed", "2 passed", "3 passed", "4 passed"]
    assert [event["event"] for event in told] == ["opened", "sending", "outcome", "closed", "sealed"]
    assert {p.name for p in done.record.folder.iterdir()} == {"notebook.ipynb", "parameters.yaml", "ledger.jsonl"}
    executed = done.record.notebook.read_text()
    assert "1a  passed  one is one  n=1" in executed and "number = 7" in executed


def test_a_failed_check_fails_the_run_and_nothing_after_it_runs(chosen, tmp_path):
    done = run(chosen, tmp_path, CHECK.format("1a", 2), CHECK.format("1b", 1), CLOSE)
    assert done.outcome == "failed" and done.seal["missing"] == ["1b"]
    assert done.seal["cells"][3:] == ["3 failed", "4 not run", "5 not run"]
    assert "StepFailed: 1a failed: n: expected 1, found 2" in done.seal["ended"]


@pytest.mark.parametrize("cell", ["import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(0)"])
def test_a_run_that_dies_after_its_last_step_has_not_passed(chosen, tmp_path, cell):
    done = run(chosen, tmp_path, CHECK.format("1a", 1), CLOSE, cell)
    assert done.outcome == "failed" and done.seal["ended"]


def test_a_run_that_takes_too_long_has_failed(chosen, tmp_path):
    done = run(chosen, tmp_path, "import time; time.sleep(60)", cell_timeout=0.3)
    assert done.outcome == "failed" and "timed out" in done.seal["ended"]


def test_what_waits_is_resumed_after_an_answer(chosen, tmp_path):
    sources = (CHECK.format("1a", 1), CONFIRM.format("1b"), CLOSE)
    first = run(chosen, tmp_path, *sources)
    assert first.outcome == "waiting"
    waiting = next(e for e in first.record.ledger.events() if e.get("outcome") == "waiting")
    answer = run_record.vouch(chosen, first.record, waiting, "Ada")
    assert answer.sealed()["outcome"] == "waiting" and verify.verify(answer.folder) == []
    second = run(chosen, tmp_path, *sources, parent=answer)
    assert second.outcome == "passed"
    assert [r.name for r in second.record.parents] == [first.record.name, answer.name]


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"numbre": 1}, "did you mean 'number'"),
        ({"number": "x"}, "expected int"),
        ({"profile": "production"}, "--profile"),
    ],
)
def test_a_wrong_parameter_stops_before_a_record_is_made(chosen, tmp_path, root, parameters, complaint):
    with pytest.raises(ConfigError, match=complaint):
        run(chosen, tmp_path, CLOSE, parameters=parameters)
    assert not root.exists()


def test_a_missing_variable_stops_before_a_record_is_made(chosen, tmp_path, root, monkeypatch):
    monkeypatch.delenv("FLY_API_TOKEN")
    with pytest.raises(ConfigError, match="FLY_API_TOKEN is not set"):
        run(chosen, tmp_path, CLOSE)
    assert not root.exists()


def test_nothing_rests_on_a_record_that_is_open_or_damaged(chosen, tmp_path):
    record = run_record.begin(chosen, "phase_small")
    with pytest.raises(RecordError, match="not sealed"):
        run(chosen, tmp_path, CLOSE, parent=record)
    done = run(chosen, tmp_path, CHECK.format("1a", 1), CLOSE)
    parameters = done.record.folder / "parameters.yaml"
    parameters.write_text(parameters.read_text() + "\n")
    with pytest.raises(RecordError, match="changed since it was sealed"):
        run(chosen, tmp_path, CLOSE, parent=Record(done.record.folder))


def test_a_kernel_refuses_the_record_of_another_profile(chosen, tmp_path):
    record = run_record.begin(chosen.model_copy(update={"name": "other"}), "phase_small")
    notebook = write_notebook(record.notebook.with_name("phase_small.ipynb"), opening=True)
    code = "\n".join(c.source for c in nbformat.read(notebook, 4).cells)
    environment = {**os.environ, run_record.RECORD: str(record.folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert "its record is of phase_small on other" in done.stderr


def test_a_secret_printed_in_a_cell_is_in_no_file_of_the_record(chosen, tmp_path, environment):
    done = run(
        chosen, tmp_path, "import os; print(os.environ['VERCEL_TOKEN']); raise ValueError(os.environ['CRON_SECRET'])"
    )
    for path in done.record.folder.iterdir():
        for name in ("VERCEL_TOKEN", "CRON_SECRET"):
            assert environment[name] not in path.read_text()
    assert "$CRON_SECRET" in done.record.notebook.read_text()


COMMAND = """
import sys
from pathlib import Path
from runbook_lib.runs import headless
from runbook_lib.settings import profiles
done = headless.run(profiles.load("rehearsal"), Path(sys.argv[1]), {})
sys.exit(headless.EXIT[done.outcome])
"""
SLOW = 'phase.act("1b", "sleep", sql("select pg_sleep(60), %(key)s", key="{key}"))'


@pytest.mark.parametrize(
    ("cell", "outcome", "code"), [("import time; time.sleep(60)", "interrupted", 130), (SLOW, "unknown", 4)]
)
def test_an_interrupted_run_is_sealed_and_says_so(tmp_path, root, processes, *, environment, cell, outcome, code):
    notebook = write_notebook(tmp_path / "phase_small.ipynb", CHECK.format("1a", 1), cell, CLOSE, opening=True)
    processes.append(subprocess.Popen([sys.executable, "-c", COMMAND, notebook]))
    events = lambda: [e for r in record_folder.every(root) if r.ledger.path.exists() for e in r.ledger.events()]  # noqa: E731
    last = ("sending", "1b") if outcome == "unknown" else ("outcome", "1a")
    eventually(lambda: any((e["event"], e.get("step")) == last for e in events()), f"{last} written")
    processes[0].send_signal(signal.SIGINT)
    assert processes[0].wait(120) == code
    record = next(record_folder.every(root))
    assert record.sealed()["outcome"] == outcome and verify.verify(record.folder) == []
