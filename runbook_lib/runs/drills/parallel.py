"""Drill cases in several processes at once. Each process, called a lane, has its own rehearsal.

A drill mostly waits for ticks and budgets, so that more lanes than cores are of use.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import TYPE_CHECKING

from runbook_lib.errors import RunbookError
from runbook_lib.records import plan
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import rehearsals
from runbook_lib.runs.drills import drill

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.runs.drills.cases import Case


@dataclass(frozen=True)
class Row:
    """The result of one drill, a row of the catch matrix, as a lane (a drilling process) sends it.

    ``expected`` is the number of the step that should notice, ``noticed`` of the step that did; empty for none.
    """

    notebook: str
    fault: str
    expected: str
    noticed: str
    verdict: str  # caught, missed, false alarm
    says: str  # the words expected
    words: str  # the words used
    fix: str  # what the step that noticed says to do
    seconds: float
    record: str = ""  # folder of the drill's own record


def rows(chosen: Sequence[Case], at_once: int, folder: Path) -> Iterator[Row]:
    """Drill the cases in parallel, ``at_once`` at a time. Yield the row of each case when its drill ends.

    The drills' own records are written below ``folder``. A case counts as missed if its lane dies, or if no lane is
    left to drill it.
    """
    work = _Work(chosen)
    lanes = dict(_lane(folder) for _ in range(min(at_once, len(chosen))))
    try:
        while lanes:
            for pipe in wait(list(lanes)):
                if isinstance(pipe, Connection):
                    row = _heard(pipe, work, lanes)
                    if row:
                        yield row
        yield from (_broken(case, "no process was left to run it") for case in work.rest())
    finally:
        for pipe, process in lanes.items():
            pipe.close()
            process.join()


def _heard(pipe: Connection, work: _Work, lanes: dict[Connection, BaseProcess]) -> Row | None:
    """Receive a row from a lane (a drilling process), and send the lane its next case. Return the row, or None if the
    lane has no row yet.

    If there is no next case, send the lane None, which ends the lane. If the lane has died, return a row that says so.
    """
    try:
        row: Row | None = pipe.recv()
    except (EOFError, OSError):  # it was killed
        lanes.pop(pipe).join()
        lost = work.done(pipe)
        return _broken(lost, "the drill's process ended") if lost else None
    pipe.send(work.next(pipe))
    return row


class _Work:
    """The work of parallel drills: the cases not begun yet, by notebook, and each lane's present case."""

    def __init__(self, chosen: Sequence[Case]) -> None:
        self.left: dict[str, list[Case]] = {}
        self.at: dict[Connection, Case] = {}
        for case in chosen:
            self.left.setdefault(case.notebook, []).append(case)

    def next(self, lane: Connection) -> Case | None:
        """Return the next case for a lane of the parallel drills.

        It is a case of the lane's last notebook or, if none is left, of the notebook with the most work left per lane.
        """
        before = self.done(lane)
        busy = [case.notebook for case in self.at.values()]
        same = before.notebook if before and self.left[before.notebook] else None
        notebook = same or max(self.left, key=lambda name: sum(map(_length, self.left[name])) / (1 + busy.count(name)))
        if not self.left[notebook]:
            return None
        self.at[lane] = self.left[notebook].pop(0)
        return self.at[lane]

    def done(self, lane: Connection) -> Case | None:
        """Mark a lane of the parallel drills as free. Return the case that it had, or None."""
        return self.at.pop(lane, None)

    def rest(self) -> list[Case]:
        """Return the cases that no lane of the parallel drills has begun."""
        return [case for listed in self.left.values() for case in listed]


def _length(case: Case) -> int:
    """Estimate how long a drill takes, as the number of steps that it runs."""
    order = [step.number for step in plan.steps(plan.notebook(case.notebook))]
    return order.index(case.step) + 1 if case.step and not case.passes else len(order)


# --- a lane, in a process of its own --------------------------------------------------------------------------------


def _lane(folder: Path) -> tuple[Connection, BaseProcess]:
    ours, theirs = drill.PROCESSES.Pipe()
    process = drill.PROCESSES.Process(target=_serve, args=({**os.environ, "RUNBOOK_RECORDS": str(folder)}, theirs))
    process.start()
    theirs.close()
    return ours, process


def _serve(environment: dict[str, str], pipe: Connection) -> None:
    """Drill the cases that the parent process sends, as one of the parallel lanes."""
    with suppress(EOFError, OSError, KeyboardInterrupt):  # whoever asked for the drills has gone
        pipe.send(None)
        case = _next(pipe)
        while case:
            drill.become(environment)
            case = _of_one_notebook(case, pipe)


def _of_one_notebook(first: Case, pipe: Connection) -> Case | None:
    """Drill cases of one notebook on one rehearsal. Return the first case of another notebook, or None when none is
    left.
    """
    case: Case | None = first
    try:
        if not first.step:  # nothing is wrong: on a platform of its own, that nothing was done to
            with brought_up(first.notebook):
                pipe.send(_row(first, None))
            return _next(pipe)
        with rested(first.notebook) as parent:
            while case and case.step and case.notebook == first.notebook:
                pipe.send(_row(case, parent))
                case = _next(pipe)
    except RunbookError as problem:
        pipe.send(_broken(case or first, f"no rehearsal for it: {problem}"))
        return _next(pipe)
    return case


def _next(pipe: Connection) -> Case | None:
    given: Case | None = pipe.recv()
    return given


@contextmanager
def rested(notebook: str) -> Iterator[Record | None]:
    """Start the rehearsal of one parallel lane, in the notebook's starting state.

    Yield the clean run that the lane's drills resume, or None if each case starts anew.
    """
    with brought_up(notebook):
        yield drill.prepared(notebook)


@contextmanager
def brought_up(notebook: str) -> Iterator[None]:
    before = dict(os.environ)
    try:
        with lifecycle.rehearse(state=rehearsals.starting_state(plan.notebook(notebook))) as running:
            os.environ.update(running.environment)
            os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
            yield
    finally:
        drill.become(before)


def _row(case: Case, parent: Record | None) -> Row:
    started = monotonic()
    try:
        caught = drill.drill(case, parent)
    except RunbookError as problem:  # what could not be broken was not noticed by anybody
        return _broken(case, f"not drilled: {problem}", monotonic() - started)
    outcome = caught.outcome or {}
    return Row(
        case.notebook,
        case.name,
        case.step,
        caught.step or (case.step if case.passes and outcome else ""),
        caught.verdict,
        case.says,
        caught.words,
        str(outcome.get("fix") or caught.words.partition(" Fix: ")[2]),
        round(caught.seconds, 2),
        str(caught.record.folder),
    )


def _broken(case: Case, why: str, seconds: float = 0.0) -> Row:
    return Row(case.notebook, case.name, case.step, "", "missed", case.says, why, "", round(seconds, 2))
