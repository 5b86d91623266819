"""What a ledger says happened: outcomes by step, owed undos, the run as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Reply
from runbook_lib.records.ledger import Event, Record

if TYPE_CHECKING:
    from collections.abc import Iterable


CHANGING = ("act", "confirm")  # verbs


@dataclass(frozen=True)
class History:
    """Events of one record, and of the parents it resumes, oldest first."""

    own: list[Event]
    before: list[Event]

    @property
    def all(self) -> list[Event]:
        return [*self.before, *self.own]

    @property
    def root(self) -> Event:
        """The ``opened`` event of the first record of the chain."""
        return self.all[0]

    def outcomes(self) -> dict[str, Event]:
        """The newest outcome of each step in this record; an act sent without one is ``unknown``."""
        return _outcomes(self.own)

    def settled(self, number: str) -> Event | None:
        """The passing outcome of an act or a confirm anywhere in the chain, if that is its newest."""
        newest = _outcomes(self.all).get(number)
        return newest if newest and newest["outcome"] == "passed" else None

    def unsettled(self, number: str) -> bool:
        """Whether an act was sent somewhere in the chain and nothing tells whether it took effect."""
        newest = _outcomes(self.all).get(number)
        return newest is not None and newest["outcome"] == "unknown"

    def overtaken(self, number: str) -> Event | None:
        """The passing outcome of a check after which something was sent or vouched for: what it saw may be past."""
        made = [event for event in self.all if "recalled" not in event]
        places = [at for at, e in enumerate(made) if (e["event"], e.get("step")) == ("outcome", number)]
        if not places or made[places[-1]]["outcome"] != "passed":
            return None
        return made[places[-1]] if any(map(_changes, made[places[-1] :])) else None

    def vouched(self, number: str, statement: str) -> Event | None:
        """Who vouched for a step's statement, word for word, if anybody did."""
        said = ("vouched", number, statement)
        return next((e for e in reversed(self.all) if (e["event"], e.get("step"), e.get("statement")) == said), None)

    def reply(self, number: str, index: int = 0) -> Reply | None:
        """The recorded reply of a step's command."""
        newest = self.settled(number) or self.outcomes().get(number)
        if newest is None or len(newest.get("replies", ())) <= index:
            return None
        return Reply.from_facts(newest["replies"][index])

    def owed(self) -> dict[str, Event]:
        """Undos registered and not carried out yet: step -> ``owed`` event, which holds the command."""
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
    """The history of a record, with its parents'."""
    return History(record.ledger.events(), [e for parent in record.parents for e in parent.ledger.events()])


def chain(record: Record) -> list[Record]:
    """The records a record resumes, oldest first, itself last."""
    return [*record.parents, record]


def counts(history: History) -> dict[str, int]:
    """How many steps ended how."""
    words = [event["outcome"] for event in history.outcomes().values()]
    return {word: words.count(word) for word in ("passed", "failed", "waiting", "unknown")}


def taken_over(history: History) -> int:
    """How many steps of this record were not made here: their outcome stands as a parent made it."""
    return sum("recalled" in event for event in history.outcomes().values())


def _changes(event: Event) -> bool:
    """Whether an event says that the platform was, or may have been, changed."""
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
