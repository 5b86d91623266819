"""What a run knows of itself: when it began, what opened its gate, what it saw first, what the person told it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib import gates, history
from runbook_lib.commands import Reply
from runbook_lib.errors import StepPending
from runbook_lib.expect import Expectation, Finding, over_each

if TYPE_CHECKING:
    from runbook_lib.steps import Phase

__all__ = ["began", "first_reply", "recorded", "rests_on", "told", "until"]


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


def recorded(phase: Phase, earlier: str, number: str, column: str) -> Any:
    """What a step of an earlier phase saw, in the newest record of it that passed on this platform.

    None where there is no such record, as in a rehearsal of one phase alone.
    """
    found = gates.evidence(phase.settings, phase.record.root, earlier)
    answer = history.read(found).reply(number) if found else None
    return answer.value(column) if answer else None


def first_reply(phase: Phase, number: str, index: int = 0) -> Reply:
    """The reply of a step when it first passed, however often the run was resumed and the step made again since."""
    for event in history.read(phase.record).all:
        if event["event"] == "outcome" and event["step"] == number and event["outcome"] == "passed":
            return Reply.from_facts(event["replies"][index])
    raise StepPending(f"step {number} has not passed yet: run it first")


def until(phase: Phase, number: str, expect: Expectation) -> Expectation:
    """What must be so before step ``number``; once that has taken effect, only that there still is an answer.

    A resumed run makes every check again. What the run itself has changed meanwhile cannot be expected any more.
    """
    if history.read(phase.record).settled(number) is None:
        return expect

    def test(found: Reply) -> Finding:
        good = bool(found.rows) if found.status is None else found.status == 200
        return Finding(f"was so before {number}", None if good else f"expected an answer, found {found.text or 'none'}")

    return over_each(f"an answer; {expect.phrase}: so before {number}", test)
