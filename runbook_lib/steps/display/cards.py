"""Show a step as a card, in text and in HTML: first the command, then one verdict line, then the rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.steps.display.rendering import COLOURS, RED, part

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.agentic_trading.symptoms import Symptom
    from runbook_lib.records.past_presses import Press

ROWS = 12  # rows of a reply that a card shows; the ledger keeps all
BROAD = 9  # columns that fit beside each other
SHOWN = 60  # rows that are shown of what nobody judges
OUTPUT = 1500  # characters of a shell command's output that a card shows


@dataclass(frozen=True)
class Card:
    """The card of one step: its commands, its verdict, its replies, and what to do if it did not pass."""

    number: str
    title: str
    outcome: str
    commands: Sequence[str] = ()
    seen: str = ""
    complaint: str | None = None
    fix: str | None = None
    symptom: Symptom | None = None
    replies: Sequence[Mapping[str, Any]] = field(default_factory=list)
    press: Press | None = None

    @property
    def verdict(self) -> str:
        """Return the verdict line of a card: the step's number, outcome and title, and what was seen."""
        parts = (" ".join(part.split()) for part in (self.number, self.outcome, self.title, self.seen))
        return "  ".join(filter(None, parts))

    def __repr__(self) -> str:
        pressed = [self.press.words, "  ".join(lamp.words for lamp in self.press.lamps)] if self.press else []
        advice = [f"{name}: {words}" for name, words in self._advice()]
        return "\n".join([*self.commands, self.verdict, *pressed, *advice, *self._tables()])

    def _repr_html_(self) -> str:
        return part("card", self, self._advice(), [_view(reply) for reply in self.replies])

    def _advice(self) -> list[tuple[str, str]]:
        advice = []
        if self.complaint:
            advice.append(("found", self.complaint))
        if self.symptom:
            advice += [("cause", self.symptom.cause), ("mend", self.symptom.fix)]
        if self.fix and self.outcome != "passed":
            advice.append(("fix", self.fix))
        return advice

    def _tables(self) -> list[str]:
        return [text for text in map(_lines_of, self.replies) if text]


@dataclass(frozen=True)
class Summary:
    """The card of the closing cell: one line per step. It shows no times or ids, so that equal runs give equal text."""

    phase: str
    lines: Sequence[tuple[str, str, str]]  # number, outcome, title
    taken_over: int = 0  # steps that passed in a record before, and were not made in this one

    def __repr__(self) -> str:
        words = [outcome for _, outcome, _ in self.lines]
        tally = ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))
        tally += f", {self.taken_over} of them taken over from a record before" if self.taken_over else ""
        return "\n".join([f"{self.phase}: {tally}", *("  ".join(line) for line in self.lines)])


@dataclass(frozen=True)
class Bar:
    """The bar at the top of a run, as a card. It shows the run's profile, operator, gate, progress and record."""

    phase: str
    profile: str
    production: bool
    project: str
    operator: str
    record: str
    gate: str = "open"
    done: int = 0
    steps: int = 0  # none where nobody is there to see it change
    following: str = ""  # number and title of the next step
    owed: Sequence[str] = ()  # steps whose undo is owed

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {words}" for name, words in self._lines())

    def _lines(self) -> list[tuple[str, str]]:
        following = f", next {self.following}" if self.following else ""
        owed = f"{len(self.owed)} owed: {', '.join(self.owed)}" if self.owed else "none owed"
        lines = [
            ("phase", f"{self.phase} on {self.profile} (project {self.project})"),
            ("operator", self.operator),
            ("gate", self.gate),
            ("steps", f"{self.done} of {self.steps} passed{following}"),
            ("undos", owed),
            ("record", self.record),
        ]
        return [line for line in lines if self.steps or line[0] not in ("steps", "undos")]

    def _repr_html_(self) -> str:
        (_, where), *others = self._lines()
        alarming = {"undos": bool(self.owed), "gate": not self.gate.startswith("open")}
        facts = [(name, words, alarming.get(name, False)) for name, words in others]
        return part("bar", RED if self.production else COLOURS["asking"], self.profile, where, facts)


class Sheet(dict[str, Any]):
    """A card with a table of facts, one row per fact: its name and its value."""

    def _repr_html_(self) -> str:
        return part("sheet", [(name, _words(value)) for name, value in self.items()])


def _words(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value or "none")


def _view(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card shows of a reply: the first rows, and the end of the text output."""
    return {
        **_cells(reply["rows"][:ROWS]),
        "left_out": _left_out(reply),
        "text": reply["text"][-OUTPUT:] if reply["text"].strip() else "",
    }


def _lines_of(reply: Mapping[str, Any]) -> str:
    rows = ["  ".join(f"{k}={v}" for k, v in row.items()) for row in reply["rows"][:ROWS]]
    return "\n".join([*rows, *_left_out(reply)]) if rows else reply["text"][-OUTPUT:].strip()


def _left_out(reply: Mapping[str, Any]) -> list[str]:
    more = len(reply["rows"]) - ROWS
    return [f"and {more} more, in the ledger"] if more > 0 else []


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return ``rows`` as the HTML table of a card."""
    view = _cells(rows)
    return part("table", view["columns"], view["rows"])


def _cells(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the column names of ``rows``, and for each row the text of each value."""
    shown = standing(rows)
    columns = list(dict.fromkeys(name for row in shown for name in row))
    return {"columns": columns, "rows": [[_cell(row.get(name)) for name in columns] for row in shown]}


def standing(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Turn a single row with too many columns for a card into one row per column. Return other rows unchanged."""
    if len(rows) != 1 or len(rows[0]) <= BROAD:
        return rows
    return [{"name": name, "value": value} for name, value in rows[0].items()]


def looked(command: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the card of a `show` command as HTML: the command and the rows that it returned."""
    return part("looked", command, _cells(rows[:SHOWN]), max(0, len(rows) - SHOWN))


def _cell(value: Any) -> str:
    shown = "" if value is None else str(value)
    return shown if len(shown) <= 120 else shown[:119] + "…"
