"""Run the benchmarks of ``tests/benchmarks`` for ``./runbook bench``."""

from __future__ import annotations

import importlib
import math
import sys
from typing import TYPE_CHECKING

from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def figures(names: Sequence[str], rounds: int) -> Iterator[tuple[str, str, str, str]]:
    """Run the benchmarks, and yield each figure as soon as it is measured.

    If ``names`` are given, a file's name must contain one of them.

    A figure is a name, our value, the other tool's value, and their ratio. Ratios come from interleaved runs; on a
    machine that does other things too, only the ratios mean anything.
    """
    sys.path.insert(0, str(ROOT))  # the benchmarks are files of the checkout, as the tests are
    for path in sorted((ROOT / "tests" / "benchmarks").glob("bench_*.py")):
        if not names or any(name in path.stem for name in names):
            for row in importlib.import_module(f"tests.benchmarks.{path.stem}").rows(rounds):
                ours = "never" if math.isnan(row.ours) else f"{row.ours:.4g} {row.unit}"
                theirs = "" if row.theirs is None else f"{row.theirs:.3g} {row.unit}"
                yield row.name, ours, theirs, "" if row.theirs is None else f"{row.ours / row.theirs:.2f}"
