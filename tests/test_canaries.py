"""Canary values in every secret of the profile, and a run that does everything to let them out."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys

import pytest

from runbook_lib.records import record_folder
from runbook_lib.settings import profiles
from runbook_lib.settings.redaction import forms
from tests.core_fixtures import eventually, write_notebook

CANARY = "cañary-7f/3a+%\"'\\{name}-0123456789"
SECRETS = [name for name, kind in profiles.load("rehearsal").variables.items() if "secret" in kind]

LEAKS = """
import base64, html, json, os, pathlib, subprocess, sys, traceback, urllib.parse
import pandas as pd, httpx, psycopg, ipywidgets
from IPython.display import HTML, JSON, Markdown, display
secrets = {name: os.environ[name] for name in NAMES}
for name, value in secrets.items():
    print(value, value.encode().hex(), urllib.parse.quote(value), json.dumps(value), repr(value))
    for pad in range(4):
        print(base64.b64encode(b"x" * pad + value.encode() + b"tail").decode())
    print(value, file=sys.stderr)
    display(pd.DataFrame({name: [value]}), HTML(f"<b>{value}</b>"), Markdown(value), JSON({value: [value]}))
    subprocess.run(["sh", "-c", f"printenv {name} >&2; printenv {name}"])
    display(ipywidgets.HTML(value=value))
    try:
        raise ValueError(value)
    except ValueError:
        traceback.print_exc()
    try:
        psycopg.connect(host="127.0.0.1", port=1, user=value, password=value, dbname=value, connect_timeout=2)
    except psycopg.Error as error:
        print(error)
    try:
        httpx.get("http://127.0.0.1:1/" + value, headers={"x": name})
    except httpx.HTTPError as error:
        print(error, value)
"""
CHART = """
import matplotlib.pyplot as plt
figure, axes = plt.subplots()
axes.plot([1, 2]); plt.close(figure)
figure.suptitle(os.environ[NAMES[0]])
print("suptitle:", figure.get_suptitle().startswith("$"))
figure
"""
LAST = "raise RuntimeError(os.environ[NAMES[0]])"
COMMAND = """
import sys
from pathlib import Path
from runbook_lib.cli import main as cli
from runbook_lib.records import plan
from runbook_lib.runs import headless
plan.NOTEBOOKS = Path(sys.argv[1])
cli.main(sys.argv[2:])
"""


@pytest.fixture
def canaries(chosen, monkeypatch):
    """Every secret of the profile, replaced by a value that is hard to write down."""
    found = {name: CANARY.replace("{name}", name.lower()) for name in SECRETS}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def folder(tmp_path):
    cells = [
        LEAKS.replace("NAMES", repr(SECRETS)),
        CHART.replace("NAMES", repr(SECRETS)),
        LAST.replace("NAMES", repr(SECRETS)),
    ]
    write_notebook(tmp_path / "notebooks" / "phase_small.ipynb", *cells, opening=True)
    return tmp_path / "notebooks"


def started(folder, root, *arguments):
    environment = {**os.environ, "RUNBOOK_RECORDS": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def left(text, canaries):
    """Names and forms of the canaries that are still in a text."""
    found = [
        (name, form) for name, value in canaries.items() for form, spelled in forms(value).items() if spelled in text
    ]
    aligned = [
        (name, pad)
        for name, value in canaries.items()
        for pad in range(3)
        if base64.b64encode(b"x" * pad + value.encode())[8:-8].decode() in text
    ]
    return found + aligned


def test_no_file_of_the_record_and_no_line_of_the_terminal_holds_a_secret(folder, tmp_path, canaries):
    command = started(folder, tmp_path / "records", "run", "phase_small")
    said = command.communicate(timeout=120)[0]

    assert command.returncode == 1
    assert left(said, canaries) == []
    (record,) = record_folder.every(tmp_path / "records")
    assert record.sealed()["outcome"] == "failed"
    for path in record.folder.rglob("*"):
        assert left(path.read_text(encoding="utf-8", errors="replace"), canaries) == [], path.name
    notebook = json.loads(record.notebook.read_text())
    assert f"${SECRETS[0]}" in json.dumps(notebook)  # it had been there
    assert "image/png" in json.dumps(notebook)
    assert "suptitle: True" in json.dumps(
        notebook
    )  # what is drawn cannot be scanned for: it never got into the picture


def test_a_run_that_is_killed_before_sealing_leaves_no_secret(folder, tmp_path, canaries):
    notebook = folder / "phase_small.ipynb"
    content = json.loads(notebook.read_text())
    content["cells"][-1]["source"] = "import time; time.sleep(60)"
    notebook.write_text(json.dumps(content))
    command = started(folder, tmp_path / "records", "run", "phase_small")
    eventually(lambda: any(r.ledger.events() for r in record_folder.every(tmp_path / "records")), "a record")
    eventually(lambda: re.search(r"ipykernel|kernel", _children(command.pid)), "a kernel")
    command.kill()
    said = command.communicate()[0]

    assert left(said, canaries) == []
    (record,) = record_folder.every(tmp_path / "records")
    for path in record.folder.rglob("*"):
        assert left(path.read_text(encoding="utf-8", errors="replace"), canaries) == [], path.name


@pytest.mark.parametrize("how", ["name", "value", "notebook", "command", "profile"])
def test_a_secret_typed_in_the_wrong_place_is_not_repeated(folder, tmp_path, canaries, how):
    secret = canaries["CRON_SECRET"]
    arguments = {
        "name": ["run", "phase_small", "-p", f"{secret}=1"],
        "value": ["run", "phase_small", "-p", f"number={json.dumps(secret)}"],
        "notebook": ["run", secret],
        "command": [secret],
        "profile": ["run", "phase_small", "--profile", secret],
    }[how]
    command = started(folder, tmp_path / "records", *arguments)
    said = command.communicate(timeout=60)[0]

    assert command.returncode == 2, said
    assert left(said, canaries) == []
    assert not list(record_folder.every(tmp_path / "records"))


def _children(pid):
    done = subprocess.run(["ps", "-o", "args=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout
