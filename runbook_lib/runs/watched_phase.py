"""Judge a phase's cells tagged ``watch``, round after round, inside the kernel of a watch.

A look that fails has the verdict ``unknown``, never ``quiet`` and never ``alarm``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from runbook_lib.checklist.first_day import NOW
from runbook_lib.commands.command import Command, Http, Reply, Sql, Subscribe
from runbook_lib.commands.expectations import Expectation, judge
from runbook_lib.errors import RunbookError, ServiceError, StepPending
from runbook_lib.records import plan
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

TAG = "watch"
SHOWN = 600  # characters of a complaint that are passed on
NUMBER = re.compile(r"(?P<id>0x[0-9a-fA-F]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})|[\d.,:+-]*\d")


class Lookout:
    """The phase of a watch. It runs the checks tagged ``watch`` in any order, and writes no ledger."""

    mode = "watch"

    def __init__(self, name: str, settings: Settings, record: Record) -> None:
        self.name, self.settings, self.record = name, settings, record
        self.until = NOW
        self.services = Services(settings)
        self._clean = settings.redactor().value
        cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
        watched = [step for step in plan.steps(record.notebook) if TAG in step.tags]
        self._cells = {s.number: compile("".join(cells[s.cell]["source"]), s.number, "exec") for s in watched}
        self._replies: dict[str, tuple[Reply, ...]] = {}
        self._silent: dict[str, str] = {}  # services that did not answer in this round, and how
        self._verdicts: dict[str, dict[str, Any]] = {}
        # what checks with ``within`` complained of in the round before, by step number
        self._complained: dict[str, set[str]] = {}

    def round(self, names: dict[str, Any], until: str = NOW) -> str:
        """Judge every cell tagged ``watch`` once, as of the moment ``until``. Return the verdict on each step as JSON.

        ``names`` are the notebook's globals, in which the cells run. Only checks whose commands bind ``until`` can be
        judged as of a past moment; the others have no verdict then.
        """
        self.until, self._silent, self._verdicts = until, {}, {}
        for number, cell in self._cells.items():
            try:
                exec(cell, names)  # noqa: S102 - the notebook's own cell, as the kernel runs it
            except ServiceError as error:
                self._unknown(number, str(error))
            except Exception as error:  # noqa: BLE001 - whatever a cell trips over, its alarm is unknown and not quiet
                self._unknown(number, str(error) if isinstance(error, RunbookError) else repr(error))
        return json.dumps(self._clean(self._verdicts), allow_nan=False)

    def check(
        self,
        number: str,
        title: str,
        *commands: Command,
        expect: Expectation | Sequence[Expectation],
        fix: str,
        within: float = 0,
    ) -> None:
        """Send a watched check's commands once, and keep the verdict: quiet, alarm, waiting or unknown.

        A check that may wait (``within``) is an alarm only if the next round complains of the same thing again.
        """
        bound = all(isinstance(command, Sql) and "until" in command.values for command in commands)
        if self.until != NOW and not bound:
            return
        self._verdicts[number] = {"verdict": "unknown", "title": title, "fix": fix}
        replies = tuple(self._look(command.filled(self.settings.lookup)) for command in commands)
        self._replies[number] = replies
        finding = judge(expect, replies)
        before, things = self._complained.get(number, set()), _things(finding.complaint)
        self._complained[number] = things
        if finding.complaint is None:
            self._verdicts[number] = {"verdict": "quiet"}
        elif within and not finding.final and not things & before:
            self._verdicts[number] |= {"verdict": "waiting", "complaint": finding.complaint[:SHOWN]}
        elif finding.unsure:
            self._unknown(number, finding.complaint)
        else:
            alarm = {"verdict": "alarm", "complaint": finding.complaint[:SHOWN], **_when(replies)}
            self._verdicts[number] |= alarm

    def reply(self, number: str, index: int = 0) -> Reply:
        """Return the newest reply to a command of a watched check. Raise `StepPending` if there is no reply."""
        if number not in self._replies:
            raise StepPending(f"{number} has not been seen yet")
        return self._replies[number][index]

    def value(self, number: str, column: str | None = None, index: int = 0) -> Any:
        """Return one column of the first row of the newest reply to a watched check."""
        return self.reply(number, index).value(column)

    def head(self) -> None:
        """Show nothing at the head of a phase in a watch, because nobody looks at it."""

    def _look(self, command: Command) -> Reply:
        """Send a command of a watched check once.

        If the command's service failed to answer earlier in this round, raise `ServiceError` at once, without waiting.
        """
        service = command.service if isinstance(command, Http | Subscribe) else "database"
        if service in self._silent:
            raise ServiceError(self._silent[service])
        try:
            reply = self.services.look(command)
        except ServiceError as error:
            self._silent[service] = str(error)
            raise
        if reply.error is not None:
            raise ServiceError(f"{service}: {reply.error}")
        return reply

    def _unknown(self, number: str, why: str) -> None:
        if self.until == NOW or number in self._verdicts:
            self._verdicts[number] = {**self._verdicts.get(number, {}), "verdict": "unknown", "complaint": why[:SHOWN]}


def _things(complaint: str | None) -> set[str]:
    """Return what a complaint is about: its parts, or the rows that it lists, without the numbers and times in them.

    Numbers change from round to round while what is wrong stays the same. Ids and addresses keep their digits.
    """
    head, *listed = (complaint or "").split("\n")
    parts = listed or head.split("; ")
    return {NUMBER.sub(lambda match: match["id"] or "#", part).strip() for part in parts if part.strip()}


def _when(replies: Sequence[Reply]) -> dict[str, Any]:
    """Return when the event behind a complaint happened: the newest ``at`` of the rows, or None if a row has none.

    ``lasts`` says that what is wrong still goes on, or that no row tells that it is over.
    """
    rows: list[Mapping[str, Any]] = [row for reply in replies for row in reply.rows]
    dated = [str(row["at"]) for row in rows if row.get("at")]
    lasts = len(dated) < len(rows) or not dated or any(row.get("lasts") for row in rows)
    return {"at": max(dated) if len(dated) == len(rows) and dated else None, "lasts": lasts}
