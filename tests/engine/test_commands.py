"""What becomes of a notebook, its kernel and its file when the command that runs it is stopped or cannot write."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
import pytest

KILLS = int(os.environ.get("RUNBOOK_KILLS", "9"))  # 500 for a thorough search
START = "from pathlib import Path; import os, time; Path('pid').write_text(str(os.getpid()))"
SLEEPER = f"{START}\ntry:\n    time.sleep(600)\nfinally:\n    Path('finally').write_text('put back')"
AWAITER = f"{START}\nimport asyncio\ntry:\n    await asyncio.sleep(600)\nfinally:\n    Path('finally').write_text('x')"
# Writes down each turn of its loop: what runs after the command's death shows.
TICKER = f"{START}\nwith open('ticks', 'a', buffering=1) as f:\n    while True:\n        print(time.time(), file=f)"
BIG = "import os, base64; print(base64.b64encode(os.urandom(40_000)).decode())"


@pytest.mark.parametrize("cell", [SLEEPER, AWAITER], ids=["sleeping", "awaiting"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_interrupts_the_cell_and_the_notebook_says_so(
    folder: Any, started: Any, number: signal.Signals, cell: str
) -> None:
    folder.prepared("print('before')", cell, "Path('after').touch()")
    command = started(folder.command())
    kernel = int(folder.said("pid"))

    command.send_signal(number)

    assert command.communicate(timeout=60) == (f"interrupted\n{number.name}\nInterrupted: {number.name}\n", "")
    assert folder.outcomes() == ["passed", "interrupted", "not run"]
    assert folder.read().metadata.runbook.outcome == "interrupted"
    assert (folder.path / "finally").exists()
    assert not (folder.path / "after").exists()
    assert not folder.alive(kernel)
    assert folder.leftovers() == []


def test_a_signal_that_comes_too_late_to_interrupt_is_told(folder: Any, started: Any) -> None:
    folder.prepared("print('x' * 5_000_000)")
    send = "__import__('os').kill(__import__('os').getpid(), 15) if cell.index == 2 and cell.outcome == 'passed' else 0"
    command = started(folder.command(f"{{'on_cell': lambda cell: {send}}}"))

    assert command.communicate(timeout=60) == ("passed\nSIGTERM\nNone\n", "")
    assert folder.outcomes() == ["passed"]


def test_a_signal_while_the_kernel_starts_runs_nothing(folder: Any, started: Any) -> None:
    folder.prepared("from pathlib import Path; Path('ran').touch()")
    command = started(folder.command())
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    kernel = int(folder.wait_for(children.read_text, "the start of the kernel"))

    command.send_signal(signal.SIGTERM)

    out, _ = command.communicate(timeout=60)
    assert out.startswith("interrupted\nSIGTERM")
    assert not folder.alive(kernel)
    assert not (folder.path / "ran").exists()
    assert folder.outcomes() == ["not run"]
    assert folder.read().metadata.runbook.outcome == "interrupted"


def test_a_second_signal_does_not_wait_for_finally(folder: Any, started: Any) -> None:
    stubborn = f"{START}\ntry:\n    time.sleep(600)\nfinally:\n    Path('finally').write_text('x')\n    time.sleep(600)"
    folder.prepared(stubborn)
    command = started(folder.command())
    folder.said("pid")

    command.send_signal(signal.SIGINT)
    folder.said("finally")
    command.send_signal(signal.SIGINT)

    out, _ = command.communicate(timeout=60)
    assert out.startswith("interrupted")
    assert folder.outcomes() == ["interrupted"]


def test_ctrl_c_in_a_terminal_is_the_commands_to_handle(folder: Any, started: Any) -> None:
    """A terminal sends SIGINT to the whole foreground group; the kernel must hear of it once."""
    folder.prepared(SLEEPER)
    command = started(
        folder.process(
            [sys.executable, "-c", folder.COMMAND, str(folder.copy), "{}"],
            process_group=0,
        )
    )
    folder.said("pid")

    os.killpg(command.pid, signal.SIGINT)

    assert command.communicate(timeout=60)[0].startswith("interrupted")
    assert (folder.path / "finally").exists()


def test_no_cell_runs_on_when_the_command_is_killed(folder: Any, started: Any) -> None:
    folder.prepared(TICKER)
    command = started(folder.command())
    kernel = int(folder.said("pid"))
    folder.said("ticks")

    command.kill()
    command.wait()
    gone = time.time()

    folder.wait_for(lambda: not folder.alive(kernel), "the end of the kernel")
    assert time.time() - gone < 0.5  # ipykernel looks once a second
    last = float((folder.path / "ticks").read_text().splitlines()[-2])
    assert last - gone < 0.1
    assert nbformat.validate(folder.read()) is None
    assert "runbook" not in folder.read().metadata  # a prepared copy claims nothing


def test_a_kernel_started_ahead_dies_with_the_command(folder: Any, started: Any) -> None:
    script = (
        "import time\nfrom runbook_lib.engine.kernel_pool import Kernels\nwith Kernels(1) as kernels:\n"
        "    while not (pid := kernels._waiting[0].process.pid): time.sleep(0.01)\n"
        "    print(pid, kernels._server._process.pid, flush=True)\n    time.sleep(600)"
    )
    command = started(folder.process([sys.executable, "-c", script]))
    processes = [int(pid) for pid in command.stdout.readline().split()]
    assert all(map(folder.alive, processes))

    command.kill()

    folder.wait_for(lambda: not any(map(folder.alive, processes)), "the end of the kernel and its server")


def kill_at_random(folder: Any, started: Any, times: int) -> list[str]:
    """Kill the command ``times`` times at any moment of its run; what each one left."""
    sources = [BIG] * 20
    length, left = 4.0, []
    for _ in range(times):
        folder.prepared(*sources)
        began = time.monotonic()
        command = started(folder.command())
        try:
            command.wait(random.uniform(0, length))
            length = time.monotonic() - began + 0.1  # it ended first: aim within its length
        except subprocess.TimeoutExpired:
            command.kill()
        command.communicate()
        left.append(judge(folder))
    return left


def judge(folder: Any) -> str:
    """What a killed command left: the prepared copy, or an executed notebook that is right in every cell."""
    notebook = folder.read()
    nbformat.validate(notebook)
    if "runbook" not in notebook.metadata:
        assert not any("runbook" in cell.metadata for cell in notebook.cells)
        assert not any(cell.get("outputs") for cell in notebook.cells)
        return "prepared"
    assert notebook.metadata.runbook.outcome == "passed"
    assert folder.outcomes() == ["passed"] * 20
    assert all(len(cell.outputs[0].text) > 50_000 for cell in notebook.cells[2:])
    return "executed"


def test_a_kill_at_any_moment_leaves_a_whole_notebook(folder: Any, started: Any) -> None:
    left = kill_at_random(folder, started, KILLS)

    print({word: left.count(word) for word in set(left)})
    assert len(left) == KILLS


def test_a_signal_at_any_moment_leaves_true_words(folder: Any, started: Any) -> None:
    """Between cells, in the machinery of a cell, while the notebook is written: never a lie, never a hang."""
    for turn in range(KILLS // 3):
        folder.prepared(*["import time; time.sleep(0.02)"] * 40)
        command = started(folder.command())
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        folder.wait_for(partial(started_or_over, children, command), "the start of the kernel")
        time.sleep(random.uniform(0, 2))

        command.send_signal(random.choice([signal.SIGINT, signal.SIGTERM]))
        out, err = command.communicate(timeout=60)

        words = [cell.metadata.runbook.outcome for cell in folder.read().cells[1:]]
        whole = folder.read().metadata.runbook.outcome
        assert err == "" or "KeyboardInterrupt" in err, turn  # it may come after the run
        assert words == sorted(words, key=["passed", "interrupted", "not run"].index)
        assert words.count("interrupted") <= 1
        assert whole == ("passed" if set(words) == {"passed"} else "interrupted")
        assert out == "" or out.startswith(whole)


def started_or_over(children: Path, command: subprocess.Popen[str]) -> bool:
    return command.poll() is not None or bool(children.read_text())


def writing_or_over(folder: Any, command: subprocess.Popen[str]) -> bool:
    return folder.writing() or command.poll() is not None


def test_a_kill_while_the_notebook_is_written_leaves_a_whole_one(folder: Any, started: Any) -> None:
    """The moment that corrupts: as soon as the half-written file is seen."""
    for _ in range(KILLS // 3):
        folder.prepared(*[BIG] * 60)
        command = started(folder.command())
        folder.wait_for(partial(writing_or_over, folder, command), "the write")
        command.kill()
        command.communicate()
        nbformat.validate(folder.read())


def test_a_folder_that_cannot_be_written_is_found_before_anything_runs(folder: Any, started: Any) -> None:
    folder.prepared("from pathlib import Path; Path('ran').touch()")
    folder.path.chmod(0o555)
    try:
        command = started(folder.command(preexec_fn=folder.obey_permissions))
        _, said = command.communicate(timeout=60)
    finally:
        folder.path.chmod(0o755)

    assert command.returncode == 1
    assert said == f"RecordError: {folder.copy} cannot be written: Permission denied; nothing was run\n"
    assert not (folder.path / "ran").exists()


def test_a_file_that_grows_too_large_is_an_error_and_the_prepared_copy_remains(folder: Any, started: Any) -> None:
    folder.prepared("print('x' * 300_000)")
    before = folder.copy.read_bytes()
    limit = "__import__('resource').setrlimit(__import__('resource').RLIMIT_FSIZE, (100_000, 100_000))"
    command = started(folder.command(f"{{'on_cell': lambda cell: {limit}}}"))

    _, said = command.communicate(timeout=60)

    assert command.returncode == 1
    assert said == f"RecordError: {folder.copy} cannot be written: File too large\n"
    assert folder.copy.read_bytes() == before
    assert folder.leftovers() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A folder on a file system of 256 KiB."""
    (disk := tmp_path / "disk").mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs privileges; the file size limit is tested in any case")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_an_error_and_the_prepared_copy_remains(small_disk: Path, folder: Any, started: Any) -> None:
    there = type(folder)(small_disk)
    there.prepared("print('x' * 300_000)")
    before = there.copy.read_bytes()

    command = started(there.command())
    _, said = command.communicate(timeout=60)

    assert command.returncode == 1
    assert said == f"RecordError: {there.copy} cannot be written: No space left on device\n"
    assert there.copy.read_bytes() == before
    assert there.leftovers() == []
