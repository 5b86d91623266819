"""What a run knows of itself: when it began, what opened its gate, what the person told it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib import history

if TYPE_CHECKING:
    from runbook_lib.steps import Phase

__all__ = ["began", "rests_on", "told"]


def told(phase: Phase, number: str, column: str) -> Any:
    """What the person's gesture said in rehearsal; None where a person vouched and no program heard more."""
    found = history.read(phase.record).reply(number)
    return found.rows[0].get(column) if found and found.rows else None


def began(phase: Phase) -> str:
    """When this run began, however often it was resumed since: ISO 8601, UTC."""
    return str(history.read(phase.record).root["at"])


def rests_on(phase: Phase) -> dict[str, Any]:
    """The record this run's gate was opened by, its seal, and every override below it."""
    opened = phase.record.opened()
    found = opened.get("rests_on") or {"record": None, "seal": None}
    return {**found, "override": opened.get("override"), "amber": opened.get("amber", [])}
