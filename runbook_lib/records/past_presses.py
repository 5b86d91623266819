"""Read from the ledger what became of each press of a button: whether its command was sent, and what followed.

A page shows this as four status lamps: sent, acknowledged, effect, venue.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.records.ledger import Event

NAMES = ("sent", "acknowledged", "effect", "venue")


@dataclass(frozen=True)
class Lamp:
    """The status lamp for one stage of a button's press, such as "acknowledged".

    ``lit`` is True if the stage was seen, None while it is awaited, False if it was not seen in time.
    """

    name: str
    lit: bool | None = None
    at: str = ""  # ISO 8601, UTC
    milliseconds: float | None = None  # since it was sent
    note: str = ""

    @property
    def words(self) -> str:
        """Describe a stage of a press: its name, its time, the milliseconds since the command was sent, and what was
        seen.
        """
        if not self.lit:
            return f"{self.name}: {self.note}"
        later = f"+{self.milliseconds:.0f} ms" if self.milliseconds is not None else ""
        return " ".join(filter(None, (self.name, clock(self.at), later, self.note)))


@dataclass(frozen=True)
class Press:
    """A press of a button: the button's label, who pressed it, when, and the status lamps."""

    label: str
    by: str
    at: str
    lamps: Sequence[Lamp]

    @property
    def words(self) -> str:
        """Describe the press, as in ``pressed by ana at 14:53:07.120Z, acknowledged in 240 ms``."""
        answered = next((lamp for lamp in self.lamps if lamp.name == "acknowledged" and lamp.lit), None)
        quick = f", acknowledged in {answered.milliseconds:.0f} ms" if answered and answered.milliseconds else ""
        return f"pressed by {self.by} at {clock(self.at)}{quick}"


def press(events: Sequence[Event], number: str, *, busy: bool = False) -> Press | None:
    """Return the newest press of the button of step ``number``, from a ledger's events. Return None if there is none.

    ``busy``: the press is still being carried out, so that stages which were not seen yet are awaited.
    """
    pressed: Event | None = None
    lamps: dict[str, Lamp] = {}
    for event in events:
        if event.get("step") != number:
            continue
        if event["event"] == "pressed":
            pressed, lamps = event, {}
        elif event["event"] == "sending":
            lamps["sent"] = Lamp("sent", True, event["at"])
        elif event["event"] == "press failed":
            why = "nothing was sent" if "sent" not in lamps else "not seen"
            lamps = {name: Lamp(name, False, note=why) for name in NAMES} | lamps
        elif event["event"] == "lamp":
            lamps[event["lamp"]] = Lamp(event["lamp"], *(event[key] for key in ("lit", "time", "milliseconds", "note")))
    if pressed is None:
        return None
    dark = (None, "awaited") if busy else (False, "not seen")
    shown = [lamps.get(name, Lamp(name, dark[0], note=dark[1])) for name in NAMES] if pressed["verb"] == "act" else []
    return Press(pressed["label"], pressed["by"], pressed["at"], shown)


def clock(at: str) -> str:
    """Return a press's time of day to the millisecond, as the button's card shows it."""
    return f"{at[11:23]}Z" if at else ""


def later(at: str, milliseconds: float) -> str:
    """Return the time ``milliseconds`` after ``at``, as a ledger writes times."""
    return (datetime.fromisoformat(at) + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
