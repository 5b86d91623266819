"""How long the engine takes beside nbclient and papermill, on the same cells, in interleaved runs.

    python tests/benchmarks/bench_engine.py [rounds]

`./runbook bench` calls `rows`.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.kernel_pool import Kernels
from runbook_lib.engine.notebook import prepare
from runbook_lib.engine.outcome import Result
from runbook_lib.engine.run import run as execute

# isort: split
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.benchmarks.figures import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PHASE = (  # fifteen code cells such as a phase has, without waiting for anything
    "n = 1",
    "import pandas as pd, psycopg, httpx, matplotlib.pyplot as plt",
    "df = pd.DataFrame({'tick': range(500), 'cost': [i % 7 / 100 for i in range(500)]})\ndf.describe()",
    "df.groupby(df.tick % 24).cost.sum().head()",
    "fig, ax = plt.subplots(figsize=(8, 3.5)); ax.plot(df.tick, df.cost); ax.set_title('cost');",
    "client = httpx.Client()",
    "assert len(df) == 500",
    *(f"print('step {n} passed'); df.tail({n})" for n in range(1, 9)),
)
COMMAND = """
import os, sys
from pathlib import Path
from runbook_lib.engine.notebook import prepare
from runbook_lib.engine.run import run as execute
prepare(Path(sys.argv[1]), Path(sys.argv[2]), {})
execute(Path(sys.argv[2]), env=dict(os.environ), cwd=Path.cwd(), redact=str)
"""


def rows(rounds: int = 5) -> Iterator[Row]:
    """Every comparison, each measured ``rounds`` times by turns."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        long, phases = _long(Path(folder)), _phases(Path(folder))
        yield _compare("200 cells, nbclient", rounds, lambda: ours(long), lambda: nbclient_one(long))
        yield _compare("200 cells, papermill command", rounds, lambda: command(long), lambda: papermill(long))
        yield _compare(
            "200 cells, papermill --engine runbook and papermill",
            rounds,
            lambda: papermill(long, "--engine", "runbook"),
            lambda: papermill(long),
        )
        yield _compare(
            "7 phases in order, nbclient one by one (immediate shutdown)",
            rounds,
            lambda: in_order(phases),
            lambda: [nbclient_one(path) for path in phases],
        )


def _compare(name: str, rounds: int, ours: Callable[[], Any], theirs: Callable[[], Any]) -> Row:
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for who, work in (("ours", ours), ("theirs", theirs)):
            times[who].append(_timed(work))
    return Row(name, statistics.median(times["ours"]), statistics.median(times["theirs"]))


def _timed(work: Callable[[], Any], attempts: int = 3) -> float:
    """Seconds of one success: on a busy machine papermill now and then gives up waiting for outputs."""
    for attempt in range(attempts):
        began = time.perf_counter()
        try:
            work()
        except subprocess.CalledProcessError as error:
            if attempt == attempts - 1:
                raise RuntimeError(str(error.stderr)[-2000:]) from error
        else:
            break
    return time.perf_counter() - began


def _write(path: Path, sources: tuple[str, ...]) -> Path:
    first = new_code_cell(sources[0], metadata={"tags": ["parameters"]})
    cells = [new_markdown_cell("# Bench"), first, *(new_code_cell(source) for source in sources[1:])]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def _long(folder: Path) -> Path:
    return _write(folder / "long.ipynb", ("n = 1", *(f"n += {i}; print(n)" for i in range(199))))


def _phases(folder: Path) -> list[Path]:
    return [_write(folder / f"phase_{n}.ipynb", PHASE) for n in range(7)]


def _copy(path: Path) -> Path:
    return prepare(path, path.with_name(f"out_{path.name}"), {}).path


def _passed(*results: Result) -> None:
    if any(result.outcome != "passed" for result in results):
        raise RuntimeError(f"not a measurement: {results}")


def ours(path: Path) -> None:
    _passed(execute(_copy(path), env=dict(os.environ), cwd=Path.cwd(), redact=str))


def in_order(paths: list[Path]) -> None:
    with Kernels(len(paths)) as kernels:
        for path in paths:
            env = dict(os.environ)
            _passed(execute(_copy(path), env=env, cwd=Path.cwd(), redact=str, kernels=kernels))


def nbclient_one(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, shutdown_kernel="immediate").execute()
    nbformat.write(notebook, path.with_name(f"out_{path.name}"))


def command(path: Path) -> None:
    target = path.with_name(f"out_{path.name}")
    subprocess.run([sys.executable, "-c", COMMAND, str(path), str(target)], check=True)


def papermill(path: Path, *options: str) -> None:
    program = Path(sys.executable).with_name("papermill")
    target = path.with_name(f"out_{path.name}")
    subprocess.run(
        [str(program), *options, "--no-progress-bar", str(path), str(target)], check=True, capture_output=True
    )


def _table(found: Iterable[Row]) -> Iterator[str]:
    yield f"{'':62}{'ours':>8}{'theirs':>8}{'ratio':>8}"
    for row in found:
        yield f"{row.name:62}{row.ours:8.2f}{row.theirs:8.2f}{row.ours / row.theirs:8.2f}"


if __name__ == "__main__":
    for line in _table(rows(*map(int, sys.argv[1:]))):
        print(line)
