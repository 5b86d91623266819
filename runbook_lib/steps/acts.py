"""Send each act once. If its answer is lost, run the act's proof: a read that shows whether the act took effect."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runbook_lib.commands.command import Command, Reply, frozen
from runbook_lib.commands.expectations import Expectation, Finding
from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.records import history
from runbook_lib.services.services import Services
from runbook_lib.steps import slowness
from runbook_lib.steps.verdicts import Sent, Verdicts

GONE = (404, 410)  # answers to a DELETE, and to a proof, that say: not there


@dataclass(frozen=True)
class Act:
    """An act that is ready to be sent.

    It has a command and may have a proof, a read that shows its effect, and an undo.
    """

    number: str
    title: str
    command: Command
    expect: Expectation
    proof: Command | None = None
    undo: Command | None = None
    repeatable: bool = False  # sending it twice leaves the same state
    fix: str | None = None

    def require_settleable(self) -> None:
        """Raise `ConfigError` if the act has no proof and is not repeatable: nothing could decide what to do after a
        lost answer.
        """
        if self.proof is None and not self.repeatable:
            raise ConfigError(
                f"act {self.number} needs a {{key}} in its command, a proof, or repeatable=True: "
                "after a lost answer nothing would tell whether to send it again"
            )


def perform(act: Act, services: Services, verdicts: Verdicts) -> None:
    """Send an act. If its proof shows that the act took effect, or the ledger shows that the act passed, send nothing.

    If an earlier sending was interrupted and no proof tells whether it took effect, the act is not sent again. Raise
    `StepFailed` if the act was refused or never sent, `StepUnknown` if nothing tells whether it took effect.
    """
    past = history.read(verdicts.record)
    if past.settled(act.number):
        return  # a second button for the same act
    sent = Sent(act.number, "act", act.title, (services.shown(act.command),), act.fix)
    if not _settled(act, sent, services, verdicts, unsure=past.unsettled(act.number)):
        _send(act, sent, services, verdicts)


def _settled(act: Act, sent: Sent, services: Services, verdicts: Verdicts, *, unsure: bool) -> bool:
    """Return whether the act's proof shows that the act has already taken effect.

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
        verdicts.failed(sent, Finding("", _with_budgets(f"not sent: {error}", services, verdicts)))
    finding = act.expect.judge([reply])
    if finding.complaint is not None:
        finding = replace(finding, complaint=_with_budgets(finding.complaint, services, verdicts))
    verdicts.judged(sent, finding, (reply,))


def _unanswered(act: Act, sent: Sent, services: Services, verdicts: Verdicts, error: ServiceError) -> None:
    """End an act whose answer was lost: as passed if its proof shows the effect, otherwise as unknown.

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


def _with_budgets(complaint: str, services: Services, verdicts: Verdicts) -> str:
    """Return an act's complaint, with a line added for each time budget that the platform missed."""
    return "\n".join([complaint, *slowness.advice(services.settings, verdicts.record, complaint)])


def _proof(command: Command, services: Services) -> Reply | None:
    """Run an act's proof, a reading command. Return its reply if the reply has rows: rows show that the act took
    effect.

    Return None if there are no rows. Raise `ServiceError` if the answer does not tell either way.
    """
    reply = services.look(command)
    if reply.error is None:
        return reply if reply.rows else None
    if reply.status in GONE:
        return None
    raise ServiceError(reply.error)
