"""Carry out the undos that a record still owes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.commands.command import Command, Http, Reply, thawed
from runbook_lib.errors import StepFailed, StepRefused
from runbook_lib.records import history, registered_undos, run_record
from runbook_lib.services.services import Services
from runbook_lib.steps.acts import GONE
from runbook_lib.steps.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings


def undo(services: Services, verdicts: Verdicts, owed: Event) -> None:
    """Carry out one owed undo. The undo's command is in the ledger's ``owed`` event.

    The undo stays owed unless it is answered without an error, or what it should delete no longer exists.
    """
    command, ledger = thawed(owed["command"]), verdicts.record.ledger
    ledger.append("undoing", step=owed["step"], command=services.shown(command))
    reply = services.change(command)
    if reply.error and not _gone(command, reply):
        raise StepFailed(verdicts.clean(f"undo of {owed['step']} failed: {reply.error}; it is still owed"))
    ledger.append("undone", step=owed["step"], replies=[reply.facts()])


def _gone(command: Command, reply: Reply) -> bool:
    """Return whether the reply to an undo's DELETE says that there is nothing left to delete."""
    return isinstance(command, Http) and command.method == "DELETE" and reply.status in GONE


def refuse_unregistered(settings: Settings, record: Record) -> None:
    """Raise `StepRefused` if a record owes an undo that its notebook does not register. Nothing is then sent."""
    makers = {step: _owing(record, step) for step in history.read(record).owed()}
    judged = [registered_undos.unregistered(maker, owed, settings.repository) for maker, owed in makers.values()]
    if complaints := [why for why in judged if why]:
        raise StepRefused(f"nothing was sent: {'; '.join(complaints)}")


def _owing(record: Record, step: str) -> tuple[Record, Event]:
    """Return the record that registered the undo of ``step``, and the ``owed`` event that holds the undo.

    That record is ``record`` or one of its parents.
    """
    owed = history.read(record).owed()[step]
    return next(maker for maker in (record, *reversed(record.parents)) if owed in maker.ledger.events()), owed


def carry_out_undos(settings: Settings, parent: Record, say: Callable[[str], None]) -> Record:
    """Carry out the undos that ``parent`` owes, newest first, in a new record. Seal the new record.

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
