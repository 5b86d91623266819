"""What two operators at once come to: changes after the writing lock was lost, and the time from a proof to a byte.

`./runbook bench lock` calls `rows`.
"""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING

from runbook_lib.rehearsal.lifecycle import rehearse
from tests import operators
from tests.benchmarks.figures import Row

if TYPE_CHECKING:
    from runbook_lib.rehearsal.lifecycle import Running
    from tests.operators import Figures

PARTS = {"killed": 200, "frozen": 150, "behind a pooler": 150}
REFUSED = 100  # tries of two operators behind a pooler that shares sessions


def rows(rounds: int = 1) -> list[Row]:
    """So many tries in all, whatever the rounds; each figure of zero is a promise."""
    before = dict(os.environ)
    try:
        with rehearse() as running:
            os.environ.update(running.environment)
            figures = [_lost(running, name, tries) for name, tries in PARTS.items()]
            taken = _taken_behind_a_pooler(running)
    finally:
        os.environ.clear()
        os.environ.update(before)
    gaps = sorted(gap * 1000 for part in figures for gap in part.gaps)
    after = [late * 1000 for part in figures for late in part.after]
    tries = sum(part.tries for part in figures)
    return [
        Row(f"changes by SQL after the lock was lost, of {tries} tries", sum(part.late for part in figures), unit=""),
        Row(
            f"requests proven after the lock was lost, of {tries} tries",
            sum(part.unproven for part in figures),
            unit="",
        ),
        Row(f"second holders of one lock, of {tries} tries", sum(part.both for part in figures), unit=""),
        Row(f"taken behind a pooler by transaction, of {2 * REFUSED} tries", taken, unit=""),
        Row("changes by SQL in all", sum(part.acts for part in figures), unit=""),
        Row(f"a request's proof to its first byte, median of {len(gaps)}", statistics.median(gaps), unit="ms"),
        Row("a request's proof to its first byte, 99 of 100", gaps[len(gaps) * 99 // 100], unit="ms"),
        Row(f"requests that arrived after the loss, proven before it, of {len(gaps)}", len(after), unit=""),
        Row("the latest of them", max(after, default=0.0), unit="ms"),
    ]


def _lost(running: Running, name: str, tries: int) -> Figures:
    if name == "behind a pooler" and operators.program():
        with operators.pooler(running, "session") as address, operators.Trial(running, address) as trial:
            return trial.lose(operators.killed, tries)
    with operators.Trial(running) as trial:
        return trial.lose(operators.frozen if name == "frozen" else operators.killed, tries)


def _taken_behind_a_pooler(running: Running) -> float:
    """How often a lock was taken through a pooler that shares sessions; NaN where no pooler is installed."""
    if not operators.program():
        return float("nan")
    with operators.pooler(running, "transaction") as address, operators.Trial(running, address) as trial:
        return float(trial.refused(REFUSED).count("taken"))
