"""The word for every cell, whatever happens to it; in this process, with real kernels."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import nbformat
import pytest

from runbook_lib.engine.outcome import Cell, Outcome
from runbook_lib.engine.run import Kernels, run
from runbook_lib.errors import ConfigError


def test_every_cell_that_ran_says_passed(folder: Any) -> None:
    result = folder.run("print('out')", "n + 1", "# nothing but a comment", "  ")

    assert result.outcome is Outcome.PASSED
    assert [cell.outcome for cell in result.cells] == ["passed"] * 4  # the blank one is no cell to run
    assert result.stopped_at is None
    assert "out" in folder.outputs(0)
    assert folder.read().metadata.runbook.outcome == "passed"
    assert folder.read().metadata.papermill.exception is None


def test_a_failure_ends_the_run_and_what_comes_after_it_is_not_run(folder: Any) -> None:
    result = folder.run("print('kept')\n1/0", "print('never')")

    assert result.outcome is Outcome.FAILED
    assert folder.outcomes() == ["failed", "not run"]
    assert (result.stopped_at.error, result.stopped_at.message) == ("ZeroDivisionError", "division by zero")
    assert "kept" in folder.outputs(0)
    last = folder.read().cells[-1]
    assert last.outputs == []
    assert last.execution_count is None


@pytest.mark.parametrize("leave", ["import sys; sys.exit(0)", "raise SystemExit", "exit()", "quit", "exit(0)"])
def test_leaving_is_a_failure(folder: Any, leave: str) -> None:
    result = folder.run(leave, "print('never')")

    assert result.outcome is Outcome.FAILED
    assert result.stopped_at.error == "SystemExit"
    assert folder.outcomes() == ["failed", "not run"]


def test_no_tag_turns_a_failure_into_a_success(folder: Any) -> None:
    path = folder.prepared("1/0", "print('never')", tags=("raises-exception",))

    result = run(path, env=dict(os.environ), cwd=folder.path, redact=str)

    assert result.outcome is Outcome.FAILED
    assert folder.outcomes() == ["failed", "not run"]


def test_a_cell_that_wants_to_ask_fails_at_once(folder: Any) -> None:
    assert folder.run("input('sure?')").stopped_at.error == "StdinNotImplementedError"


@pytest.mark.parametrize(
    ("death", "words"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os._exit(4)", "ended with status 4"),
        ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV\nFatal Python error: Segmentation fault"),
    ],
)
def test_the_death_of_the_kernel_is_noticed_at_once_and_named(folder: Any, death: str, words: str) -> None:
    result = folder.run(f"import os; print('last words', flush=True); {death}", "print('never')")

    assert result.outcome is Outcome.KERNEL_DIED
    assert folder.outcomes() == ["kernel died", "not run"]
    assert result.stopped_at.message.startswith(f"the kernel {words}")
    assert result.stopped_at.seconds < 1  # nbclient looks once a second
    assert "KernelDied" in folder.outputs(0)


def test_what_a_kernel_said_before_it_died_is_kept(folder: Any) -> None:
    folder.run("import os, time; print('last words', flush=True); time.sleep(0.5); os.kill(os.getpid(), 9)")

    assert "last words" in folder.outputs(0)


def test_a_kernel_that_died_between_cells_runs_nothing(folder: Any) -> None:
    death = "import threading, os; threading.Timer(0.3, os.kill, (os.getpid(), 9)).start()"

    def wait_for_death(cell: Cell) -> None:
        if cell.index == 2 and cell.outcome is Outcome.PASSED:
            time.sleep(1)  # hold the engine up, not the kernel

    result = folder.run(death, "print('never')", on_cell=wait_for_death)

    assert result.outcome is Outcome.KERNEL_DIED
    assert folder.outcomes()[0] == "passed"
    assert folder.outcomes()[1] in {"not run", "kernel died"}
    assert "SIGKILL" in result.reason


def test_a_cell_timeout_interrupts_and_lets_finally_run(folder: Any) -> None:
    sleeper = "import time\ntry:\n    time.sleep(600)\nfinally:\n    print('put back')"

    result = folder.run(sleeper, "print('never')", cell_timeout=1)

    assert result.outcome is Outcome.TIMED_OUT
    assert folder.outcomes() == ["timed out", "not run"]
    assert result.stopped_at.message == "no end within 1 s"
    assert "put back" in folder.outputs(0)
    assert "KeyboardInterrupt" in folder.outputs(0)


def test_an_awaiting_cell_is_interrupted_too(folder: Any) -> None:
    sleeper = "import asyncio\ntry:\n    await asyncio.sleep(600)\nfinally:\n    print('put back')"

    result = folder.run(sleeper, cell_timeout=1)

    assert result.outcome is Outcome.TIMED_OUT
    assert "put back" in folder.outputs(0)
    assert result.seconds < 9  # less than the grace: it was no kill


def test_a_cell_that_swallows_the_interrupt_is_killed_and_has_not_passed(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook_lib.engine.cells.GRACE", 1)
    deaf = "import time\nwhile True:\n    try:\n        time.sleep(600)\n    except KeyboardInterrupt:\n        pass"

    result = folder.run(deaf, "print('never')", cell_timeout=1)

    assert folder.outcomes() == ["timed out", "not run"]
    assert result.outcome is Outcome.TIMED_OUT


def test_a_cell_that_ends_well_after_its_timeout_has_not_passed(folder: Any) -> None:
    polite = "import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('well')"

    folder.run(polite, "print('never')", cell_timeout=1)

    assert folder.outcomes() == ["timed out", "not run"]


def test_the_total_timeout_ends_a_run_of_quick_cells(folder: Any) -> None:
    result = folder.run(*["import time; time.sleep(0.5)"] * 20, timeout=4)

    assert result.outcome is Outcome.TIMED_OUT
    words = folder.outcomes()
    assert words == sorted(words, key=["passed", "timed out", "not run"].index)
    assert words[-1] == "not run"
    assert result.seconds < 8
    assert result.reason in {"TimedOut: the time for the whole notebook is over", "timed out"}


def test_a_total_timeout_before_the_kernel_is_up_runs_nothing(folder: Any) -> None:
    result = folder.run("print('never')", timeout=0.01)

    assert result.outcome is Outcome.TIMED_OUT
    assert folder.outcomes() == ["not run"]


def test_a_kernel_that_cannot_enter_its_folder_is_reported(folder: Any) -> None:
    result = run(folder.prepared("1"), env=dict(os.environ), cwd=folder.path / "none", redact=str)

    assert result.outcome is Outcome.KERNEL_DIED
    assert "FileNotFoundError" in result.reason
    assert folder.outcomes() == ["not run"]


def test_a_cell_tagged_to_be_skipped_is_refused_before_a_kernel_starts(folder: Any) -> None:
    nb = nbformat.read(folder.prepared("1"), as_version=4)
    nb.cells[2].metadata.tags = ["skip-execution"]
    nbformat.write(nb, folder.copy)

    with pytest.raises(ConfigError, match="skip-execution"):
        run(folder.copy, env=dict(os.environ), cwd=folder.path, redact=str)


def test_the_caller_hears_of_each_cell_twice(folder: Any) -> None:
    heard: list[tuple[int, str]] = []

    folder.run("1", "2/0", on_cell=lambda cell: heard.append((cell.index, str(cell.outcome))))

    assert heard == [(1, "running"), (1, "passed"), (2, "running"), (2, "passed"), (3, "running"), (3, "failed")]


def test_an_output_that_cannot_be_kept_is_a_failure_of_its_cell(folder: Any) -> None:
    """It ran, so it is not "not run"; its outputs are not all there, so it has not passed."""
    broken = "from comm import create_comm\nprint('out')\ncreate_comm(target_name='jupyter.widget', data={})"

    result = folder.run(broken, "print('never')")

    assert folder.outcomes() == ["failed", "not run"]
    assert result.reason == "OutputsLost: KeyError: 'state'"


def test_a_caller_that_fails_leaves_a_true_notebook(folder: Any) -> None:
    def fail(cell: Cell) -> None:
        if cell.index == 3:
            raise BrokenPipeError("nobody listens")

    with pytest.raises(BrokenPipeError):
        folder.run("1", "2", on_cell=fail)

    assert folder.outcomes() == ["passed", "not run"]
    assert folder.read().metadata.runbook.outcome == "interrupted"


def test_the_kernel_has_the_given_environment_and_folder_and_no_other(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_COMMAND", "x")
    env = {"PATH": os.environ["PATH"], "GIVEN": "y", "TZ": "<+0530>-5:30"}
    look = "import os, time; print(sorted(os.environ), os.getcwd(), time.tzname[0])"

    run(folder.prepared(look), env=env, cwd=folder.path, redact=str)

    assert "GIVEN" in folder.outputs(0)
    assert "OF_THE_COMMAND" not in folder.outputs(0)
    assert str(folder.path) in folder.outputs(0)
    assert "+0530" in folder.outputs(0)


def test_a_kernel_started_ahead_has_the_environment_of_its_notebook(
    folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = "import os; print(os.environ.get('OF_THE_COMMAND'), os.environ['GIVEN'], os.getcwd())"
    monkeypatch.setenv("OF_THE_COMMAND", "x")

    with Kernels(1, warm=()) as kernels:
        env = {"PATH": os.environ["PATH"], "GIVEN": "y"}
        run(folder.prepared(look), env=env, cwd=folder.path, redact=str, kernels=kernels)

    assert f"None y {folder.path}" in folder.outputs(0)


def test_kernels_started_ahead_are_fresh_and_what_is_left_over_ends(folder: Any) -> None:
    with Kernels(3, warm=()) as kernels:
        for _ in range(2):
            path = folder.prepared("assert 'mark' not in globals(); mark = 1")
            assert run(path, env=dict(os.environ), cwd=folder.path, redact=str, kernels=kernels).outcome == "passed"
        left = kernels.take()
        folder.wait_for(lambda: left.process.pid, "the fork")
        assert folder.alive(left.process.pid)

    folder.wait_for(lambda: not folder.alive(left.process.pid), "the end of what nobody used")
    left.close()


def test_a_chart_from_a_warm_kernel_is_kept_once(folder: Any) -> None:
    """pyplot imported before IPython is ready would lose it; so would the operator's own backend."""
    chart = "import matplotlib.pyplot as plt; fig, ax = plt.subplots(); ax.plot([1, 2]);"
    env = {**os.environ, "MPLBACKEND": "agg"}
    with Kernels(1) as kernels:
        run(folder.prepared(chart), env=env, cwd=folder.path, redact=str, kernels=kernels)
    warm = folder.outputs(0)
    run(folder.prepared(chart), env=env, cwd=folder.path, redact=str)

    assert warm.count('"image/png"') == 1
    assert warm == folder.outputs(0)


def test_kernels_forked_from_one_server_draw_different_numbers(folder: Any) -> None:
    draw = "import random, uuid, numpy; print(numpy.random.rand(), random.random(), uuid.uuid4())"
    drawn = []
    with Kernels(2, warm=("numpy.random",)) as kernels:
        for _ in range(2):
            run(folder.prepared(draw), env=dict(os.environ), cwd=folder.path, redact=str, kernels=kernels)
            drawn += json.loads(folder.outputs(0))[0]["text"].split()

    assert len(set(drawn)) == 6


def test_the_death_of_a_forked_kernel_is_named(folder: Any) -> None:
    with Kernels(1, warm=()) as kernels:
        path = folder.prepared("import os; os._exit(7)")
        result = run(path, env=dict(os.environ), cwd=folder.path, redact=str, kernels=kernels)

    assert result.reason == "KernelDied: the kernel ended with status 7"


def test_a_kernel_ends_with_the_server_that_forked_it_and_the_next_one_starts_alone(folder: Any) -> None:
    with Kernels(1, warm=()) as kernels:
        path = folder.prepared("import os; os.kill(os.getppid(), 9); import time; time.sleep(600)")
        died = run(path, env=dict(os.environ), cwd=folder.path, redact=str, kernels=kernels)
        path = folder.prepared("print('alone')")
        lived = run(path, env=dict(os.environ), cwd=folder.path, redact=str, kernels=kernels)

    assert died.reason == "KernelDied: the kernel was killed by SIGKILL"
    assert lived.outcome is Outcome.PASSED


def test_what_a_cell_started_ends_with_its_kernel(folder: Any) -> None:
    child = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nprint(child.pid)"

    folder.run(child)

    pid = int(folder.read().cells[-1].outputs[0].text)
    folder.wait_for(lambda: not folder.alive(pid), "the end of the cell's command")


def test_many_outputs_are_all_kept_though_the_reader_is_busy(folder: Any) -> None:
    """ZeroMQ drops messages beyond its limit of 1000 without a word."""

    def be_busy(cell: Cell) -> None:
        if cell.index == 2 and cell.outcome is Outcome.RUNNING:
            asyncio.get_running_loop().call_later(0.2, time.sleep, 3)

    folder.run("for i in range(4000):\n    display('x' * 3000)", on_cell=be_busy)

    assert len(folder.read().cells[-1].outputs) == 4000


def test_what_a_command_prints_belongs_to_its_cell(folder: Any) -> None:
    """ipykernel reads it in a thread, and one cell in a hundred ended before that."""
    sources = [f"import os; os.write(1, b'line {number}.') and None" for number in range(150)]

    folder.run(*sources)

    assert [n for n in range(150) if f"line {n}." not in folder.outputs(n)] == []


def test_nothing_is_left_in_the_home_or_the_temporary_folder(
    folder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    (startup := home / ".ipython" / "profile_default" / "startup").mkdir(parents=True)
    (startup / "00.py").write_text("n = m = 'spoiled'")
    (home / "tmp").mkdir()
    before = sorted(home.rglob("*"))

    env = {**os.environ, "HOME": str(home), "TMPDIR": str(home / "tmp"), "PYTHONSTARTUP": str(startup / "00.py")}
    result = run(folder.prepared("assert 'm' not in globals()"), env=env, cwd=folder.path, redact=str)

    assert result.outcome is Outcome.PASSED
    assert sorted(home.rglob("*")) == before


def test_a_run_inside_a_running_event_loop_works(folder: Any) -> None:
    async def inside() -> Any:
        return folder.run("print('out')")

    assert asyncio.run(inside()).outcome is Outcome.PASSED
