"""Change a notebook's steps, one thing at a time, and report which changes the drills notice.

A step is judged by its verdicts on what its clean run saw, and on copies of that with something wrong: replies, rows of
the database, and an answer that comes late. A mutant is killed if one of its verdicts differs from the accepted step's,
or if a structure rule complains. The new hash of the cell does not count, because every edit has one.
"""

from __future__ import annotations

import ast
import importlib
import os
import re
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice, pairwise
from multiprocessing import parent_process
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.commands.command import Sql
from runbook_lib.commands.expectations import judge
from runbook_lib.records import plan
from runbook_lib.runs.drills import drill, mutants, parallel, spoiled_replies
from runbook_lib.runs.drills.cases import cases_of, notebooks, undisturbed
from runbook_lib.runs.drills.clean_run import CleanRun, Declared, statements
from runbook_lib.runs.drills.spoiled_rows import Spoiling
from runbook_lib.settings.profiles import ROOT
from runbook_lib.steps import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from runbook_lib.commands.command import Command, Reply
    from runbook_lib.runs.drills.cases import Case
    from runbook_lib.runs.drills.clean_run import Expect
    from runbook_lib.runs.drills.mutants import Mutant

SURVIVORS = ROOT / "runbook_lib" / "checklist" / "survivors.yaml"
WORD = 80  # characters of a text of a step that may stand in a reply

Said = tuple[bool, bool, int]  # what a step says: all is well; waiting cannot change it; how many claims are unproven


@dataclass(frozen=True)
class Fate:
    """The fate of a mutant (a changed step): what noticed the change, or why nothing needs to notice it."""

    notebook: str
    step: str
    change: str
    killed: str
    reason: str = ""


@dataclass(frozen=True)
class Unseen:
    """A value that a step expects, but that proved nothing: no spoiled reply made the step complain of this value by
    name.
    """

    notebook: str
    step: str
    column: str


@dataclass(frozen=True)
class Judged:
    """The fates of a notebook's mutants (changed steps), the number of its expected values, and those that proved
    nothing.
    """

    notebook: str
    fates: tuple[Fate, ...]
    values: int
    unseen: tuple[Unseen, ...]
    idle: tuple[tuple[str, str], ...] = ()  # reasons for changes that are noticed, or not made any more


# --- a notebook -----------------------------------------------------------------------------------------------------


def of_notebook(run: CleanRun, chosen: Callable[[Fate], bool] = lambda _: True) -> Judged:
    """Judge a notebook's mutants (changed steps). Leave out those for which ``chosen`` returns False."""
    asked = _answers(run)
    fates, values, unseen = [], 0, []
    for step in run.steps:
        trial = _Trial(run, step.number, asked)
        picked = [one for one in trial.mutants if chosen(Fate(run.notebook, step.number, one.change, ""))]
        fates += trial.fates(picked)
        columns = list(trial.columns())
        values += len(columns)
        unseen += [Unseen(run.notebook, step.number, column) for column in columns if not trial.seen_red(column)]
    swaps = [fate for fate in _swapped(run.notebook) if chosen(fate)]
    return Judged(run.notebook, (*fates, *swaps), values, tuple(unseen))


def _answers(run: CleanRun) -> dict[str, list[Reply]]:
    """Return every reply that a command got during the clean run, by command. A command that was sent again may have
    got another reply.
    """
    answers: dict[str, list[Reply]] = {}
    for step in run.steps:
        declared = run.declared(step.number, run.source(step.number))
        for command, answer in zip(declared.commands, run.replies(step.number), strict=False):
            answers.setdefault(repr(command), []).append(answer)
    return answers


class _Trial:
    """The trial of one step's mutants: which of these changed steps the drills notice."""

    def __init__(self, run: CleanRun, number: str, answers: dict[str, list[Reply]]) -> None:
        self.run = run
        self.number = number
        self.answers = answers
        self.source = run.source(number)
        self.mutants = mutants.of_step(self.source, number, run.value)
        self.original = run.declared(number, self.source)
        self.replies = run.replies(number)
        self.alive: dict[str, Declared] = {}
        self.killed: dict[str, str] = {}
        self._written: dict[tuple[str, int], list[str]] = {}

    def fates(self, chosen: Sequence[Mutant]) -> list[Fate]:
        for mutant in chosen:
            self._declare(mutant)
        for kind, noticed in (
            ("late answers", self._late),
            ("spoiled replies", self._by_replies),
            ("requests", self._by_requests),
            ("spoiled rows", self._by_rows),
        ):
            noticed(kind)
        return [Fate(self.run.notebook, self.number, one.change, self.killed.get(one.change, "")) for one in chosen]

    def columns(self) -> Iterator[str]:
        """Yield the names of the columns whose values the step's expectation names."""
        yield from dict.fromkeys(
            mutant.change.split()[1]
            for mutant in self.mutants
            if re.fullmatch(r"(reply|each|entries|never|limits|production_variables): \w+ dropped", mutant.change)
        )

    def seen_red(self, column: str) -> bool:
        """Return whether some spoiled reply makes the step complain of this column by name."""
        for _, bad in self._spoiled():
            with suppress(Exception):
                if re.search(rf"\b{column}\b", judge(self.original.expect, bad).complaint or ""):
                    return True
        return False

    def _declare(self, mutant: Mutant) -> None:
        """Evaluate a mutant. Kill it if it cannot be evaluated or fails on the clean run's replies."""
        try:
            declared = self.run.declared(self.number, mutant.source)
        except Exception:  # noqa: BLE001 - whatever a changed cell raises, the clean run raises too
            self.killed[mutant.change] = "the clean run"
            return
        if checks.astray(self.run.phase.services, declared.commands, declared.expect):
            self.killed[mutant.change] = "requests"
        elif declared.commands == self.original.commands and not _said(declared.expect, self.replies)[0]:
            self.killed[mutant.change] = "the clean run"
        else:
            self.alive[mutant.change] = declared

    def _kill(self, change: str, kind: str) -> None:
        del self.alive[change]
        self.killed[change] = kind

    def _late(self, kind: str) -> None:
        """Kill each mutant that waits for late answers although the step does not, or the reverse."""
        for change, declared in list(self.alive.items()):
            if bool(declared.within) != bool(self.original.within):
                self._kill(change, kind)

    def _by_replies(self, kind: str) -> None:
        same = [change for change, declared in self.alive.items() if declared.commands == self.original.commands]
        for _, bad in self._spoiled():
            if not same:
                return
            right = _said(self.original.expect, bad)
            for change in [change for change in same if _said(self.alive[change].expect, bad) != right]:
                same.remove(change)
                self._kill(change, kind)

    def _spoiled(self) -> Iterator[tuple[str, list[Reply]]]:
        bounds, words = self._expected()
        for place, command in enumerate(self.original.commands):
            for other in self.answers.get(repr(command), []):  # one that names the time is another each time
                for flaw, answer in (("at another time", other), *spoiled_replies.ours(other, words)):
                    yield flaw, [*self.replies[:place], answer, *self.replies[place + 1 :]]
        for spoil, bad in spoiled_replies.spoiled(self.replies, bounds, words):
            yield f"{spoil.column}: {spoil.flaw}", bad

    def _expected(self) -> tuple[list[float], list[str]]:
        """Return the numbers and texts that stand in the step's expectation."""
        [call] = plan.calls(self.source, self.number)
        expect = next((keyword.value for keyword in call.keywords if keyword.arg == "expect"), None)
        nodes = [node for node in ast.walk(expect) if isinstance(node, ast.expr)] if expect else []
        values = [value for node in nodes if not isinstance(value := self.run.value(node), bool)]
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        words = [value for value in values if isinstance(value, str) and len(value) < WORD]
        return list(dict.fromkeys(numbers)), list(dict.fromkeys(words))

    def _by_requests(self, kind: str) -> None:
        """Send the requests of each mutant that differ from the step's. Kill the mutant if it fails while the step
        passes.
        """
        others = [
            (change, declared)
            for change, declared in self.alive.items()
            if not _only_sql_differs(self.original.commands, declared.commands)
        ]
        if others and self._complaint(self.original) is None:
            for change, declared in others:
                if self._complaint(declared):
                    self._kill(change, kind)

    def _complaint(self, declared: Declared) -> str | None:
        services = self.run.phase.services
        return checks.look(services, declared.commands, declared.expect, 0, lambda _: None).finding.complaint

    def _by_rows(self, kind: str) -> None:
        copies, seen = self.run.copies, self.run.tables.get(self.number)
        asked = statements(self.original)
        if not self.alive or seen is None:
            return
        by_hand = _changes_by_hand(self.run.notebook, self.number)
        for tables in (seen, copies.take(asked)):  # as the step saw them, and as the run left them
            copies.hold(tables)
            spoiling = Spoiling(copies, asked, self._expected()[1], *by_hand)
            self._written = {}
            for change in ((), *spoiling.changes(), *spoiling.pairs()):
                if not self.alive:
                    return
                self._compare(change, kind)

    def _compare(self, change: Sequence[str], kind: str) -> None:
        """Make a change to the rows, and kill each mutant that then judges them differently from the step."""
        judged = [("", self.original), *self.alive.items()]
        for variant in range(-1, self._variants()):
            asked = [self._statements(name, declared, variant) for name, declared in judged]
            distinct = list(dict.fromkeys(chain.from_iterable(asked)))
            answers = self.run.copies.answers(change, distinct)
            if answers is None:
                return
            answered = dict(zip(distinct, answers, strict=True))
            said = [
                self._said_to(declared, [answered[statement] for statement in written])
                for (_, declared), written in zip(judged, asked, strict=True)
            ]
            for (name, _), words in zip(judged[1:], said[1:], strict=True):
                if words != said[0] and name in self.alive:
                    self._kill(name, kind)

    def _variants(self) -> int:
        """Return the number of variants of the step's statements, in which ids are left out or added."""
        return max(len(list(_otherwise_named(command, self._id()))) for command in self.original.commands)

    def _id(self) -> str:
        """Return the id in the step's first reply."""
        return str(self.replies[0].rows[0].get("id")) if self.replies and self.replies[0].rows else ""

    def _statements(self, name: str, declared: Declared, variant: int) -> list[str]:
        """Return the SQL of a step's statements: as they are if ``variant`` is -1, otherwise in that variant."""
        if (name, variant) not in self._written:
            self._written[name, variant] = [
                self.run.copies.written(
                    next(islice(_otherwise_named(command, self._id()), max(variant, 0), None), command)
                    if variant >= 0
                    else command
                )
                for command in statements(declared)
            ]
        return self._written[name, variant]

    def _said_to(self, declared: Declared, answered: Sequence[Reply]) -> Said:
        """Return the verdict that the step gives if its SQL statements get these answers, and its other commands get
        the answers of the clean run.
        """
        waiting = iter(answered)
        answers = [
            next(waiting) if isinstance(command, Sql) else answer
            for command, answer in zip(declared.commands, self.replies, strict=True)
        ]
        return _said(declared.expect, answers)


def _said(expect: Expect, replies: Sequence[Reply]) -> Said:
    try:
        finding = judge(expect, replies)
    except Exception:  # noqa: BLE001 - an expectation that breaks off does not pass
        return False, False, 0
    return finding.complaint is None, finding.final, len(finding.unproven)


def _only_sql_differs(right: Sequence[Command], changed: Sequence[Command]) -> bool:
    pairs = zip(right, changed, strict=False)
    return len(right) == len(changed) and all(a == b or (isinstance(a, Sql) and isinstance(b, Sql)) for a, b in pairs)


def _otherwise_named(command: Command, ours: str) -> Iterator[Sql]:
    """Yield variants of a SQL statement that can be asked with an id or without. If it was asked with one, yield it
    without; otherwise yield it with an id of ours and with another id.
    """
    if not isinstance(command, Sql):
        return
    open_ids = [name for name in command.values if re.search(rf"%\({name}\)s (?:= ''|in \('',)", command.statement)]
    named = any(command.values[name] for name in open_ids)
    for other in ([""] if named else [mutants.ANOTHER[False], ours]) if open_ids else []:
        yield replace(command, values={**command.values, **dict.fromkeys(open_ids, other)})


def _changes_by_hand(notebook: str, number: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the SQL by which a notebook's hand-written cases change the database: first that of all cases, then that
    of the cases which step ``number`` must notice.
    """
    written = [(case, _written(case)) for case in cases_of(notebook)] if notebook in notebooks() else []
    return [sql for _, sql in written if sql], [sql for case, sql in written if sql and case.step == number]


def _written(case: Case) -> tuple[str, ...]:
    asked = [str(request["json"]["sql"]) for request in case.requests if request["request"] == "POST /sql"]
    return (*case.sql, *asked)


# --- the structure rules --------------------------------------------------------------------------------------------


def _swapped(notebook: str) -> list[Fate]:
    """Swap each step with the next step. Return for each swap whether a structure rule noticed it."""
    sys.path.insert(0, str(ROOT))  # the rules are files of the checkout, as the tests are
    try:
        rules = importlib.import_module("tests.structure.step_rules").RULES
        read = importlib.import_module("tests.structure.notebook").Notebook
    finally:
        sys.path.remove(str(ROOT))
    whole = read.read(plan.notebook(notebook))
    steps = plan.steps(plan.notebook(notebook))
    fates = []
    for first, second in pairwise(steps):
        cells = list(whole.raw["cells"])
        cells[first.cell], cells[second.cell] = cells[second.cell], cells[first.cell]
        changed = read(notebook, {**whole.raw, "cells": cells})
        noticed = any(complaint for rule in rules for complaint in rule(changed))
        kind = "structure rules" if noticed else ""
        fates.append(Fate(notebook, first.number, f"swapped with {second.number}", kind))
    return fates


# --- all notebooks --------------------------------------------------------------------------------------------------


def judged(names: Sequence[str], at_once: int, folder: Path) -> Iterator[Judged]:
    """Judge the mutants (changed steps) of the notebooks, ``at_once`` notebooks at a time, each on its own
    rehearsal.
    """
    with lanes(at_once) as pool:
        environment = {**os.environ, "RUNBOOK_RECORDS": str(folder)}
        yield from pool.map(_in_a_lane, names, [environment] * len(names))


def lanes(at_once: int) -> ProcessPoolExecutor:
    """Return a pool of processes that end with this process, even if it is killed."""
    return ProcessPoolExecutor(at_once, mp_context=drill.PROCESSES, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended. A pool's process would wait for work for ever."""
    if parent := parent_process():
        threading.Thread(target=lambda: wait([parent.sentinel]) and os._exit(1), daemon=True).start()


def _in_a_lane(notebook: str, environment: dict[str, str]) -> Judged:
    drill.become(environment)
    with rested(notebook) as run:
        return of_notebook(run)


@contextmanager
def rested(notebook: str) -> Iterator[CleanRun]:
    """Start a rehearsal and make a clean run of a notebook on it. While the block runs, mutants of its steps can be
    judged.
    """
    parameters = _parameters(notebook) if notebook in notebooks() else {}
    with parallel.brought_up(notebook):
        run = CleanRun(notebook, parameters)
        try:
            yield run
        finally:
            run.close()


def _parameters(notebook: str) -> dict[str, Any]:
    """Return the notebook's parameters for a clean run. A notebook that only diagnoses gets those of its first case."""
    return {} if undisturbed(notebook) else cases_of(notebook)[0].parameters


def chosen(names: Sequence[str]) -> list[str]:
    """Return the notebooks to mutate: those whose names begin with one of ``names``. Without names, return all
    notebooks.
    """
    return [plan.notebook(name).stem for name in names] if names else plan.notebooks()


def with_reasons(result: Judged) -> Judged:
    """Add to each surviving mutant the reason from ``survivors.yaml`` why no drill needs to notice it.

    A reason that no survivor needs any more stands in ``idle``.
    """
    reasons = (yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")) or {}).get(result.notebook, {})
    alive = {(fate.step, fate.change) for fate in result.fates if not fate.killed}
    written = [(step, change) for step, changes in reasons.items() for change in changes]
    fates = [
        fate if fate.killed else replace(fate, reason=reasons.get(fate.step, {}).get(fate.change, ""))
        for fate in result.fates
    ]
    return replace(result, fates=tuple(fates), idle=tuple(named for named in written if named not in alive))
