"""Runs a prepared notebook without a person: truthful about every cell, whole on disk."""

from __future__ import annotations

from runbook_lib.engine.cells import Stop
from runbook_lib.engine.notebook import Prepared, prepare, write_whole
from runbook_lib.engine.outcome import Cell, Outcome, Result
from runbook_lib.engine.plugin import PapermillEngine
from runbook_lib.engine.run import Job, Kernels, run, run_many

__all__ = [
    "Cell",
    "Job",
    "Kernels",
    "Outcome",
    "PapermillEngine",
    "Prepared",
    "Result",
    "Stop",
    "prepare",
    "run",
    "run_many",
    "write_whole",
]
