"""Undo a halt's switches: restore both, redeploy, and record the undo in the halts' records.

Machines stay stopped and deployments stay paused: a person starts each of them again from its own page.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.switch_values import LIVE, running
from runbook_lib.errors import RecordError, ServiceError, StepRefused
from runbook_lib.halt.halt_record import PHASE, UNDO, Book, close, hold
from runbook_lib.halt.state import Halting, Request
from runbook_lib.halt.stop import Done, run_parts
from runbook_lib.halt.switches import fly_switch, throw
from runbook_lib.records import gates, history, record_folder, run_record
from runbook_lib.records.alarms import open_alarms
from runbook_lib.records.record_folder import Record
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings


TITLES = {"switches": "New deployments: switches restored, redeployed", "fly": "New machines may trade live"}


def unhalt(settings: Settings, *, root: Path | None = None, show: Callable[[Halting], None] = lambda _: None) -> Done:
    """Restore both switches that halts set, and keep a record of the undo.

    Raise `StepRefused`, before anything is sent, if no halt is to be undone, the newest halt has not passed, a halt
    runs, another record owes an undo, or an alarm of the watch is open.
    """
    root = root or record_folder.records_root()
    held = hold(root, settings.name, alone=True)
    if held is None:
        raise StepRefused("a halt runs: wait for its end; nothing was sent")
    try:
        owing = _owing(settings, root)
        return _restore(settings, root, owing, show)
    finally:
        os.close(held)


def _owing(settings: Settings, root: Path) -> list[Record]:
    """Return the halt records that owe the undo of their switches, oldest first.

    Raise `StepRefused` if there is none, the newest halt has not passed, another undo is owed, or an alarm is open.
    """
    owing, reasons = list[Record](), list[str]()
    for record, event in gates.owed(settings, root):
        if record.opened()["phase"] == PHASE and event["step"] == UNDO:
            owing.append(record)
        else:
            reasons.append(f"{event['step']} of {record.name} owes an undo: ./runbook undo {record.name}")
    if not owing:
        raise StepRefused(f"no halt of profile {settings.name} is to be undone; nothing was sent")
    newest = _halts(settings, root)[-1]
    seal = newest.sealed()
    if seal is None or seal["outcome"] != "passed":
        ended = seal["outcome"] if seal else "cut off"
        reasons.append(f"{newest.name} is {ended}: halt again until it passes; what is so already is not sent again")
    reasons += [f"{a.name} {a.title}: open since {a.raised}: {a.complaint}" for _, a in open_alarms(settings, root)]
    if reasons:
        raise StepRefused("".join(["not undone, nothing was sent:", *(f"\n  {reason}" for reason in reasons)]))
    return owing


def _halts(settings: Settings, root: Path) -> list[Record]:
    """Return the profile's halt records, oldest first. Leave out the records of unhalts."""
    halts = []
    for record in record_folder.every(root):
        with suppress(RecordError):
            opened = record.opened()
            if (opened["profile"], opened["phase"], opened["mode"]) == (settings.name, PHASE, "halt"):
                halts.append(record)
    return halts


def _restore(settings: Settings, root: Path, owing: list[Record], show: Callable[[Halting], None]) -> Done:
    """Restore the switches that halts set, and record this in a new record.

    If that passed, the undo is also recorded for every halt that owes it.
    """
    parents = [_sealed(record, settings) for record in owing]
    book = Book(settings, root, {"undoes": [record.name for record in parents]}, parent=parents[-1], mode="undo")
    if book.complaint:
        raise RecordError(f"nothing was sent: {book.complaint}")
    halting = Halting(settings, Request(mode="unhalt"), TITLES.items(), book, time.monotonic())
    run_parts(halting, {restore_web: ("switches",), restore_fly: ("fly",)}, show)
    outcome = halting.outcome
    if outcome == "passed":
        book.undone(UNDO)
    seal = book.finish(outcome)
    if outcome == "passed" and book.record is not None:
        _settle(settings, parents[:-1], book.record)
    return Done(outcome, tuple(halting.parts.values()), book.record, seal, book.complaint)


def restore_web(services: Services, halting: Halting) -> None:
    """Unhalt the web app: set its switches at Vercel to their values from phase 0, and redeploy the web app."""
    try:
        throw(services, halting, "switches", running(_live(services)))
    except ServiceError as error:
        halting.end("switches", "unknown" if error.sent else "failed", complaint=str(error))


def restore_fly(services: Services, halting: Halting) -> None:
    """Unhalt the runners: set their switch at Fly to the value from phase 0.

    Machines made from now on get the value.
    """
    fly_switch(services, halting, _live(services))


def _live(services: Services) -> str:
    """Return HYPERLIQUID_LIVE_ENABLED from the environment. Return "true" if the profile does not declare this
    variable.

    The value may be "false": not every platform had live trading switched on.
    """
    return services.settings.variable(LIVE) if LIVE in services.settings.variables else "true"


def _sealed(record: Record, settings: Settings) -> Record:
    """Return the sealed record that an unhalt of ``record`` continues.

    A halt that was cut off is sealed as it stands.
    """
    if record.sealed() is not None:
        return record
    if record.parents:  # another process may still write into this later record: rest on the halt itself
        return record.parents[-1]
    return_to = Record(record.folder, settings.redactor())
    close(return_to, "failed", ended="cut off")
    return return_to


def _settle(settings: Settings, parents: list[Record], by: Record) -> None:
    """Record for each halt in ``parents`` that its switches are restored. ``by`` is the unhalt's record."""
    for parent in parents:
        record = run_record.begin(settings, PHASE, root=parent.root, parent=parent, mode="undo")
        for step in history.read(record).owed():
            record.ledger.append("undone", step=step, why=f"restored by {by.name}")
        close(record, "passed")
