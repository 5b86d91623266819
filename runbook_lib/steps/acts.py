"""Send each change once; if no answer came, look at its proof; reverse the change with its undo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.commands.command import Command, Http, Reply, frozen, thawed
from runbook_lib.commands.expectations import Expectation, Finding
from runbook_lib.errors import ConfigError, ServiceError, StepFailed, StepRefused
from runbook_lib.records import history, run_record, undos
from runbook_lib.services.services import Services
from runbook_lib.steps.verdicts import Sent, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.records.ledger import Event, Record
    from runbook_lib.settings.profiles import Settings

GONE = (404, 410)  # answers to a DELETE, and to a proof, that say: not there


@dataclass(frozen=True)
class Act:
    """A change that is ready to be sent."""

    number: str
    title: str
    command: Command
    expect: Expectation
    proof: Command | None = None
    undo: Command | None = None
    repeatable: bool = False  # sending it twice leaves the same state
    fix: str | None = None

    def require_settleable(self) -> None:
        """Raise `ConfigError` if, after a lost answer, nothing would show whether to send the act again."""
        if self.proof is None and not self.repeatable:
            raise ConfigError(
                f"act {self.number} needs a {{key}} in its command, a proof, or repeatable=True: "
                "after a lost answer nothing would tell whether to send it again"
            )


def perform(act: Act, services: Services, verdicts: Verdicts) -> None:
    """Send an act, unless its proof shows that it has taken effect, or the ledger says that this run has passed it.

    If an earlier sending was interrupted and no proof tells whether it took effect, the act is not sent again. Raise
    `StepFailed` if the act was refused or never sent, `StepUnknown` if nothing tells whether it took effect.
    """
    past = history.read(verdicts.record)
    if past.settled(act.number):
        return  # a second button for the same act
    sent = Sent(act.number, "act", act.title, (services.shown(act.command),), act.fix)
    if not _settled(act, sent, services, verdicts, unsure=past.unsettled(act.number)):
        _send(act, sent, services, verdicts)


def undo(services: Services, verdicts: Verdicts, owed: Event) -> None:
    """Send the undo of an act, as the ledger's ``owed`` event holds it.

    The undo stays owed unless it is answered without an error, or what it should delete no longer exists.
    """
    command, ledger = thawed(owed["command"]), verdicts.record.ledger
    ledger.append("undoing", step=owed["step"], command=services.shown(command))
    reply = services.change(command)
    if reply.error and not _gone(command, reply):
        raise StepFailed(verdicts.clean(f"undo of {owed['step']} failed: {reply.error}; it is still owed"))
    ledger.append("undone", step=owed["step"], replies=[reply.facts()])


def _settled(act: Act, sent: Sent, services: Services, verdicts: Verdicts, *, unsure: bool) -> bool:
    """Return whether the act's proof shows that the act has taken effect already.

    ``unsure`` says that an earlier sending was never answered. An act without a proof counts as not sent yet, but ends
    as unknown if it is ``unsure`` and not repeatable.
    """
    if act.proof is None:
        if unsure and not act.repeatable:
            verdicts.unknown(sent, "an earlier sending was never answered, and the act has no proof")
        return False
    try:
        proof = _proof(act.proof, services)
    except ServiceError as error:
        if unsure:
            verdicts.unknown(sent, f"an earlier sending was never answered, and its proof cannot be read: {error}")
        verdicts.failed(sent, Finding("", f"not sent: whether it is so already cannot be read: {error}"))
    if proof is not None:
        verdicts.judged(sent, Finding("took effect earlier" if unsure else "already so"), (proof,))
    return proof is not None


def _send(act: Act, sent: Sent, services: Services, verdicts: Verdicts) -> None:
    ledger = verdicts.record.ledger
    services.refuse_control(act.command, changes=True)  # before the ledger says that it is being sent
    if act.undo is not None:
        ledger.append("owed", step=act.number, command=frozen(act.undo), text=services.shown(act.undo))
    writing = services.database.writing
    verdicts.announce(sent, writing.fence if writing else None)
    try:
        reply = services.change(act.command)
    except ServiceError as error:
        if error.sent:
            _unanswered(act, sent, services, verdicts, error)
            return
        if act.undo is not None:
            ledger.append("undone", step=act.number, why="the act was never sent")
        verdicts.failed(sent, Finding("", f"not sent: {error}"))
    verdicts.judged(sent, act.expect.judge([reply]), (reply,))


def _unanswered(act: Act, sent: Sent, services: Services, verdicts: Verdicts, error: ServiceError) -> None:
    """End an act whose answer was lost: as passed if its proof shows the effect, else as unknown.

    Without a proof the act does not count as failed, because the command may still take effect.
    """
    proof = None
    if act.proof is not None:
        try:
            proof = _proof(act.proof, services)
        except ServiceError as second:
            error = ServiceError(f"{error}; then the proof: {second}")
    if proof is None:
        verdicts.unknown(sent, str(error))
    verdicts.judged(sent, Finding("no answer, but proven"), (proof,))


def _proof(command: Command, services: Services) -> Reply | None:
    """Return the reply to the proof command if it has rows, which show that the act took effect; else None.

    Raise `ServiceError` if the answer does not tell either way.
    """
    reply = services.look(command)
    if reply.error is None:
        return reply if reply.rows else None
    if reply.status in GONE:
        return None
    raise ServiceError(reply.error)


def _gone(command: Command, reply: Reply) -> bool:
    """Return whether the reply to a DELETE says that the thing to delete does not exist any more."""
    return isinstance(command, Http) and command.method == "DELETE" and reply.status in GONE


def refuse_unregistered(settings: Settings, record: Record) -> None:
    """Raise `StepRefused` if a record owes an undo that its notebook does not register."""
    makers = {step: _owing(record, step) for step in history.read(record).owed()}
    judged = [undos.unregistered(maker, owed, settings.repository) for maker, owed in makers.values()]
    if complaints := [why for why in judged if why]:
        raise StepRefused(f"nothing was sent: {'; '.join(complaints)}")


def _owing(record: Record, step: str) -> tuple[Record, Event]:
    """Return the record that registered the undo of ``step``, and its ``owed`` event.

    That record is ``record`` or one of its parents.
    """
    owed = history.read(record).owed()[step]
    return next(maker for maker in (record, *reversed(record.parents)) if owed in maker.ledger.events()), owed


def carry_out_undos(settings: Settings, parent: Record, say: Callable[[str], None]) -> Record:
    """Carry out the undos that ``parent`` owes, newest first, in a new record, which is sealed.

    ``say`` gets the text of each command before it is sent. Raise, before anything is sent, `RecordError` if the
    parent's record does not verify, `StepRefused` if the notebook of that record does not register an undo that the
    record owes.
    """
    refuse_unregistered(settings, parent)
    record = run_record.begin(settings, parent.opened()["phase"], root=parent.root, parent=parent, mode="undo")
    services, verdicts = Services(settings), Verdicts(record, lambda _: None)
    try:
        for step, owed in reversed(history.read(record).owed().items()):
            say(f"{step}: {services.shown(thawed(owed['command']))}")
            undo(services, verdicts, owed)
    finally:
        services.close()
        run_record.finish(record)
    return record
