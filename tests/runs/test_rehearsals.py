"""A rehearsal belongs to its checkout: whoever asks is told of the same one."""

from __future__ import annotations

import json
import os

import pytest

from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import rehearsals
from runbook_lib.settings import profiles


@pytest.fixture
def apart(tmp_path, monkeypatch):
    """A temporary folder without anybody else's rehearsals."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(rehearsals.FOLDER, raising=False)


def test_the_one_that_is_kept_up_is_joined_and_found_by_its_checkout_alone(apart):
    assert not rehearsals.joined()
    kept = lifecycle.keep()
    try:
        assert rehearsals.joined()
        assert os.environ[rehearsals.FOLDER] == str(kept.folder)
        assert os.environ["PATH"].startswith(str(kept.folder / "bin"))
        assert profiles.load("rehearsal").platform == kept.folder.name
        options = kept.folder / "rehearsal.json"
        options.write_text(json.dumps({**json.loads(options.read_text()), "checkout": "/elsewhere"}))
        del os.environ[rehearsals.FOLDER]
        assert not rehearsals.joined()
        assert [running.folder for running in lifecycle.find(kept=True, everywhere=True)] == [kept.folder]
    finally:
        lifecycle.stop(kept.folder)


@pytest.mark.parametrize(("state", "reason"), [("clean", None), ("live", "rehearsed alone, from live")])
def test_only_a_rehearsal_that_does_not_begin_at_the_beginning_passes_a_gate(state, reason):
    assert rehearsals.alone(state) == reason
