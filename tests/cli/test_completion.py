"""The completion that a shell asks of the installed ``runbook``, in a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runbook_lib.records import plan
from runbook_lib.rehearsal import named_faults, states
from runbook_lib.settings import profiles

# What docs/commands.md tells people to put into ~/.bashrc; then the shell asks for the last word, as on Tab.
ASK = """
eval "$(_RUNBOOK_COMPLETE=bash_source runbook)"
complete -p runbook >/dev/null || exit 1
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_runbook_completion "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash to complete in")


@pytest.fixture
def complete(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)

    def ask(*words):
        command = ["bash", "--norc", "-c", ASK, "bash", "runbook", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return ask


def test_commands_and_options_are_completed(complete):
    assert complete("re") == ["rehearse", "resume", "records"]
    assert complete("halt", "--de") == ["--deployment"]


def test_the_names_an_operator_types_are_completed(complete):
    assert complete("open", "phase_") == [name for name in plan.notebooks() if name.startswith("phase_")]
    assert complete("status", "--profile", "") == profiles.profiles()
    assert complete("rehearse", "--state", "") == list(states.STATES)
    assert complete("fault", "web-") == [name for name in named_faults.known() if name.startswith("web-")]


def test_records_are_completed_by_their_path(complete, tmp_path):
    folder = tmp_path / "rehearsal" / "2026-11-22" / "145357Z_phase_1_paper"
    folder.mkdir(parents=True)

    assert complete("show", "reh") == [str(folder.relative_to(tmp_path))]


def test_a_command_that_is_not_there_completes_to_nothing_and_says_nothing(complete):
    assert complete("nonsense", "ph") == []
