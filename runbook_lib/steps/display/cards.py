"""How a step looks: the command, one verdict line, then the rows. As text and as HTML, from the same parts.

The HTML carries its style in its tags and fetches nothing: JupyterLab, a browser, a printer and a viewer that drops
every style show the same words.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from runbook_lib.steps.display.highlighting import coloured

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.agentic_trading.symptoms import Symptom
    from runbook_lib.records.presses import Press

ROWS = 12  # rows of a reply that a card shows; the ledger keeps all
LONG = 40  # characters of a value that may be broken anywhere
BROAD = 9  # columns that fit beside each other
SHOWN = 60  # rows that are shown of what nobody judges
OUTPUT = 1500  # characters of a shell command's output that a card shows
# Okabe-Ito, dark enough for white words on them; told apart with every kind of colour vision, and never without a word.
COLOURS = {
    "passed": "#007A58",
    "failed": "#B84A00",
    "waiting": "#7A5D00",
    "unknown": "#9C4A7C",
    "missing": "#666666",
    "asking": "#00639C",
}
RED, QUIET = "#B00020", "color:var(--jp-content-font-color2,#555)"
ALARM = f";color:{RED};font-weight:600"
PLAIN = "class='mathjax_ignore'"  # what stands between two dollar signs is no formula
BOX = "border-left:4px solid {};padding:2px 0 2px 10px;margin:2px 0;line-height:1.5;font-size:13px"
PILL = "background:{};color:#fff;border-radius:3px;padding:1px 7px;font-weight:600"
PRE = (
    "font-family:monospace;font-size:12px;line-height:1.4;background:#f6f7f8;color:#1a1a1a;border-radius:3px;"
    "padding:5px 8px;margin:0 0 5px;white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;"
    "max-height:19em;overflow-y:auto"
)
GREY = "border:1px solid #bbb;border-radius:3px;padding:1px 8px;background:#eee;color:#555"  # a button of before
COPIED = "user-select:all;-webkit-user-select:all"  # one click selects the whole command


@dataclass(frozen=True)
class Card:
    """One step's output."""

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
        """The one line: number, outcome, title, what was seen."""
        parts = (" ".join(part.split()) for part in (self.number, self.outcome, self.title, self.seen))
        return "  ".join(filter(None, parts))

    def __repr__(self) -> str:
        pressed = [self.press.words, "  ".join(lamp.words for lamp in self.press.lamps)] if self.press else []
        advice = [f"{name}: {words}" for name, words in self._advice()]
        return "\n".join([*self.commands, self.verdict, *pressed, *advice, *self._tables()])

    def _repr_html_(self) -> str:
        commands = "".join(
            f"<pre style='{PRE};{COPIED}' title='a click selects the whole command'>{coloured(c)}</pre>"
            for c in self.commands
        )
        verdict = (
            f"<div><span style='{PILL.format(COLOURS[self.outcome])}'>{self.outcome}</span>"
            f"&ensp;<code>{escape(self.number)}</code>&ensp;<b>{escape(self.title)}</b>"
            f"&ensp;<span style='{QUIET}'>{escape(self.seen)}</span></div>"
        )
        pressed = _pressed(self.press) if self.press else ""
        advice = "".join(
            f"<div style='margin:3px 0;white-space:pre-wrap'><b>{name}</b>&ensp;{escape(words)}</div>"
            for name, words in self._advice()
        )
        tables = "".join(_table_of(reply) for reply in self.replies)
        box = BOX.format(COLOURS[self.outcome])
        return f"<div {PLAIN} style='{box}'>{commands}{verdict}{pressed}{advice}{tables}</div>"

    def _advice(self) -> list[tuple[str, str]]:
        found = []
        if self.complaint:
            found.append(("found", self.complaint))
        if self.symptom:
            found += [("cause", self.symptom.cause), ("mend", self.symptom.fix)]
        if self.fix and self.outcome != "passed":
            found.append(("fix", self.fix))
        return found

    def _tables(self) -> list[str]:
        return [text for text in map(_lines_of, self.replies) if text]


def _pressed(press: Press) -> str:
    """The button as it was, who pressed it, and a line of lamps: filled where something was seen."""
    lamps = "".join(
        f"<span style='margin-right:16px;display:inline-block'><span style='color:{COLOURS[colour]}'>{sign}</span>"
        f"&thinsp;{escape(lamp.words)}</span>"
        for lamp in press.lamps
        for sign, colour in [LAMPS[lamp.lit]]
    )
    label = f"<span style='{GREY}'>{escape(press.label)}</span>"
    return f"<div style='margin:4px 0'>{label}&ensp;{escape(press.words)}</div><div style='margin:4px 0'>{lamps}</div>"


LAMPS = {True: ("●", "passed"), False: ("○", "missing"), None: ("◌", "waiting")}


@dataclass(frozen=True)
class Summary:
    """The closing cell: one line per step, the same for every run that ends the same way."""

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
    """The first output of a run: where it goes, who runs it, what opened its gate, how far it is, where it writes."""

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
        colour = RED if self.production else COLOURS["asking"]
        (_, where), *others = self._lines()
        alarming = {"undos": bool(self.owed), "gate": not self.gate.startswith("open")}
        facts = "".join(
            f"<span style='margin-right:22px;display:inline-block{ALARM * alarming.get(name, False)}'>"
            f"<span style='{QUIET}'>{name}</span>&ensp;{escape(words)}</span>"
            for name, words in others
        )
        return (
            f"<div {PLAIN} style='border:2px solid {colour};border-radius:4px;font-size:13px;line-height:1.6'>"
            f"<div style='background:{colour};color:#fff;padding:3px 10px'><b>{escape(self.profile.upper())}</b>"
            f"&ensp;{escape(where)}</div><div style='padding:4px 10px'>{facts}</div></div>"
        )


class Sheet(dict[str, Any]):
    """Facts by their names, one below the other."""

    def _repr_html_(self) -> str:
        lines = "".join(
            f"<div style='display:flex;gap:1em'><b style='flex:0 0 7em'>{escape(name)}</b>"
            f"<span style='overflow-wrap:anywhere'>{escape(_words(value))}</span></div>"
            for name, value in self.items()
        )
        return f"<div {PLAIN} style='{BOX.format('#bbb')}'>{lines}</div>"


def _words(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value or "none")


def _table_of(reply: Mapping[str, Any]) -> str:
    if reply["rows"]:
        return table(reply["rows"][:ROWS]) + "".join(f"<div>{line}</div>" for line in _left_out(reply))
    return f"<pre style='{PRE}'>{escape(reply['text'][-OUTPUT:])}</pre>" if reply["text"].strip() else ""


def _lines_of(reply: Mapping[str, Any]) -> str:
    rows = ["  ".join(f"{k}={v}" for k, v in row.items()) for row in reply["rows"][:ROWS]]
    return "\n".join([*rows, *_left_out(reply)]) if rows else reply["text"][-OUTPUT:].strip()


def _left_out(reply: Mapping[str, Any]) -> list[str]:
    more = len(reply["rows"]) - ROWS
    return [f"and {more} more, in the ledger"] if more > 0 else []


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as an HTML table."""
    rows = standing(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th style='text-align:left'>{escape(str(c))}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='{_fit(shown)}'>{escape(shown)}</td>" for shown in cells) + "</tr>"
        for cells in ([_cell(row.get(c)) for c in columns] for row in rows)
    )
    return f"<table style='margin:4px 0'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def standing(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """One row that is too broad, stood on its end: a line for each of its values."""
    if len(rows) != 1 or len(rows[0]) <= BROAD:
        return rows
    return [{"name": name, "value": value} for name, value in rows[0].items()]


def looked(command: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A command that only looked, and what it saw."""
    told = table(rows[:SHOWN]) if rows else f"<div style='{QUIET}'>no rows</div>"
    left = f"<div>and {len(rows) - SHOWN} more</div>" if len(rows) > SHOWN else ""
    sent = f"<pre style='{PRE};{COPIED}'>{coloured(command)}</pre>"
    return f"<div {PLAIN} style='{BOX.format('#bbb')}'>{sent}{told}{left}</div>"


def _fit(shown: str) -> str:
    """What is long is broken anywhere, so that the last columns stay in sight."""
    return "text-align:left" + (";overflow-wrap:anywhere;min-width:14em" if len(shown) > LONG else "")


def _cell(found: Any) -> str:
    shown = "" if found is None else str(found)
    return shown if len(shown) <= 120 else shown[:119] + "…"


def progress(share: float) -> str:
    """A thin line that is filled so far; nothing where there is no end to reach."""
    if not share:
        return ""
    done = f"<div style='width:{min(share, 1):.0%};height:4px;background:{COLOURS['asking']}'></div>"
    return f"<div style='background:#ddd;height:4px;max-width:30em;margin:4px 0 4px 14px'>{done}</div>"
