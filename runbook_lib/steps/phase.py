"""Define the step verbs. A show reads, a check reads and judges, an act changes something, a confirm asks a person.

A step is one call in one cell. Each verb writes the ledger before and after it sends, enforces the order of the
notebook, and ends in one of four outcomes: passed, failed, waiting, unknown.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Command, Http, Reply
from runbook_lib.commands.expectations import Expectation, Finding, reply
from runbook_lib.errors import ConfigError, ServiceError, StepFailed, StepPending, nearest
from runbook_lib.records import history, plan
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from runbook_lib.steps import acts, checks, owed_undos, slowness
from runbook_lib.steps.acts import Act
from runbook_lib.steps.display import run_progress
from runbook_lib.steps.display.cards import Bar
from runbook_lib.steps.display.live_card import Stage
from runbook_lib.steps.looks import Looks
from runbook_lib.steps.verdicts import Sent, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from runbook_lib.records.record_folder import Record
    from runbook_lib.services.advisory_lock import Holder
    from runbook_lib.settings.profiles import Settings

ALWAYS_ALLOWED = ("respond_to_incident", "console")  # notebooks of safety actions
KEYS = uuid.UUID("6f1d3f0e-5b0c-4a55-9f2a-7f3c2d1e9b40")  # namespace of idempotency keys; any fixed value serves


class Phase:
    """An open phase: a notebook that is being run and writes one record."""

    until = "now"  # the moment that is looked at, as Postgres takes it; a watch also looks at past ones

    def __init__(
        self,
        name: str,
        settings: Settings,
        record: Record,
        *,
        mode: str,
        display: Callable[[Any], object],
        when_closed: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.record = record
        self.mode = mode
        self._when_closed = when_closed
        self.services = Services(settings)
        self.steps = plan.of(record)
        self._numbers = [step.number for step in self.steps]
        self._looks = Looks(record, self._numbers, settings.budgets.check_age)
        self._stage = Stage(display, self.bar)
        attended = mode == "attended"
        self._verdicts = Verdicts(record, self._stage, self._stage.live) if attended else Verdicts(record, display)
        label = f"{record.opened()['operator']} {record.name.partition('/')[2]}"
        self._writer = Writer(self.services, label, self._own_session_ended)

    def head(self) -> None:
        """Display the bar at the head of a phase's notebook. The bar shows the profile, the progress and the record."""
        self._verdicts.display(self.bar())

    def bar(self) -> Bar:
        """Return the bar of the phase's run. A headless run's bar shows no progress, because nobody watches it."""
        steps = self.steps if self.mode == "attended" else ()
        return run_progress.bar(self.record, steps, production=self.settings.kind == "production")

    # --- the verbs ------------------------------------------------------------------------------------------------

    def show(self, command: Command) -> pd.DataFrame:
        """Make a show step of a phase: send a command that only reads.

        Return the rows for display; they are not judged.
        """
        from runbook_lib.steps.display.dataframe import Frame  # noqa: PLC0415 - pandas: a third of a second that a check need not pay

        command = self._filled(command, "")
        answer = self.services.look(command)
        if answer.error:
            raise ServiceError(self._verdicts.clean(answer.error))
        rows = self.record.redact.value(list(answer.rows)) if self.record.redact else list(answer.rows)
        shown = self.services.shown(command)
        self.record.ledger.append("shown", commands=[shown], rows=len(rows))
        frame = Frame(rows)
        frame.attrs["command"] = self._verdicts.clean(shown)
        return frame

    def check(
        self,
        number: str,
        title: str,
        *commands: Command,
        expect: Expectation | Sequence[Expectation],
        fix: str,
        within: float = 0,
    ) -> None:
        """Make a check step of a phase: send the commands until ``expect`` holds for all replies, for at most
        ``within`` seconds.

        If a step after this check has changed the platform, a check that passed is not made again: its outcome and
        replies stand, but not for a step that names it in ``rests_on``. Raise `StepFailed` with the complaint, the fix
        and the matching symptom; `StepPending` while an earlier step has not passed; `StepRefused`, before anything is
        sent, if a command might change something.
        """
        self._require_earlier(number)
        look = partial(self._look, number, title, commands, expect=expect, fix=fix, within=within)
        self._looks.keep(number, look)
        if not self._overtaken(number):
            look(self._verdicts)

    def _look(
        self,
        number: str,
        title: str,
        commands: Sequence[Command],
        verdicts: Verdicts,
        *,
        expect: Expectation | Sequence[Expectation],
        fix: str,
        within: float,
    ) -> None:
        filled = tuple(self._filled(command, number) for command in commands)
        for command in filled:
            self.services.refuse_change(command)
        sent = Sent(number, "check", title, tuple(self.services.shown(command) for command in filled), fix)
        verdicts.announce(sent)
        with verdicts.looking(sent, within) as heard:
            seen = checks.look(self.services, filled, expect, within, heard)
        finding = seen.finding
        if finding.complaint is None and self.settings.kind == "rehearsal":
            finding = checks.provable(seen, expect)
        elif finding.complaint is not None:
            finding = checks.with_names(finding, self.services, filled)
            finding = self._with_budgets(finding, number, waited=within > 0 and not finding.final)
        verdicts.judged(sent, finding, seen.replies)

    def act(
        self,
        number: str,
        title: str,
        command: Command,
        *,
        expect: Expectation | None = None,
        proof: Command | None = None,
        undo: Command | None = None,
        repeatable: bool = False,
        rests_on: Sequence[str] = (),
        fix: str | None = None,
    ) -> None:
        """Make an act step of a phase: send a command that changes something on the platform, once per run.

        So that a lost answer does no harm, the command contains the step's ``{key}``, or ``proof`` is a read whose rows
        tell that the act took effect, or the act is ``repeatable``: sending it twice leaves the same state. An act that
        passed in a parent record is not sent again. The checks that an act names in ``rests_on``, because it can cost
        money, are made again before it is offered and before it is sent. Raise `StepPending` if the profile does not
        allow the act, `StepUnknown` if neither an answer nor a proof tells whether it took effect.
        """
        self._require_earlier(number)
        act = Act(
            number,
            title,
            self._filled(command, number),
            expect or reply(),
            self._filled(proof, number) if proof else None,
            self._filled(undo, number) if undo else None,
            repeatable or "{key}" in repr(command),
            fix,
        )
        act.require_settleable()
        if act.proof:
            self.services.refuse_change(act.proof)
        if self._recalled(number):
            return
        self._looks.again(number, rests_on, self._verdicts, always=True)
        if self.mode == "attended":
            self._offer(act, rests_on)
        elif self.settings.allows(number):
            self._perform(act)
        else:
            how = f"add {number!r} to allow in parameters/{self.settings.name}.yaml"
            self._verdicts.waiting(Sent(number, "act", title, (self.services.shown(act.command),), how))

    def confirm(
        self, number: str, statement: str, gesture: str | None = None, *, rests_on: Sequence[str] = (), **facts: Any
    ) -> None:
        """Make a confirm step of a phase: record who vouched for ``statement``.

        In rehearsal, have ``gesture`` performed. A gesture that can cost money names in ``rests_on`` the checks that
        are made again before anybody is asked, because what they saw may be out of date; and once more when somebody
        vouches, if they are older by then than the profile's ``budgets.check_age``, or if it is the press that has the
        gesture performed. A headless production run ends here as waiting: no program vouches for a person.
        """
        self._require_earlier(number)
        if self._recalled(number):
            return
        vouched = history.read(self.record).vouched(number, statement)
        if vouched:
            self._looks.again(number, rests_on, self._verdicts, moment=vouched["at"])
            finding = Finding(f"vouched by {vouched['by']} at {vouched['at']}")
            self._verdicts.judged(Sent(number, "confirm", statement), finding)
            return
        self._looks.again(number, rests_on, self._verdicts, always=True)
        if self.mode == "attended":
            self._ask(number, statement, gesture, rests_on, facts)
        elif self.settings.kind == "rehearsal" and gesture:
            self._gesture(self._verdicts, number, statement, gesture, facts)
        else:
            how = f"./runbook confirm {self.record.name} {number} --as NAME, then ./runbook resume {self.record.name}"
            late = self._looks.until(rests_on, f"./runbook resume {self.record.name} first")
            self._verdicts.waiting(Sent(number, "confirm", statement, fix="\n".join(filter(None, (how, late)))))

    def undo(self, number: str) -> None:
        """Carry out the undo that the act ``number`` of this phase registered.

        If the undo is not owed, do nothing.
        """
        owed = history.read(self.record).owed().get(number)
        if owed is not None:
            owed_undos.undo(self.services, self._verdicts, owed)

    def close(self) -> None:
        """Close the phase. Raise `StepFailed` unless every step has passed and no undo is owed."""
        past = history.read(self.record)
        summary = run_progress.summary(self.name, past, self.steps)
        self._verdicts.display(summary)
        bad = [f"{number} {outcome}" for number, outcome, _ in summary.lines if outcome != "passed"]
        bad += [f"{number} owes an undo" for number in past.owed()]
        if bad:
            raise StepFailed(f"{self.name} cannot close: {', '.join(bad)}")
        self.record.ledger.append("closed", steps=len(self.steps))
        self._writer.release()
        if self._when_closed:
            self._when_closed()

    # --- what a notebook reads ------------------------------------------------------------------------------------

    def reply(self, number: str, index: int = 0) -> Reply:
        """Return a phase's recorded reply to an earlier step's command. ``index`` selects the command within the step.

        The reply is read from the ledger, so that it survives a kernel restart.
        """
        if number not in self._numbers:
            raise ConfigError(f"no step {number!r} in {self.name}: {nearest(number, self._numbers)}")
        answer = history.read(self.record).reply(number, index)
        if answer is None:
            raise StepPending(f"step {number} has no reply yet: run it first")
        return answer

    def value(self, number: str, column: str | None = None, index: int = 0) -> Any:
        """Return one column of the first row of a reply recorded in this phase.

        ``index`` chooses among the step's commands.
        """
        return self.reply(number, index).value(column)

    def key(self, number: str) -> str:
        """Return the idempotency key of a phase's step. The key is the same in every record that resumes this run."""
        return str(uuid.uuid5(KEYS, f"{history.read(self.record).root['id']}:{number}"))

    # --- inner workings -------------------------------------------------------------------------------------------

    def _require_ready(self, number: str, rests_on: Sequence[str], verdicts: Verdicts, *, always: bool) -> None:
        """Raise unless every earlier step has passed at the moment when the button of step ``number`` is pressed.

        Hours may have gone by since it was offered, and an earlier cell may have been run again. Nothing holds up a
        safety action.
        """
        if self.name not in ALWAYS_ALLOWED:
            self._looks.again(number, rests_on, verdicts, always=always)
            self._require_earlier(number)

    def _require_earlier(self, number: str) -> None:
        if number not in self._numbers:
            raise ConfigError(f"step {number!r} is not in the notebook this run was prepared from; start a new run")
        ends = history.read(self.record).outcomes()
        for earlier in self._numbers[: self._numbers.index(number)]:
            outcome = ends[earlier]["outcome"] if earlier in ends else "not run"
            if outcome != "passed":
                raise StepPending(f"{number} waits for {earlier}, which is {self._offered(earlier) or outcome}")

    def _with_budgets(self, finding: Finding, number: str, *, waited: bool) -> Finding:
        """Add to a complaint a line for each time budget of the profile that the platform missed."""
        cell = slowness.cell(self.record.notebook, number)
        lines = slowness.advice(self.settings, self.record, finding.complaint or "", cell, waited=waited)
        return replace(finding, complaint="\n".join([finding.complaint or "", *lines]))

    def _offered(self, number: str) -> str | None:
        """Return what a person must do with the button of a step. Return None if the step has not shown a button."""
        offered = any((e["event"], e.get("step")) == ("offered", number) for e in self.record.ledger.events())
        return "not pressed: press its button above, then run on from here" if offered else None

    def _recalled(self, number: str) -> bool:
        """Return whether an act or confirm passed before, in this record or a parent.

        If the step passed before, take its outcome over. The caller then does not make the step again.
        """
        past = history.read(self.record)
        done = past.settled(number)
        if done is not None:
            self._verdicts.recalled(number, done, known=number in past.outcomes())
        return done is not None

    def _passed(self, number: str) -> bool:
        return history.read(self.record).settled(number) is not None

    def _overtaken(self, number: str) -> bool:
        """Return whether the run changed the platform after this check passed.

        If the platform was changed, take the check's outcome over. The caller then does not make the check again,
        because the change itself may have made the check fail.
        """
        past = history.read(self.record)
        done = None if self.record.opened().get("recheck") else past.overtaken(number)
        if done is not None:
            self._verdicts.recalled(number, done, known=number in past.outcomes())
        return done is not None

    def _gesture(self, verdicts: Verdicts, number: str, statement: str, gesture: str, facts: dict[str, Any]) -> None:
        command = Http("person", "POST", f"/gestures/{gesture}", json=facts)
        sent = Sent(number, "confirm", statement, (self.services.shown(command),))
        verdicts.announce(sent)
        try:
            answer = self.services.change(command)
        except ServiceError as error:
            answer = Reply(error=str(error))
        finding = reply().judge([answer])
        if finding.complaint is None:
            self.record.ledger.append("vouched", step=number, statement=statement, by="person stand-in")
            finding = Finding(f"the person stand-in did it: {answer.value('performed')}")
        verdicts.judged(sent, finding, (answer,))

    def _perform(self, act: Act, verdicts: Verdicts | None = None) -> None:
        """Send an act while holding the writing lock. In the notebooks for safety actions, send the act without the
        lock.
        """
        if self.name not in ALWAYS_ALLOWED:
            self._writer.take()
        acts.perform(act, self.services, verdicts or self._verdicts)

    def _own_session_ended(self, dead: Holder) -> None:
        """Write to the ledger that this process ended its old database session, which still held the writing lock."""
        self.record.ledger.append("unlocked", by=self.record.opened()["operator"], held=str(dead))

    def _offer(self, act: Act, rests_on: Sequence[str]) -> None:
        from runbook_lib.steps import buttons  # noqa: PLC0415 - widgets only where a person is

        def perform(verdicts: Verdicts) -> None:
            if not self._passed(act.number):  # by another button of the same act
                self._require_ready(act.number, rests_on, verdicts, always=True)
                self._perform(act, verdicts)

        buttons.offer(act, self.services, buttons.Asking(self.record, self.settings, self._stage), perform)

    def _ask(
        self, number: str, statement: str, gesture: str | None, rests_on: Sequence[str], facts: dict[str, Any]
    ) -> None:
        from runbook_lib.steps import buttons  # noqa: PLC0415

        performed = gesture if self.settings.kind == "rehearsal" else None

        def vouch(verdicts: Verdicts, name: str) -> None:
            if self._passed(number):  # by another button of the same step: nobody deploys twice
                return
            # Elsewhere the gesture was made before the press: what it changed may show in what it rested on.
            self._require_ready(number, rests_on, verdicts, always=performed is not None)
            if self.settings.kind == "rehearsal" and gesture:
                self._gesture(verdicts, number, statement, gesture, facts)
            else:
                # Who vouches is who signs: initials that somebody typed are nobody's key.
                name = self.record.opened()["operator"] if self.settings.kind == "production" else name
                self.record.ledger.append("vouched", step=number, statement=statement, by=name)
                verdicts.judged(Sent(number, "confirm", statement), Finding(f"vouched by {name}"))

        asking = buttons.Asking(self.record, self.settings, self._stage)
        late = "" if performed else self._looks.until(rests_on, "run this cell again first")
        buttons.ask(number, statement, performed, asking, vouch, late=late)

    def _filled(self, command: Command, number: str) -> Command:
        def name(dotted: str) -> str:
            return self.key(number) if dotted == "key" else self.settings.lookup(dotted)

        return command.filled(name)
