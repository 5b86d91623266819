"""Phases 0 and 1 in JupyterLab, by real clicks on a rehearsal: each step passes, the record is sealed and sound."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from runbook_lib.records import history, plan, record_folder, verify
from tests.browser.driving import passed, place_of, walk

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of records of its own, and rehearsals that nobody else's command finds; taken down at the end."""
    folder = tmp_path_factory.mktemp("attended")
    before = dict(os.environ)
    os.environ.update(TMPDIR=str(folder), RUNBOOK_RECORDS=str(folder / "records"), RUNBOOK_OPERATOR="ada")
    yield folder / "records"
    subprocess.run([sys.executable, "-m", "runbook_lib.cli", "rehearse", "--stop"], check=True)
    os.environ.clear()
    os.environ.update(before)


class Runbook:
    """A command that serves a notebook until it is interrupted."""

    def __init__(self, processes, *arguments):
        command = [sys.executable, "-m", "runbook_lib.cli", *arguments, "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        processes.append(self.process)
        self.said = ""
        while "http://" not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line
        self.url = next(line for line in self.said.splitlines() if line.startswith("http://"))

    def end(self):
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        self.said += self.process.communicate(timeout=60)[0]
        return self.process.returncode


@pytest.fixture
def runbook(root, processes):
    started = []

    def start(*arguments):
        started.append(Runbook(processes, *arguments))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end()


def newest(root):
    return list(record_folder.every(root))[-1]


def told(record):
    """What the record's notebook shows, as any viewer of plain text has it."""
    cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(o.get("data", {}).get("text/plain", "")) for c in cells for o in c.get("outputs", ()))


def is_true(record, *words):
    """The record is sealed and sound, and its notebook shows what happened, without a widget."""
    assert verify.verify(record.folder) == []
    assert record.sealed()["outcome"] == "passed"
    text = record.notebook.read_text(encoding="utf-8")
    assert VIEW not in text and "http://cdn" not in text and "https://cdn" not in text
    every = f"{len(plan.steps(record.notebook))} passed"
    assert all(word in told(record) for word in (*words, every)), told(record)


def test_phase_0_is_stepped_through_with_a_pause_and_its_record_is_true(root, runbook, tab):
    first = runbook("rehearse", "--attended", "phase_0")
    record, page = newest(root), tab(first.url)
    page.picture("phase_0-first-screen")
    walk(page, record, until="0.3a")
    page.picture("phase_0-pressed")
    assert first.end() == 3, first.said
    assert record.sealed() is None and "next is 0.3b" in first.said
    assert "0.3a  passed  Make the Fly app" in told(record)

    again = runbook("open", "phase_0")
    assert f"going on with {record.name}" in again.said
    page = tab(again.url)
    numbers = [step.number for step in plan.steps(record.notebook)]
    done = f"{numbers.index('0.3b')} of {len(numbers)} passed"
    page.cell(3).get_by_text(f"{done}, next 0.3b The app is ours").wait_for()
    page.picture("phase_0-reopened")
    for place in range(1, 4):
        page.run(place)
        assert not page.trouble(place)
    walk(page, record, after="0.3a")
    assert again.end() == 0, again.said
    is_true(record, "pressed by ada at", "pressed by AL at", "passed  Make the Fly app")
    sent = [e["step"] for e in record.ledger.events() if e["event"] == "sending" and e["verb"] == "act"]
    assert len(sent) == len(set(sent)), "nothing was sent twice"


def test_phase_1_is_stepped_through_on_what_phase_0_left(root, runbook, tab):
    lab = runbook("open", "phase_1")
    record, page = newest(root), tab(lab.url)
    page.picture("phase_1-first-screen")
    walk(page, record, until="1.5b")
    page.run(place_of(record, "1.5c"))
    page.picture("phase_1-waiting")
    walk(page, record, after="1.5b", until="1.5e")
    page.picture("phase_1-pressed")
    page.rerun()
    waits = page.cell(place_of(record, "1.5h"))
    waits.get_by_text("1.5h waits for 1.5g, which is not pressed").wait_for()
    page.picture("phase_1-rerun")
    was = page.cell(place_of(record, "1.5b")).inner_text()
    assert "may have changed what it looked at" in was, "a pause that was resumed since is no failure"
    assert "not sent again" in page.cell(place_of(record, "1.5e")).inner_text()
    walk(page, record, after="1.5f")
    assert lab.end() == 0, lab.said
    is_true(record, "acknowledged in", "effect", "status paused", "paper, nothing there")
    passed(record, "1.9b")
    assert history.read(record).closed()
