"""Run a notebook with nothing broken, and keep what each step saw. A changed step is later judged by the same data."""

from __future__ import annotations

import ast
import io
import json
import os
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Sql
from runbook_lib.commands.expectations import reply
from runbook_lib.records import history, plan, run_record
from runbook_lib.services.table_copies import Copies
from runbook_lib.settings import profiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.commands.command import Command, Reply
    from runbook_lib.commands.expectations import Expectation
    from runbook_lib.services.table_copies import Tables

    Expect = Expectation | Sequence[Expectation]


@dataclass(frozen=True)
class Declared:
    """What a step declares: its commands with all names filled in, its expectation, and its time limit."""

    commands: tuple[Command, ...]
    expect: Expect
    within: float = 0


class CleanRun:
    """A clean run: a run of a notebook, on the rehearsal that is up, in which every step passed."""

    def __init__(self, notebook: str, parameters: Mapping[str, Any]) -> None:
        self.notebook = notebook
        self.names: dict[str, Any] = {}
        self.tables: dict[str, Tables] = {}  # of each step that looks into the database: as the step saw them
        self._path = plan.notebook(notebook)
        self._cells = json.loads(self._path.read_text(encoding="utf-8"))["cells"]
        self.steps = [step for step in plan.steps(self._path) if step.verb != "confirm"]
        self._copies: Copies | None = None
        self._run(parameters)

    @property
    def phase(self) -> Any:
        """Return the phase that the clean run's notebook opened."""
        return self.names["phase"]

    @property
    def copies(self) -> Copies:
        """Return the copies of database tables on which the SQL statements of the clean run's steps are run again."""
        self._copies = self._copies or Copies(self.phase.services.database)
        return self._copies

    def source(self, number: str) -> str:
        """Return the source of the cell that declares step ``number``."""
        return "".join(self._cells[next(step.cell for step in self.steps if step.number == number)]["source"])

    def replies(self, number: str) -> list[Reply]:
        """Return the replies with which a step passed in the clean run."""
        past = history.read(self.phase.record)
        count = len(past.outcomes()[number].get("replies", ()))
        return [answer for index in range(count) if (answer := past.reply(number, index))]

    def declared(self, number: str, source: str) -> Declared:
        """Return what a step with this source declares, without sending anything. Do not catch errors of the source."""
        listening = _Listening(self.phase)
        exec(source, {**self.names, "phase": listening})  # noqa: S102 - this is what a kernel does
        [declared] = listening.heard
        return declared

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression in a cell. Return None if evaluating it raises an error."""
        try:
            return eval(compile(ast.Expression(node), "cell", "eval"), dict(self.names))  # noqa: S307 - our own cell
        except Exception:  # noqa: BLE001 - a part of a call may mean nothing alone
            return None

    def close(self) -> None:
        """Close the clean run's connections."""
        if self._copies:
            self._copies.close()
        self.phase.services.close()

    def _run(self, parameters: Mapping[str, Any]) -> None:
        record = run_record.begin(
            profiles.load("rehearsal"), self.notebook, source=self._path, parameters=dict(parameters)
        )
        record.notebook.write_bytes(self._path.read_bytes())
        os.environ.update({run_record.RECORD: str(record.folder), run_record.MODE: "headless"})
        exec("from runbook_lib import *", self.names)  # noqa: S102 - a changed step may use what its notebook does not
        checks = {step.cell: step.number for step in self.steps if step.verb == "check"}
        with redirect_stdout(io.StringIO()):
            for index, cell in enumerate(self._cells):
                if cell["cell_type"] != "code":
                    continue
                exec("".join(cell["source"]), self.names)  # noqa: S102
                if "parameters" in cell["metadata"].get("tags", ()):
                    self.names.update(parameters)
                if index in checks:
                    self._take(checks[index])

    def _take(self, number: str) -> None:
        asked = statements(self.declared(number, self.source(number)))
        if asked:
            self.tables[number] = self.copies.take(asked)


def statements(declared: Declared) -> list[Sql]:
    """Return the SQL statements with which a step reads the database."""
    return [command for command in declared.commands if isinstance(command, Sql)]


class _Listening:
    """A phase that sends nothing. It only records what a step declares."""

    def __init__(self, phase: Any) -> None:
        self._phase = phase
        self.heard: list[Declared] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._phase, name)

    def check(self, number: str, _: str, *commands: Command, expect: Expect, fix: str, within: float = 0) -> None:
        self._hear(number, commands, expect, within)

    def act(self, number: str, _: str, command: Command, *, expect: Expectation | None = None, **__: Any) -> None:
        self._hear(number, (command,), expect or reply(), 0)

    def _hear(self, number: str, commands: Sequence[Command], expect: Expect, within: float) -> None:
        def name(dotted: str) -> str:
            return str(self._phase.key(number) if dotted == "key" else self._phase.settings.lookup(dotted))

        self.heard.append(Declared(tuple(command.filled(name) for command in commands), expect, within))
