"""What a run knows of itself: when it began, what opened its gate, what earlier phases saw, what the person told it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.records import gates, history
from runbook_lib.steps.display.cards import Sheet

if TYPE_CHECKING:
    from runbook_lib.steps.phase import Phase


def told(phase: Phase, number: str, column: str) -> Any:
    """What the person's gesture said in rehearsal; None where a person vouched and no program heard more."""
    reply = history.read(phase.record).reply(number)
    return reply.rows[0].get(column) if reply and reply.rows else None


def began(phase: Phase) -> str:
    """When this run began, however often it was resumed since: ISO 8601, UTC."""
    return str(history.read(phase.record).root["at"])


def rests_on(phase: Phase) -> Sheet:
    """The record this run's gate was opened by, its seal, and every override below it."""
    opened = phase.record.opened()
    opener = opened.get("rests_on") or {"record": None, "seal": None}
    return Sheet(opener, override=opened.get("override"), amber=opened.get("amber", []))


def recorded(phase: Phase, earlier: str, number: str, column: str) -> Any:
    """What a step of an earlier phase saw, in the newest record of it that passed on this platform.

    None where there is no such record, as in a rehearsal of one phase alone.
    """
    record = gates.evidence(phase.settings, phase.record.root, earlier)
    answer = history.read(record).reply(number) if record else None
    return answer.value(column) if answer else None
