"""What a run prints: one live line per step, and a closing table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runbook_lib.gates import Gate
    from runbook_lib.headless import Run
    from runbook_lib.records import Event, Record

__all__ = ["board", "closing", "console", "live"]

STYLES = {"passed": "green", "failed": "red", "waiting": "yellow", "unknown": "magenta", "interrupted": "yellow"}
PIPED = 160  # columns when the output is no terminal


def console() -> Console:
    """The terminal, or a wide page when the output is piped."""
    return Console(width=None if sys.stdout.isatty() else PIPED)


def live(out: Console) -> Callable[[Event], None]:
    """A printer of one line per step, as the ledger tells it; on anything but a pass, the advice below it."""

    def tell(event: Event) -> None:
        if event["event"] != "outcome":
            return
        style = STYLES[event["outcome"]]
        line = Text.assemble(
            f"{event['step']:6} ",
            (f"{event['outcome']:8} ", style),
            f"{' '.join(event['title'].split())}  ",
            (" ".join(event["seen"].split()), "dim"),
        )
        out.print(line, overflow="ellipsis", no_wrap=True)
        for advice in ("complaint", "symptom", "fix"):
            if event.get(advice):
                out.print(f"       {advice}: {event[advice]}", style=style, markup=False, highlight=False)

    return tell


def closing(out: Console, done: Sequence[Run]) -> None:
    """Phase, steps passed, failed, waiting, seconds, path of the record; then each seal."""
    table = Table("phase", "outcome", "passed", "failed", "waiting", "unknown", "missing", "seconds")
    for one in done:
        counts = one.seal["steps"]
        numbers = [str(counts[word]) for word in ("passed", "failed", "waiting", "unknown")]
        outcome = f"[{STYLES[one.outcome]}]{one.outcome}[/]"
        missing = str(len(one.seal["missing"]))
        table.add_row(one.seal["phase"], outcome, *numbers, missing, f"{one.result.seconds:.1f}")
    out.print(table)
    for one in done:
        out.print(f"record {one.record.path}", markup=False, highlight=False, soft_wrap=True)
        out.print(f"seal   {one.seal['hash']}", highlight=False, soft_wrap=True)
        if one.result.reason and one.outcome != "waiting":
            out.print(f"ended: {one.result.reason}", style="red", markup=False, highlight=False)


def board(out: Console, gates: Sequence[Gate], owed: Sequence[tuple[Record, Event]]) -> None:
    """Every phase: its latest record, its gate, and why the gate is closed; then the undos owed, in red."""
    table = Table("phase", "latest record", "outcome", "gate", "why", show_lines=True)
    for one in gates:
        seal = one.latest.sealed() if one.latest else None
        outcome = str(seal["outcome"]) if seal else ("not sealed" if one.latest else "")
        word = "[green]open[/]" if one.open else "[red]closed[/]"
        why = [*one.reasons, *(f"amber: {reason}" for reason in one.amber)]
        name = one.latest.name if one.latest else "none"
        table.add_row(one.phase, name, outcome, word, Text("\n".join(why), "yellow" if one.open else ""))
    out.print(table)
    for record, event in owed:
        out.print(f"owed undo: {event['step']} of {record.name}: {event['text']}", style="bold red", markup=False)
        out.print(f"  ./runbook undo {record.name}", style="red", markup=False)
