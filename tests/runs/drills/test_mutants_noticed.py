"""The commit's part of the changes to single steps is noticed by our drills; what is not has its reason."""

from __future__ import annotations

from runbook_lib.runs.drills import mutation, rotation


def test_the_changes_that_are_this_commits_are_noticed_or_may_pass_unnoticed(monkeypatch, tmp_path):
    monkeypatch.setenv("RUNBOOK_RECORDS", str(tmp_path / "records"))
    notebook, picks = rotation.mutants(rotation.commit())

    with mutation.rested(notebook) as run:
        result = mutation.with_reasons(mutation.of_notebook(run, picks))

    assert [fate for fate in result.fates if not fate.killed and not fate.reason] == []
    assert result.unseen == () and result.values > 0
