"""The commit's part of the changes to single steps is noticed by our drills: nineteen in twenty, as of the whole."""

from __future__ import annotations

import math

from runbook_lib.runs.drills import mutation, rotation


def test_of_the_changes_that_are_this_commits_nineteen_in_twenty_are_noticed_or_may_pass_unnoticed(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    notebook, picks = rotation.mutants(rotation.commit())

    with mutation.rested(notebook) as run:
        result = mutation.with_reasons(mutation.of_notebook(run, picks))

    unnoticed = [fate for fate in result.fates if not fate.killed and not fate.reason]
    assert len(unnoticed) <= math.ceil(len(result.fates) / 20), unnoticed
    assert result.unseen == () and result.values > 0
