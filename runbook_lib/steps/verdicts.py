"""End a step: write its outcome to the ledger, then show the outcome from the ledger on the step's card."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

from runbook_lib.agentic_trading.symptoms import diagnose
from runbook_lib.commands.expectations import Finding
from runbook_lib.errors import StepFailed, StepPending, StepUnknown
from runbook_lib.records import past_presses
from runbook_lib.settings.choice import addressed
from runbook_lib.steps.display import run_progress
from runbook_lib.steps.display.cards import Card

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from runbook_lib.commands.command import Reply
    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record

ABOVE = "the card above says why and what to do"


@dataclass(frozen=True)
class Sent:
    """A step that has begun and has no verdict yet, with the facts that its card and the ledger show."""

    number: str
    verb: str
    title: str
    commands: tuple[str, ...] = ()  # as shown
    fix: str | None = None


Heard = Callable[[Finding], None]
Live = Callable[[Card, float], AbstractContextManager[Heard]]


def unseen(_: Card, __: float) -> AbstractContextManager[Heard]:
    """Show nothing of a check before its verdict, because a headless run has no viewer."""
    return nullcontext(lambda _: None)


class Verdicts:
    """The writer of a run's verdicts. It writes each step's outcome to the ledger and shows the step's card."""

    def __init__(self, record: Record, display: Callable[[Any], object], live: Live = unseen) -> None:
        self.record = record
        self.display = display
        self.live = live  # shows that a step is being looked at, until its card takes that place

    def announce(self, sent: Sent, fence: int | None = None) -> None:
        """Write to the ledger that a step's commands are about to be sent. If writing fails, the caller sends nothing.

        ``fence`` is the number under which the writing lock is held; each later holder of the lock has a larger number.
        """
        held = {} if fence is None else {"fence": fence}
        self.record.ledger.append(
            "sending", step=sent.number, verb=sent.verb, title=sent.title, commands=list(sent.commands), **held
        )

    @contextmanager
    def looking(self, sent: Sent, within: float) -> Iterator[Heard]:
        """Show a check's card while the block runs the check. Yield a function that shows an interim finding on the
        card.
        """
        clean = self.clean
        card = Card(sent.number, clean(sent.title), "asking", [clean(text) for text in sent.commands])
        with self.live(card, within) as heard:
            yield lambda found: heard(replace(found, complaint=found.complaint and clean(found.complaint)))

    def judged(self, sent: Sent, finding: Finding, replies: Sequence[Reply] = ()) -> None:
        """End the step with the verdict that follows from a finding.

        Without a complaint the step has passed; otherwise it has failed, or is unknown if the finding is unsure. Raise
        `StepFailed` with the complaint and the fix, or `StepUnknown` if the finding is unsure.
        """
        sent = self._addressed(sent)
        if finding.complaint is not None and finding.unsure:
            self._conclude(sent, "unknown", finding, replies)
            words = f"{sent.number} unknown: {finding.complaint}\nfix: {sent.fix}"
            raise StepUnknown(self.clean(words)).told(f"{sent.number} is unknown, {ABOVE}")
        if finding.complaint is not None:
            self.failed(sent, finding, replies)
        for claim in finding.unproven:
            self.record.ledger.append("unproven", step=sent.number, **asdict(claim))
        self._conclude(sent, "passed", finding, replies)

    def failed(self, sent: Sent, finding: Finding, replies: Sequence[Reply] = ()) -> NoReturn:
        """End the step with the verdict "failed", and raise `StepFailed`."""
        sent = self._addressed(sent)
        self._conclude(sent, "failed", finding, replies)
        words = f"{sent.number} failed: {finding.complaint}" + (f"\nfix: {sent.fix}" if sent.fix else "")
        raise StepFailed(self.clean(words)).told(f"{sent.number} failed, {ABOVE}")

    def waiting(self, sent: Sent) -> NoReturn:
        """End the step with the verdict "waiting for a person", and raise `StepPending`."""
        sent = self._addressed(sent)
        self._conclude(sent, "waiting", Finding(""))
        words = f"{sent.number} waits: {sent.title}\n{sent.fix}"
        raise StepPending(self.clean(words)).told(f"{sent.number} waits, {ABOVE}")

    def unknown(self, sent: Sent, why: str) -> NoReturn:
        """End the step with the verdict "unknown" and raise `StepUnknown`.

        No answer tells whether the step took effect.
        """
        finding = Finding("", f"{why}; nothing tells whether it took effect")
        self._conclude(sent, "unknown", finding)
        raise StepUnknown(self.clean(f"{sent.number} unknown: {finding.complaint}; look at the platform, then resume"))

    def recalled(self, number: str, done: Event, *, known: bool) -> None:
        """Take over a step's earlier outcome "passed" from this record or a parent record, and send nothing.

        ``known`` says that this record holds the outcome already.
        """
        if not known:
            taken = {k: v for k, v in done.items() if k not in ("n", "at", "event", "hash")}
            whence = {"recalled": done["at"], "recalled_from": self._maker(done)}
            why = run_progress.NOT_AGAIN[done["verb"]]
            self.record.ledger.append("outcome", **{**whence, "why": why, **taken})
        press = past_presses.press(self.record.ledger.events(), number)
        self.display(Card(number, done["title"], "passed", (), run_progress.taken_over(done), press=press))

    def _maker(self, done: Event) -> str:
        """Return the name of the record whose ledger holds the event: this record or one of its parents."""
        chain = (self.record, *reversed(self.record.parents))
        return next(record.name for record in chain if done in record.ledger.events())

    def clean(self, text: str) -> str:
        """Return a verdict's ``text`` with every secret redacted."""
        return self.record.redact.text(text) if self.record.redact else text

    def _addressed(self, sent: Sent) -> Sent:
        """Return a step with the record's profile named in every ``./runbook`` command of the step's fix."""
        return replace(sent, fix=addressed(sent.fix, self.record.profile)) if sent.fix else sent

    def _conclude(self, sent: Sent, outcome: str, finding: Finding, replies: Sequence[Reply] = ()) -> None:
        symptom = diagnose(finding.complaint, sent.number) if finding.complaint else None
        if symptom:
            symptom = replace(symptom, fix=addressed(symptom.fix, self.record.profile))
        event = self.record.ledger.append(
            "outcome",
            step=sent.number,
            verb=sent.verb,
            title=sent.title,
            outcome=outcome,
            seen=finding.seen,
            complaint=finding.complaint,
            symptom=symptom.name if symptom else None,
            fix=sent.fix if outcome != "passed" else None,
            replies=[reply.facts() for reply in replies],
        )
        commands = [self.clean(text) for text in sent.commands]
        details = (event["seen"], event["complaint"], event["fix"], symptom, event["replies"])
        events = self.record.ledger.events()
        title = run_progress.titled(events, sent.number, event["title"])
        self.display(Card(sent.number, title, outcome, commands, *details, past_presses.press(events, sent.number)))
