"""Choose the part of the drills that a test run does, by the commit that it tests.

Successive commits have different parts, so that every drill has its turn; a commit always has the same part.
"""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook_lib.records import plan
from runbook_lib.runs.drills.cases import cases_of, notebooks
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.runs.drills.cases import Case
    from runbook_lib.runs.drills.mutation import Fate

CASES = 8  # one case in so many
MUTANTS = 12  # one mutant in so many, of one notebook
LONG = ("phase_4_first_day",)  # left to the whole run: its long statements are judged for minutes


def commit() -> str:
    """Return the checkout's commit; without git, a digest of today's date."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or hashlib.sha256(datetime.now(UTC).date().isoformat().encode()).hexdigest()


def cases(notebook: str, commit: str) -> list[Case]:
    """Return the commit's part of a notebook's cases: at least one."""
    known = cases_of(notebook)
    share = min(CASES, len(known))
    return known[_turn(commit, share) :: share]


def mutants(commit: str) -> tuple[str, Callable[[Fate], bool]]:
    """Return the notebook whose mutants the commit's part holds, and the function that picks them."""
    known = [name for name in plan.notebooks() if name not in LONG]

    def picks(fate: Fate) -> bool:
        digest = hashlib.sha256(f"{commit} {fate.step} {fate.change}".encode()).digest()
        return digest[0] % MUTANTS == 0

    return known[_turn(commit, len(known))], picks


def sentence(commit: str) -> str:
    """Say how many cases the commit's part holds and how many it leaves out."""
    known = [len(cases_of(notebook)) for notebook in notebooks()]
    picked = [len(cases(notebook, commit)) for notebook in notebooks()]
    left_out = sum(known) - sum(picked)
    return f"drills of this commit: {sum(picked)} of {sum(known)} cases; ./runbook drill has the {left_out} others too"


def _turn(commit: str, parts: int) -> int:
    return int(commit[:8], 16) % parts
