"""Build the displays of a run's progress from the ledger alone: the bar at the top, each step's card, the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runbook_lib.agentic_trading import symptoms
from runbook_lib.records import history, past_presses
from runbook_lib.steps.display.cards import Bar, Card, Summary
from runbook_lib.steps.display.rendering import part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.records.history import History
    from runbook_lib.records.ledger import Event
    from runbook_lib.records.plan import Step
    from runbook_lib.records.record_folder import Record

# Why what passed before stands, by verb.
NOT_AGAIN = {
    "check": "not made again: what came after it may have changed what it looked at",
    "act": "not sent again",
    "confirm": "not asked again",
}


def bar(record: Record, steps: Sequence[Step], *, production: bool) -> Bar:
    """Return the bar of a run's progress.

    ``steps`` are the notebook's steps; without steps the bar shows no progress.
    """
    opened, past = record.opened(), history.read(record)
    ends = past.outcomes()
    after = following(past, steps)
    return Bar(
        opened["phase"],
        opened["profile"],
        production,
        opened["project"],
        opened["operator"],
        record.name,
        _gate(opened),
        sum(event["outcome"] == "passed" for event in ends.values()),
        len(steps),
        f"{after.number} {after.title}" if after else "",
        tuple(past.owed()),
    )


def following(past: History, steps: Sequence[Step]) -> Step | None:
    """Return the step that comes next in a run's progress: the first that has not passed.

    Return None if all have passed.
    """
    ends = past.outcomes()
    return next((s for s in steps if s.number not in ends or ends[s.number]["outcome"] != "passed"), None)


def _gate(opened: Event) -> str:
    if opened.get("override"):
        return f"broken open: {opened['override']}"
    rests_on = opened.get("rests_on") or opened.get("parent")
    words = f"open, rests on {rests_on['record']}" if rests_on else "open"
    return f"amber, {words}: {'; '.join(opened['amber'])}" if opened.get("amber") else words


def card(past: History, number: str, *, busy: bool = False) -> Card | None:
    """Return a step's card for the display of a run's progress, built from the step's newest events.

    If the step never began, return None. ``busy`` says that the step's button was pressed and its answer is awaited.
    """
    event, pressed = past.outcomes().get(number), past_presses.press(past.own, number, busy=busy)
    begun = [e for e in past.own if e.get("step") == number and e["event"] in ("offered", "sending")]
    if event is None and not begun:
        return None
    commands = tuple(begun[-1]["commands"]) if begun else ()
    if event is None or busy:
        outcome = "asking" if busy else "waiting"
        return Card(
            number, begun[-1]["title"], outcome, commands, "" if busy else begun[-1].get("seen", ""), press=pressed
        )
    if event.get("recalled"):
        return Card(number, event["title"], "passed", (), taken_over(event), press=pressed)
    symptom = next((known for known in symptoms.known() if known.name == event.get("symptom")), None)
    details = (event.get("seen") or "", event.get("complaint"), event.get("fix"), symptom, event.get("replies", ()))
    return Card(number, titled(past.own, number, event["title"]), event["outcome"], commands, *details, press=pressed)


def titled(events: Sequence[Event], number: str, title: str) -> str:
    """Return a step's title for the run's progress. If the step's cell was edited after planning, the title says so."""
    edited = any(event["event"] == "edited" and number in event["steps"] for event in events)
    return f"{title} (its cell was edited)" if edited else title


def taken_over(done: Event) -> str:
    """Return when and in which record a step passed earlier, and why the run does not do the step again."""
    whence = f" in {done['recalled_from']}" if "recalled_from" in done else ""
    return f"passed at {done.get('recalled', done['at'])}{whence}; {done.get('why') or NOT_AGAIN[done['verb']]}"


def summary(phase: str, past: History, steps: Sequence[Step]) -> Summary:
    """Return the summary of a run's progress: one line per step of its notebook."""
    ends = past.outcomes()
    lines = [(s.number, ends[s.number]["outcome"] if s.number in ends else "missing", s.title) for s in steps]
    return Summary(phase, lines, history.taken_over(past))


def progress(share: float) -> str:
    """Return the HTML of a progress bar filled to ``share``, from 0 to 1. If the share is 0, return an empty text."""
    return part("progress", f"{100 * min(share, 1):.0f}") if share else ""
