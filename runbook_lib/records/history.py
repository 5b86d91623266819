"""Read a run's history from its ledgers: the outcome of each step, the owed undos, and the run as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Reply
from runbook_lib.records.ledger import Event
from runbook_lib.records.record_folder import Record

if TYPE_CHECKING:
    from collections.abc import Iterable


CHANGING = ("act", "confirm")  # verbs


@dataclass(frozen=True)
class History:
    """The history of a record: its own events, and in ``before`` those of the records that it resumes."""

    own: list[Event]
    before: list[Event]

    @property
    def all(self) -> list[Event]:
        return [*self.before, *self.own]

    @property
    def root(self) -> Event:
        """Return the first event of the history: the ``opened`` event of the oldest of the resumed records."""
        return self.all[0]

    def outcomes(self) -> dict[str, Event]:
        """Return the newest outcome of each step in the record. An act without an outcome is ``unknown``.

        Such an act was sent, and nobody knows whether it took effect.
        """
        return _outcomes(self.own)

    def settled(self, number: str) -> Event | None:
        """Return the newest outcome of an act or a confirm in the history, if that outcome is "passed".

        If that outcome is not "passed", return None.
        """
        newest = _outcomes(self.all).get(number)
        return newest if newest and newest["outcome"] == "passed" else None

    def unsettled(self, number: str) -> bool:
        """Return whether an act was sent and the history does not show whether it took effect."""
        newest = _outcomes(self.all).get(number)
        return newest is not None and newest["outcome"] == "unknown"

    def overtaken(self, number: str) -> Event | None:
        """Return a passed check's outcome if the run may have changed the platform since. Otherwise return None.

        An act, a confirm, a vouching or an undo may have changed the platform.
        """
        made = [event for event in self.all if "recalled" not in event]
        places = [at for at, e in enumerate(made) if (e["event"], e.get("step")) == ("outcome", number)]
        if not places or made[places[-1]]["outcome"] != "passed":
            return None
        return made[places[-1]] if any(map(_changes, made[places[-1] :])) else None

    def aged(self, number: str, moment: str, limit: float) -> bool:
        """Return whether a check in the history is too old at ``moment``.

        A check is too old if it was last made more than ``limit`` seconds before. An outcome that was taken over makes
        no check younger. A check that did not pass when it was last made counts as aged, and so does one made after
        ``moment``, because a clock was set back.
        """
        made = [e for e in self.all if (e["event"], e.get("step")) == ("outcome", number) and "recalled" not in e]
        if not made or made[-1]["verb"] != "check":
            return False
        age = (datetime.fromisoformat(moment) - datetime.fromisoformat(made[-1]["at"])).total_seconds()
        return made[-1]["outcome"] != "passed" or not 0 <= age <= limit

    def vouched(self, number: str, statement: str) -> Event | None:
        """Return the newest event in which a person vouched for exactly this statement. Return None if nobody did."""
        said = ("vouched", number, statement)
        return next((e for e in reversed(self.all) if (e["event"], e.get("step"), e.get("statement")) == said), None)

    def reply(self, number: str, index: int = 0) -> Reply | None:
        """Return the reply to a step's command, as the history holds it. Return None if there is none.

        ``index`` chooses among the step's commands.
        """
        newest = self.settled(number) or self.outcomes().get(number)
        if newest is None or len(newest.get("replies", ())) <= index:
            return None
        return Reply.from_facts(newest["replies"][index])

    def owed(self) -> dict[str, Event]:
        """Return the undos that are still owed, as the history shows: step -> ``owed`` event with the command."""
        owed: dict[str, Event] = {}
        for event in self.all:
            if event["event"] == "owed":
                owed[event["step"]] = event
            elif event["event"] == "undone":
                owed.pop(event["step"], None)
        return owed

    def closed(self) -> bool:
        return any(event["event"] == "closed" for event in self.own)


def read(record: Record) -> History:
    """Return the history of a record, including the events of the records that it resumes."""
    return History(record.ledger.events(), [e for parent in record.parents for e in parent.ledger.events()])


def chain(record: Record) -> list[Record]:
    """Return the records that make up a record's history: the records that it resumes, and the record itself.

    The records that it resumes come first, oldest first, and the record itself comes last.
    """
    return [*record.parents, record]


def counts(history: History) -> dict[str, int]:
    """Count how many steps of a record's history passed, failed, are waiting and are unknown."""
    words = [event["outcome"] for event in history.outcomes().values()]
    return {word: words.count(word) for word in ("passed", "failed", "waiting", "unknown")}


def taken_over(history: History) -> int:
    """Count the outcomes in a record's history that were taken over from the records that it resumes."""
    return sum("recalled" in event for event in history.outcomes().values())


def _changes(event: Event) -> bool:
    """Return whether an event shows that the run changed the platform, or may have changed it."""
    if event["event"] == "sending":
        return bool(event["verb"] in CHANGING)
    return event["event"] in ("vouched", "undoing")


def _outcomes(events: Iterable[Event]) -> dict[str, Event]:
    newest: dict[str, Event] = {}
    for event in events:
        if event["event"] == "outcome":
            newest[event["step"]] = event
        elif event["event"] == "sending" and event["verb"] == "act":
            # Until an outcome follows: killed between the two, nobody knows.
            unsure: dict[str, Any] = {**event, "event": "outcome", "outcome": "unknown", "replies": []}
            unsure["complaint"] = f"sent at {event['at']}, and no answer was recorded"
            unsure["fix"] = "Send it again: what took effect is not done twice."
            newest[event["step"]] = unsure
    return newest
