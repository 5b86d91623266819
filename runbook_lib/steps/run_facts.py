"""Look up facts of a run, such as when it began and what earlier phases saw.

Other facts are what opened its gate, and what the person replied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.records import gates, history
from runbook_lib.steps.display.cards import Sheet

if TYPE_CHECKING:
    from runbook_lib.steps.phase import Phase


def told(phase: Phase, number: str, column: str) -> Any:
    """Return a fact from the reply that the stand-in for a person gave at step ``number``.

    If a real person vouched, return None.
    """
    reply = history.read(phase.record).reply(number)
    return reply.rows[0].get(column) if reply and reply.rows else None


def began(phase: Phase) -> str:
    """Return when this run began (ISO 8601, UTC).

    If later records have resumed the run, this is the time of its first record.
    """
    return str(history.read(phase.record).root["at"])


def rests_on(phase: Phase) -> Sheet:
    """Return what opened this run's gate: the record and its seal, an override, and earlier overrides."""
    opened = phase.record.opened()
    opener = opened.get("rests_on") or {"record": None, "seal": None}
    return Sheet(opener, override=opened.get("override"), amber=opened.get("amber", []))


def recorded(phase: Phase, earlier: str, number: str, column: str) -> Any:
    """Return a value that an earlier phase recorded in the reply to step ``number``.

    The value comes from that phase's newest passed record on this platform. Return None if there is no such record, as
    in a rehearsal of one phase alone.
    """
    record = gates.evidence(phase.settings, phase.record.root, earlier)
    answer = history.read(record).reply(number) if record else None
    return answer.value(column) if answer else None
