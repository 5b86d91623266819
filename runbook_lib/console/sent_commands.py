"""Send a command when its button is pressed: write a record, send the command, and await its effect.

Each press is a run of its own: a record with one step, sealed when it ends. Safety actions are always allowed, also if
the record cannot be written, which is then shown; any other command needs the record and the writing lock.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.runner_commands import (
    FLATTEN,
    KILL,
    RESUME,
    REVOKE,
    SAFETY,
    SNAPSHOT,
    STOP,
    Target,
    acknowledged,
    command_for,
    effect,
    sent_state,
    took_effect,
)
from runbook_lib.commands.expectations import Finding
from runbook_lib.errors import RecordError, RunbookError, ServiceError
from runbook_lib.records import run_record, signing
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from runbook_lib.steps.verdicts import Sent, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from runbook_lib.commands.command import Reply, Sql
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

ISSUER = "launch-runbook console"
FIRST, MOST = 0.02, 0.5  # seconds between two looks for the effect, at first and at most


@dataclass(frozen=True)
class SentCommand:
    """A command that a press of one of the console's buttons sent, and its progress.

    ``sent``, ``acknowledged`` and ``effect`` are seconds after the press, None until they happen; ``outcome`` is None
    while the command is under way. ``unrecorded`` says why its record is missing or incomplete.
    """

    kind: str
    targets: tuple[Target, ...]
    outcome: str | None = None
    sent: float | None = None
    acknowledged: float | None = None
    effect: float | None = None
    words: str = ""
    unrecorded: str = ""
    record: str = ""


def press(
    settings: Settings,
    kind: str,
    targets: Sequence[Target],
    *,
    root: Path,
    pressed: float | None = None,
    show: Callable[[SentCommand], None] = lambda _: None,
) -> SentCommand:
    """Send the command of a pressed button to every target. Read the database until the command has taken effect.

    ``show`` gets every change, in the calling thread. ``pressed`` is the moment of the press on the monotonic clock. No
    error is raised: the outcome is ``failed`` (also if the command was refused, or never sent) or ``unknown`` (if it
    was sent and no effect was seen in time), and the words tell why.
    """
    under_way = _Press(settings, SentCommand(kind, tuple(targets)), pressed or time.monotonic(), show)
    try:
        under_way.run(root)
    except (RunbookError, OSError) as error:
        under_way.tell(outcome="failed", words=str(error))
    finally:
        under_way.services.close()
    return under_way.now


class _Press:
    """A press of a button while its command is carried out."""

    def __init__(
        self, settings: Settings, now: SentCommand, pressed: float, show: Callable[[SentCommand], None]
    ) -> None:
        self.settings, self.now, self.pressed, self.show = settings, now, pressed, show
        self.services = Services(settings)
        self.key = str(uuid.uuid4())
        self.safe = now.kind in SAFETY
        self.record: Record | None = None

    def tell(self, **known: Any) -> None:
        self.now = replace(self.now, **known)
        self.show(self.now)

    def clock(self) -> float:
        return time.monotonic() - self.pressed

    def run(self, root: Path) -> None:
        command = command_for(self.now.kind, self.now.targets, key=self.key, issuer=ISSUER)
        writer = None if self.safe else Writer(self.services, f"{signing.operator()} console")
        if writer:
            writer.take()
        try:
            sent = self._announced(command, root)
            finding, replies = self._sent(command)
            self._judged(sent, finding, replies)
        finally:
            if writer:
                writer.release()

    def _announced(self, command: Sql, root: Path) -> Sent:
        """Begin the press's record, and write into it what is about to be sent.

        If that fails, a safety action goes on and says that it has no record; any other command is not sent.
        """
        ids = " ".join(target.id for target in self.now.targets)
        sent = Sent(
            self.now.kind, "act", f"{self.now.kind} {ids}", (self.services.shown(command),), _fix(self.now.kind)
        )
        try:
            ran_with = {"kind": self.now.kind, "deployments": ids.split(), "key": self.key}
            self.record = run_record.begin(self.settings, "console", root=root, parameters=ran_with, mode="press")
            Verdicts(self.record, lambda _: None).announce(sent)
            self.now = replace(self.now, record=self.record.name)
        except (RecordError, OSError) as error:
            if not self.safe:
                raise
            self.tell(unrecorded=f"not on the record: {error}")
        return sent

    def _sent(self, command: Sql) -> tuple[Finding, tuple[Reply, ...]]:
        try:
            reply = self.services.change(command)
        except ServiceError as error:
            return Finding("", str(error), unsure=error.sent), ()
        if reply.error:
            return Finding("", f"refused: {reply.error}"), (reply,)
        self.tell(sent=self.clock())
        return self._followed(self.clock() + _patience(self.settings, self.now.kind))

    def _followed(self, until: float) -> tuple[Finding, tuple[Reply, ...]]:
        """Poll until every target shows the command's effect, but not after ``until``. Return what was seen or is
        wrong, and the last reply.
        """
        delay, trouble = FIRST, ""
        state = sent_state([self.now.kind], [target.id for target in self.now.targets], keys=[self.key])
        replies: tuple[Reply, ...] = ()
        while True:
            try:
                reply = self.services.look(state)
                trouble, replies = reply.error or "", (reply,)
                left = self._progress(reply.rows)
                if not left and not trouble:
                    return Finding(_seen(self.now.kind, reply.rows)), replies
            except ServiceError as error:
                trouble, left = str(error), ["everything"]
            if self.clock() >= until:
                said = (
                    trouble or f"sent, and within {_patience(self.settings, self.now.kind):g} s no effect at {left[0]}"
                )
                return Finding(
                    "", f"{said}{f' and {len(left) - 1} more' if len(left) > 1 else ''}", unsure=True
                ), replies
            time.sleep(delay)
            delay = min(delay * 1.3, MOST)

    def _progress(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Show after how many seconds all targets acknowledged the command, and after how many all showed its effect.

        Return the deployments that do not show the effect yet, each with its status.
        """
        kind, targets = self.now.kind, {target.id for target in self.now.targets}
        unheard = [row for row in rows if not acknowledged(row)]
        behind = [row for row in rows if not took_effect(kind, row)]
        missing = sorted(targets - {row["deployment"] for row in rows})
        reached: dict[str, Any] = {}
        if not missing and not unheard and self.now.acknowledged is None and kind != KILL:
            reached["acknowledged"] = self.clock()
        if not missing and not behind and self.now.effect is None:
            reached["effect"] = self.clock()
        if reached:
            self.tell(**reached)
        return [*(_behind(row) for row in behind), *(f"{deployment[:8]} (is not there)" for deployment in missing)]

    def _judged(self, sent: Sent, finding: Finding, replies: tuple[Reply, ...]) -> None:
        """Write how the press ended, show it, and seal the record last, so that nobody waits for the seal."""
        outcome, words = "passed", finding.seen
        if finding.complaint is not None:
            outcome, words = "unknown" if finding.unsure else "failed", f"{finding.complaint}. {sent.fix}"
        try:
            if self.record is not None:
                Verdicts(self.record, lambda _: None).judged(sent, finding, replies)
                self.record.ledger.append("closed", steps=1)
        except (RecordError, OSError) as error:
            self.tell(unrecorded=f"not on the record: {error}")
        except RunbookError:
            pass  # the verdict itself: it is told below
        self.tell(outcome=outcome, words=words)
        try:
            if self.record is not None:
                run_record.finish(self.record)
        except (RecordError, OSError) as error:
            self.tell(unrecorded=f"its record is not sealed: {error}")


def _patience(settings: Settings, kind: str) -> float:
    """Return the seconds that a command has to take effect, by the profile's budgets."""
    budgets = settings.budgets
    times = {
        FLATTEN: budgets.halt.flat,
        STOP: budgets.machine_gone,
        REVOKE: budgets.revoked,
        KILL: budgets.provisioning,
    }
    return times.get(kind, budgets.answer)


def _fix(kind: str) -> str:
    if kind in (RESUME, SNAPSHOT):
        return "Look at the deployment's log, then press again."
    return "If it matters now: Halt, which goes on where a runner does not listen."


def _behind(row: Mapping[str, Any]) -> str:
    if row["id"] is None:
        return f"{row['deployment'][:8]} (its command is not there)"
    return f"{row['deployment'][:8]} ({row['status']}{'' if acknowledged(row) else ', not acknowledged'})"


def _seen(kind: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Describe the command's effect on the targets, and how soon the targets acknowledged the command."""
    words = list(dict.fromkeys(effect(kind, row) for row in rows))
    if len(rows) > 1:
        statuses = [row["status"] for row in rows]
        words = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses)]
    acknowledgements = [row["seconds"] for row in rows if row["seconds"] is not None]
    slowest = "the slowest " if len(acknowledgements) > 1 else ""
    quick = f"; {slowest}acknowledged after {1000 * max(acknowledgements):.0f} ms" if acknowledgements else ""
    return f"{', '.join(words)}{quick}"
