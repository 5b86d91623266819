"""`papermill --engine runbook`: papermill's manners, our truth."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from runbook_lib.engine.notebook import refuse_other_language
from runbook_lib.errors import ConfigError
from runbook_lib.runs.papermill_engine import PapermillEngine

PAPERMILL = [str(Path(sys.executable).with_name("papermill")), "--engine", "runbook", "--no-progress-bar"]


def papermill(folder: Any, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*PAPERMILL, "source.ipynb", "copy.ipynb", *arguments]
    return subprocess.run(command, cwd=folder.path, capture_output=True, text=True, check=False, **options)


def statuses(folder: Any) -> list[str]:
    """papermill's word for each code cell after the parameters and what it injected."""
    cells = [cell for cell in folder.read().cells if cell.cell_type == "code"]
    return [cell.metadata.papermill.status for cell in cells if "n = " not in cell.source]


def test_a_notebook_runs_with_its_parameters(folder: Any) -> None:
    folder.notebook("print('n is', n)")

    done = papermill(folder, "-p", "n", "7")

    assert done.returncode == 0, done.stderr
    assert "n is 7" in folder.copy.read_text()
    assert statuses(folder) == ["completed"]
    assert folder.read().metadata.papermill.parameters == {"n": 7}
    assert folder.read().metadata.papermill.exception is None


@pytest.mark.parametrize(
    ("source", "code", "ours"),
    [
        ("1/0", 1, "failed"),
        ("import sys; sys.exit(0)", 1, "failed"),
        ("exit()", 1, "failed"),
        ("import os; os.kill(os.getpid(), 9)", 138, "kernel died"),
        ("import time; time.sleep(600)", 1, "timed out"),
    ],
)
def test_no_cell_that_did_not_run_is_called_completed(folder: Any, source: str, code: int, ours: str) -> None:
    folder.notebook(source, "print('never')")

    done = papermill(folder, "--execution-timeout", "3")

    assert done.returncode == code, done.stderr
    assert statuses(folder) == ["failed", "pending"]
    assert folder.outcomes() == [ours, "not run"]
    assert folder.read().metadata.papermill.exception is True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_ends_it_with_a_true_notebook(folder: Any, started: Any, number: signal.Signals) -> None:
    folder.notebook(
        "from pathlib import Path\nimport time\nPath('pid').write_text('x')\n"
        "try:\n    time.sleep(600)\nfinally:\n    Path('finally').touch()",
        "print('never')",
    )
    command = started(folder.process([*PAPERMILL, "source.ipynb", "copy.ipynb"]))
    folder.said("pid")

    command.send_signal(number)
    command.communicate(timeout=60)

    assert command.returncode == 1
    assert statuses(folder) == ["failed", "pending"]
    assert folder.outcomes() == ["interrupted", "not run"]
    assert (folder.path / "finally").exists()


def test_the_output_is_relative_to_the_caller_and_the_cells_to_the_given_folder(folder: Any) -> None:
    (elsewhere := folder.path / "elsewhere").mkdir()
    folder.notebook("import os; print(os.getcwd())")

    done = papermill(folder, "--cwd", str(elsewhere))

    assert done.returncode == 0, done.stderr
    assert str(elsewhere) in folder.outputs(0)
    assert list(elsewhere.iterdir()) == []


def test_the_output_is_never_seen_in_part(folder: Any, started: Any) -> None:
    folder.notebook(*["print('x' * 2_000_000)"] * 6)
    command = started(folder.process([*PAPERMILL, "source.ipynb", "copy.ipynb"]))

    seen = 0
    while command.poll() is None:
        if folder.copy.exists():
            nbformat.validate(folder.read())
            seen += 1

    command.communicate()
    assert command.returncode == 0
    assert statuses(folder) == ["completed"] * 6


def test_secrets_of_the_profile_are_redacted(folder: Any) -> None:
    source = folder.notebook("import os; print(os.environ['CRON_SECRET'])")
    nb = nbformat.read(source, as_version=4)
    nb.cells[1].source = "profile = 'rehearsal'\nn = 1"
    nbformat.write(nb, source)

    done = papermill(folder, env={**os.environ, "CRON_SECRET": "canary-of-the-cron-jobs"})

    assert done.returncode == 0, done.stderr
    assert "canary-of-the-cron-jobs" not in folder.copy.read_text()
    assert "$CRON_SECRET" in folder.copy.read_text()


def test_an_option_it_does_not_have_is_refused(folder: Any) -> None:
    folder.notebook("print('never')")

    done = papermill(folder, "--log-output")

    assert done.returncode != 0
    assert "the runbook engine has no log_output" in done.stderr


@pytest.mark.parametrize(("language", "refused"), [("python", False), ("R", True)])
def test_another_kernel_is_refused_by_its_language_and_not_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, refused: bool
) -> None:
    spec = tmp_path / "kernels" / "our-analysis"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["x"], "display_name": "Ours", "language": language}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = nbformat.v4.new_notebook()
    PapermillEngine.nb_kernel_name(notebook, "our-analysis")
    if refused:
        with pytest.raises(ConfigError, match=r"wants the kernel 'our-analysis' \(R\)"):
            refuse_other_language(notebook, "phase_0")
    else:
        refuse_other_language(notebook, "phase_0")
