"""The step verbs: show looks, check looks and judges, act changes, confirm asks a person.

A step is one call in one cell. Each verb writes the ledger before and after it sends, enforces the order of the
notebook, and ends in one of four outcomes: passed, failed, waiting, unknown.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from runbook_lib import history, outline
from runbook_lib.cards import Card, Head, Summary
from runbook_lib.commands import Command, Http, Reply, frozen, thawed
from runbook_lib.errors import (
    ConfigError,
    ServiceError,
    StepFailed,
    StepPending,
    StepUnknown,
    nearest,
)
from runbook_lib.expect import Expectation, Finding, judge, reply
from runbook_lib.records import Event, Record
from runbook_lib.services import Services
from runbook_lib.spoiling import spoiled
from runbook_lib.symptoms import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd

    from runbook_lib.settings import Settings

__all__ = ["Act", "Phase"]

KEYS = uuid.UUID("6f1d3f0e-5b0c-4a55-9f2a-7f3c2d1e9b40")  # namespace of idempotency keys; any fixed value serves


@dataclass(frozen=True)
class Look:
    """One look: what came back, and the judgement."""

    replies: tuple[Reply, ...]
    finding: Finding


@dataclass(frozen=True)
class Sent:
    """A step that was begun: what the ledger and the card say of it whatever came back."""

    number: str
    verb: str
    title: str
    commands: tuple[str, ...] = ()  # as shown
    fix: str | None = None


@dataclass(frozen=True)
class Act:
    """A change, ready to be sent."""

    number: str
    title: str
    command: Command
    expect: Expectation
    proof: Command | None
    undo: Command | None
    repeatable: bool
    fix: str | None


class Phase:
    """One notebook in one record."""

    def __init__(self, name: str, settings: Settings, record: Record, *, mode: str, display: Callable[[Any], object]):
        self.name = name
        self.settings = settings
        self.record = record
        self.mode = mode
        self.services = Services(settings)
        self._display = display
        source = record.notebook if record.notebook.exists() else outline.notebook(name)
        self.steps = outline.steps(source)
        self._numbers = [step.number for step in self.steps]
        self._ledger = record.ledger

    def head(self) -> None:
        """Show where this run goes and writes."""
        opened = history.read(self.record).own[0]
        self._display(Head(self.name, self.settings.name, self.settings.project, opened["operator"], self.record.name))

    # --- the verbs ------------------------------------------------------------------------------------------------

    def show(self, command: Command) -> pd.DataFrame:
        """Send a command that only looks and return its rows, judged by nobody; the cell displays them."""
        import pandas as pd  # noqa: PLC0415 - a third of a second that a check need not pay

        command = self._filled(command, "")
        found = self.services.look(command)
        if found.error:
            raise ServiceError(self._clean(f"{found.error}"))
        rows = self.record.redact.value(list(found.rows)) if self.record.redact else list(found.rows)
        self._ledger.append("shown", commands=[self.services.shown(command)], rows=len(rows))
        return pd.DataFrame(rows)

    def check(
        self,
        number: str,
        title: str,
        *commands: Command,
        expect: Expectation | Sequence[Expectation],
        fix: str,
        within: float = 0,
    ) -> None:
        """Look until ``expect`` holds for all the replies, for at most ``within`` seconds.

        Raise `StepFailed` with the complaint, the fix and the matching symptom; `StepPending` while an earlier step
        has not passed; `StepRefused`, before anything is sent, if a command might change something.
        """
        self._require_earlier(number)
        filled = tuple(self._filled(command, number) for command in commands)
        sent = Sent(number, "check", title, tuple(self.services.shown(command) for command in filled), fix)
        self._announce(sent)
        seen = self._look(filled, expect, within)
        finding = seen.finding
        if finding.complaint is None and self.settings.kind == "rehearsal":
            finding = self._spoil(seen, expect)
        self._conclude(sent, "failed" if finding.complaint else "passed", finding, seen.replies)
        self._raise_failed(sent, finding)

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
        fix: str | None = None,
    ) -> None:
        """Change something, once.

        The command carries the step's ``{key}``, or ``proof`` (a read whose rows tell that it took effect), or is
        ``repeatable`` because sending it twice leaves the same state. An act that passed in a parent record is not
        sent again. Raise `StepPending` where nobody allowed it, `StepUnknown` when no answer came and no proof tells.
        """
        self._require_earlier(number)
        if self._recalled(number):
            return
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
        if self.mode == "attended":
            self._offer(act)
        elif self.settings.allows(number):
            self.perform(act)
        else:
            how = f"add {number!r} to allow in parameters/{self.settings.name}.yaml"
            self._wait(Sent(number, "act", title, (self.services.shown(act.command),), how))

    def confirm(self, number: str, statement: str, gesture: str | None = None, **facts: Any) -> None:
        """Record who vouched for ``statement``, and when; in rehearsal the person stand-in performs ``gesture``.

        Headless in production it ends the run waiting: no program vouches for a person.
        """
        self._require_earlier(number)
        if self._recalled(number):
            return
        vouched = history.read(self.record).vouched(number)
        if vouched:
            finding = Finding(f"vouched by {vouched['by']} at {vouched['at']}")
            self._conclude(Sent(number, "confirm", statement), "passed", finding)
        elif self.settings.kind == "rehearsal" and gesture and self.mode != "attended":
            self._gesture(number, statement, gesture, facts)
        elif self.mode == "attended":
            self._ask(number, statement)
        else:
            how = f"./runbook confirm {self.record.name} {number} --as NAME, then ./runbook resume {self.record.name}"
            self._wait(Sent(number, "confirm", statement, fix=how))

    def undo(self, number: str) -> None:
        """Carry out the reverse that an act registered; nothing to do if it is not owed."""
        owed = history.read(self.record).owed().get(number)
        if owed is not None:
            undo(self.services, self.record, owed)

    def close(self) -> None:
        """End the phase; raise `StepFailed` unless every step has passed and no undo is owed."""
        found = history.read(self.record)
        ends = found.outcomes()
        lines = [(s.number, ends[s.number]["outcome"] if s.number in ends else "missing", s.title) for s in self.steps]
        summary = Summary(self.name, lines)
        self._display(summary)
        bad = [f"{number} {outcome}" for number, outcome, _ in lines if outcome != "passed"]
        bad += [f"{number} owes an undo" for number in found.owed()]
        if bad:
            raise StepFailed(f"{self.name} cannot close: {', '.join(bad)}")
        self._ledger.append("closed", steps=len(lines))

    # --- what a notebook reads ------------------------------------------------------------------------------------

    def reply(self, number: str, index: int = 0) -> Reply:
        """The recorded reply of an earlier step's command; it survives a kernel restart."""
        if number not in self._numbers:
            raise ConfigError(f"no step {number!r} in {self.name}: {nearest(number, self._numbers)}")
        found = history.read(self.record).reply(number, index)
        if found is None:
            raise StepPending(f"step {number} has no reply yet: run it first")
        return found

    def key(self, number: str) -> str:
        """The idempotency key of a step: the same in every record that resumes this run."""
        return str(uuid.uuid5(KEYS, f"{history.read(self.record).root['id']}:{number}"))

    # --- inner workings -------------------------------------------------------------------------------------------

    def perform(self, act: Act) -> None:
        """Send an act; settle first what an earlier, interrupted sending left."""
        sent = Sent(act.number, "act", act.title, (self.services.shown(act.command),), act.fix)
        unsettled = history.read(self.record).unsettled(act.number)
        if act.proof is not None and self._proven(act.proof):
            self._conclude(sent, "passed", Finding("took effect earlier" if unsettled else "already so"))
            return
        if unsettled and act.proof is None and not act.repeatable:
            self._unknown(sent, "an earlier sending was never answered, and the act has no proof")
        if act.undo is not None:
            self._ledger.append("owed", step=act.number, command=frozen(act.undo), text=self.services.shown(act.undo))
        self._announce(sent)
        try:
            found = self.services.change(act.command)
        except ServiceError as error:
            self._unanswered(act, sent, error)
            return
        finding = act.expect.judge([found])
        self._conclude(sent, "failed" if finding.complaint else "passed", finding, (found,))
        self._raise_failed(sent, finding)

    def _unanswered(self, act: Act, sent: Sent, error: ServiceError) -> None:
        """No answer: passed if the proof says so, failed if it was never sent, else unknown."""
        if act.proof is not None and self._proven(act.proof):
            self._conclude(sent, "passed", Finding("no answer, but proven"))
        elif error.sent:
            self._unknown(sent, str(error))
        else:
            finding = Finding("", f"not sent: {error}")
            self._conclude(sent, "failed", finding)
            self._raise_failed(sent, finding)

    def _unknown(self, sent: Sent, why: str) -> NoReturn:
        finding = Finding("", f"{why}; nothing tells whether it took effect")
        self._conclude(sent, "unknown", finding)
        raise StepUnknown(self._clean(f"{sent.number} unknown: {finding.complaint}; look at the platform, then resume"))

    def _announce(self, sent: Sent) -> None:
        """Write the ledger before anything is sent; what cannot be written is not sent."""
        self._ledger.append("sending", step=sent.number, verb=sent.verb, title=sent.title, commands=list(sent.commands))

    def _raise_failed(self, sent: Sent, finding: Finding) -> None:
        if finding.complaint:
            fix = f"\nfix: {sent.fix}" if sent.fix else ""
            raise StepFailed(self._clean(f"{sent.number} failed: {finding.complaint}{fix}"))

    def _proven(self, proof: Command) -> bool:
        try:
            found = self.services.look(proof)
        except ServiceError:
            return False
        return found.error is None and bool(found.rows)

    def _look(self, commands: Sequence[Command], expect: Expectation | Sequence[Expectation], within: float) -> Look:
        looks = Retrying(
            stop=stop_after_delay(within),
            wait=wait_exponential(multiplier=0.05, max=0.5),
            retry=retry_if_result(lambda look: look.finding.complaint is not None),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        found: Look = looks(self._look_once, commands, expect)
        return found

    def _look_once(self, commands: Sequence[Command], expect: Expectation | Sequence[Expectation]) -> Look:
        try:
            replies = tuple(self.services.look(command) for command in commands)
        except ServiceError as error:
            return Look((), Finding("", str(error)))
        return Look(replies, judge(expect, replies))

    def _spoil(self, seen: Look, expect: Expectation | Sequence[Expectation]) -> Finding:
        """A check that accepts every spoiled copy of its replies proves nothing."""
        if any(judge(expect, bad).complaint for _, bad in spoiled(seen.replies)):
            return seen.finding
        return Finding(seen.finding.seen, "this check cannot fail: it accepts every spoiled copy of the replies")

    def _require_earlier(self, number: str) -> None:
        if number not in self._numbers:
            raise ConfigError(f"step {number!r} is not in the notebook this run was prepared from; start a new run")
        ends = history.read(self.record).outcomes()
        for earlier in self._numbers[: self._numbers.index(number)]:
            outcome = ends[earlier]["outcome"] if earlier in ends else "not run"
            if outcome != "passed":
                raise StepPending(f"{number} waits for {earlier}, which is {outcome}")

    def _recalled(self, number: str) -> bool:
        """Whether an act or confirm passed earlier in the chain: its outcome is taken over, nothing is sent."""
        found = history.read(self.record)
        done = found.settled(number)
        if done is None:
            return False
        if number not in found.outcomes():
            taken = {k: v for k, v in done.items() if k not in ("n", "at", "event", "hash")}
            self._ledger.append("outcome", **{**taken, "recalled": done["at"]})
        self._display(Card(number, done["title"], "passed", (), f"passed at {done['at']}; not sent again"))
        return True

    def _gesture(self, number: str, statement: str, gesture: str, facts: dict[str, Any]) -> None:
        command = Http("person", "POST", f"/gestures/{gesture}", json=facts)
        sent = Sent(number, "confirm", statement, (self.services.shown(command),))
        self._announce(sent)
        found = self.services.change(command)
        finding = reply().judge([found])
        if finding.complaint is None:
            self._ledger.append("vouched", step=number, statement=statement, by="person stand-in")
            finding = Finding(f"the person stand-in did it: {found.value('performed')}")
        self._conclude(sent, "failed" if finding.complaint else "passed", finding, (found,))
        self._raise_failed(sent, finding)

    def _wait(self, sent: Sent) -> NoReturn:
        self._conclude(sent, "waiting", Finding(""))
        raise StepPending(f"{sent.number} waits: {sent.title}\n{sent.fix}")

    def _offer(self, act: Act) -> None:
        from runbook_lib import panel  # noqa: PLC0415 - ipywidgets only where a person is

        panel.offer(act, self.services.shown(act.command), lambda: self.perform(act), self._display)

    def _ask(self, number: str, statement: str) -> None:
        from runbook_lib import panel  # noqa: PLC0415

        panel.ask(number, statement, lambda name: self._vouch(number, statement, name), self._display)

    def _vouch(self, number: str, statement: str, name: str) -> None:
        self._ledger.append("vouched", step=number, statement=statement, by=name)
        self._conclude(Sent(number, "confirm", statement), "passed", Finding(f"vouched by {name}"))

    def _conclude(self, sent: Sent, outcome: str, finding: Finding, replies: Sequence[Reply] = ()) -> None:
        """Write the outcome, then display the card: the ledger is the record, the card shows what it says."""
        symptom = diagnose(finding.complaint, sent.number) if finding.complaint else None
        event = self._ledger.append(
            "outcome",
            step=sent.number,
            verb=sent.verb,
            title=sent.title,
            outcome=outcome,
            seen=finding.seen,
            complaint=finding.complaint,
            symptom=symptom.name if symptom else None,
            fix=sent.fix if outcome != "passed" else None,
            replies=[r.facts() for r in replies],
        )
        self._display(
            Card(
                sent.number,
                sent.title,
                outcome,
                [self._clean(text) for text in sent.commands],
                event["seen"],
                event["complaint"],
                sent.fix,
                symptom,
                event["replies"],
            )
        )

    def _filled(self, command: Command, number: str) -> Command:
        def name(dotted: str) -> str:
            return self.key(number) if dotted == "key" else self.settings.lookup(dotted)

        return command.filled(name)

    def _clean(self, text: str) -> str:
        return self.record.redact.text(text) if self.record.redact else text


def undo(services: Services, record: Record, owed: Event) -> None:
    """Send the reverse of an act, as the ledger holds it; it stays owed unless it is answered without an error."""
    command = thawed(owed["command"])
    record.ledger.append("undoing", step=owed["step"], command=services.shown(command))
    found = services.change(command)
    if found.error:
        raise StepFailed(f"undo of {owed['step']} failed: {found.error}; it is still owed")
    record.ledger.append("undone", step=owed["step"], replies=[found.facts()])
