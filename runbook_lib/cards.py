"""How a step looks: the command, one verdict line, then the rows. As text and as HTML, from the same parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.symptoms import Symptom

__all__ = ["COLOURS", "Card", "Head", "Summary", "table"]

ROWS = 12  # rows of a reply that a card shows; the ledger keeps all
OUTPUT = 1500  # characters of a shell command's output that a card shows
# Okabe-Ito, told apart with every kind of colour vision; the word always stands beside the colour.
COLOURS = {"passed": "#009E73", "failed": "#D55E00", "waiting": "#B07D00", "unknown": "#CC79A7", "missing": "#666666"}


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

    @property
    def verdict(self) -> str:
        """The one line: number, outcome, title, what was seen."""
        parts = (" ".join(part.split()) for part in (self.number, self.outcome, self.title, self.seen))
        return "  ".join(filter(None, parts))

    def __repr__(self) -> str:
        parts = [*self.commands, self.verdict, *self._advice(), *self._tables()]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        colour = COLOURS[self.outcome]
        commands = "".join(f"<pre style='{PRE}'>{escape(c)}</pre>" for c in self.commands)
        verdict = (
            f"<div style='border-left:4px solid {colour};padding:2px 8px;margin:4px 0'>"
            f"<code>{escape(self.number)}</code>&ensp;<b style='color:{colour}'>{self.outcome}</b>"
            f"&ensp;{escape(self.title)}&ensp;<code>{escape(self.seen)}</code></div>"
        )
        advice = "".join(f"<div style='margin:2px 12px;white-space:pre-wrap'>{escape(a)}</div>" for a in self._advice())
        tables = "".join(_table_of(reply) for reply in self.replies)
        return f"<div>{commands}{verdict}{advice}{tables}</div>"

    def _advice(self) -> list[str]:
        found = []
        if self.complaint:
            found.append(f"found: {self.complaint}")
        if self.symptom:
            found += [f"cause: {self.symptom.cause}", f"mend: {self.symptom.fix}"]
        if self.fix and self.outcome != "passed":
            found.append(f"fix: {self.fix}")
        return found

    def _tables(self) -> list[str]:
        return [text for text in map(_lines_of, self.replies) if text]


@dataclass(frozen=True)
class Summary:
    """The closing cell: one line per step, the same for every run that ends the same way."""

    phase: str
    lines: Sequence[tuple[str, str, str]]  # number, outcome, title

    def __repr__(self) -> str:
        words = [outcome for _, outcome, _ in self.lines]
        tally = ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words))
        return "\n".join([f"{self.phase}: {tally}", *("  ".join(line) for line in self.lines)])


@dataclass(frozen=True)
class Head:
    """The first output of a run: where it goes and where it writes."""

    phase: str
    profile: str
    project: str
    operator: str
    record: str

    def __repr__(self) -> str:
        return f"{self.phase} on {self.profile} (project {self.project}) by {self.operator}\nrecord: {self.record}"


PRE = (
    "font-family:monospace;font-size:90%;line-height:1.35;background:#f6f6f6;color:#222;"
    "padding:6px 8px;margin:4px 0;white-space:pre-wrap;overflow-wrap:anywhere"
)


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
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th style='text-align:left'>{escape(str(c))}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{escape(_cell(row.get(c)))}</td>" for c in columns) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(found: Any) -> str:
    shown = "" if found is None else str(found)
    return shown if len(shown) <= 120 else shown[:119] + "…"
