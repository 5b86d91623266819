"""Print runs, watches, the board and drills on the terminal."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from runbook_lib.cli.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import ConsoleOptions, RenderableType

    from runbook_lib.records.alarms import Alarm
    from runbook_lib.records.gates import Gate
    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.runs.drills.mutation import Judged
    from runbook_lib.runs.drills.parallel import Row
    from runbook_lib.runs.headless import Run
    from runbook_lib.runs.watch import Done
    from runbook_lib.services.doctor import Verdict

DRILLED = {"caught": "green", "missed": "red", "false alarm": "magenta"}
STYLES = {"passed": "green", "failed": "red", "waiting": "yellow", "unknown": "magenta", "interrupted": "yellow"}
ALARMED = {"raised": "bold red", "recurred": "bold red", "cleared": "green", "kernel": "magenta", "round": "magenta"}
WATCHED = {
    "watching": ("watching", "{checks} every {every:g} s until {ends}"),
    "raised": ("raised", "{alarm} {title}  event {event_at}, noticed {detected_at}, latency {latency} s"),
    "recurred": ("again", "{alarm} {title}  event {event_at}, noticed {detected_at}, latency {latency} s"),
    "cleared": ("cleared", "{alarm} {title}  since {raised_at}"),
    "acked": ("acked", "{alarm} by {by}"),
    "kernel": ("kernel", "{how}; another one is started"),
    "round": ("round", "from {from} until {until}"),
    "alerted": ("alerted", "{alarms} to {targets}"),
    "not pinged": ("silent", "the dead man's service was not reached"),
}
PIPED = 160  # columns when the output is no terminal


class _Visible(Console):
    """A console that escapes control characters, so that text from a vendor cannot overwrite other lines."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def console() -> Console:
    """Return a console for the terminal. If the output is piped, its lines are 160 columns wide."""
    if sys.stdout.isatty():
        return _Visible()
    # In a kernel the environment asks for colours, and rich would redraw tables in output that cannot be redrawn.
    return _Visible(width=PIPED, force_terminal=False)


def step_printer(out: Console) -> Callable[[Event], None]:
    """Return a function that prints each step's outcome on the terminal as the ledger gets it, with advice below."""

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


def open_page(page: Path) -> None:
    """Print the path of a page, and open the page. If the output is no terminal, only print the path."""
    click.echo(page)
    if sys.stdout.isatty():
        click.launch(str(page))


def closing(out: Console, runs: Sequence[Run]) -> None:
    """Print a table of runs on the terminal (phase, outcome, steps, seconds), then their records and seals."""
    table = Table("phase", "outcome", "passed", "failed", "waiting", "unknown", "missing", "seconds")
    for run in runs:
        counts = run.seal["steps"]
        numbers = [str(counts[word]) for word in ("passed", "failed", "waiting", "unknown")]
        outcome = f"[{STYLES[run.outcome]}]{run.outcome}[/]"
        missing = str(len(run.seal["missing"]))
        table.add_row(run.seal["phase"], outcome, *numbers, missing, f"{run.result.seconds:.1f}")
    out.print(table)
    for run in runs:
        out.print(f"record {run.record.path}", markup=False, highlight=False, soft_wrap=True)
        if taken := run.seal.get("recalled"):
            words = f"       {taken} of its steps are taken over from {run.seal['parent']['record']}"
            out.print(words, markup=False, highlight=False, soft_wrap=True)
        out.print(f"seal   {run.seal['hash']}", highlight=False, soft_wrap=True)
        if run.result.reason and run.outcome != "waiting":
            out.print(f"ended: {run.result.reason}", style="red", markup=False, highlight=False)


def watched(out: Console) -> Callable[[Event], None]:
    """Return a function that prints each event of a watch on the terminal, such as alarms."""

    def tell(event: Event) -> None:
        now = datetime.now(UTC).strftime("%H:%M:%SZ")
        word, line = WATCHED[event["event"]]
        style = ALARMED.get(event["event"], "")
        out.print(f"{now}  {word:8} {line.format_map(event)}", style=style, markup=False, highlight=False)
        for advice in ("complaint", "fix"):
            if event.get(advice) and event["event"] != "cleared":
                out.print(f"           {advice}: {event[advice]}", style=style, markup=False, highlight=False)

    return tell


def watch_closing(out: Console, ended: Done) -> None:
    """Print on the terminal how a watch ended: outcome, open alarms for the next shift, record and seal."""
    out.print(f"{ended.outcome}: {len(ended.open)} open", style=STYLES[ended.outcome])
    open_alarms(out, [(ended.record, alarm) for alarm in ended.open])
    out.print(f"record records/{ended.record.name}", highlight=False, soft_wrap=True)
    out.print(f"seal   {ended.seal['hash']}", highlight=False, soft_wrap=True)


def open_alarms(out: Console, alarms: Sequence[tuple[Record, Alarm]]) -> None:
    """Print each open alarm on the terminal, in red if nobody has acknowledged it."""
    from runbook_lib.records.alarms import acknowledging

    for record, alarm in alarms:
        style = "yellow" if alarm.acked_by else "bold red"
        taken = f"acknowledged by {alarm.acked_by}" if alarm.acked_by else acknowledging(alarm, record.profile)
        out.print(f"open alarm: {alarm.name} {alarm.title}, since {alarm.raised}; {taken}", style=style, markup=False)
        out.print(f"  {alarm.complaint}\n  fix: {alarm.fix}", style=style.removeprefix("bold "), markup=False)


def board(out: Console, gates: Sequence[Gate], owed: Sequence[tuple[Record, Event]]) -> None:
    """Print the board on the terminal: a line for each phase with its latest outcome and its gate.

    Below the line stand the phase's latest record and the reasons why the gate is closed. Owed undos
    follow in red.
    """
    for gate in gates:
        word = ("open", "green") if gate.open else ("closed", "red")
        out.print(Text.assemble((f"{gate.phase:24}", "bold"), f"{gate.outcome or 'not run':24}gate ", word))
        why = [(reason, "") for reason in gate.reasons] + [(f"amber: {reason}", "yellow") for reason in gate.amber]
        for line, style in ([(gate.latest.name, "dim")] if gate.latest else []) + why:
            out.print(Padding(Text(line, style, overflow="fold"), (0, 0, 0, 4)))
    for record, event in owed:
        out.print(f"owed undo: {event['step']} of {record.name}: {event['text']}", style="bold red", markup=False)
        out.print(f"  ./runbook undo {record.name}", style="red", markup=False)


def drilled(out: Console, row: Row) -> None:
    """Print one drill on the terminal: verdict, the steps that should and did notice, seconds, fault and message.

    If the fault was not caught, the words expected and all words that were used follow below the line.
    """
    line = Text.assemble(
        (f"{row.verdict:11} ", DRILLED[row.verdict]),
        f"{row.expected or 'none':6} {row.noticed or '-':6} {row.seconds:5.1f} s  {row.fault}  ",
        (" ".join(row.words.split()), "dim"),
    )
    out.print(line, overflow="ellipsis", no_wrap=True)
    if row.verdict != "caught":
        for label, text in (("notebook", row.notebook), ("expected", row.says), ("found", row.words)):
            out.print(f"            {label}: {text}", style=DRILLED[row.verdict], markup=False, highlight=False)


def matrix(out: Console, rows: Sequence[Row], seconds: float) -> None:
    """Print on the terminal how many drilled faults were caught and missed, and how many alarms were false, by notebook
    and in all.
    """
    table = Table("notebook", "faults", "caught", "missed", "false alarms", "seconds")
    notebooks = sorted({row.notebook for row in rows})
    for name in (*notebooks, "all"):
        selected = [row for row in rows if name in (row.notebook, "all")]
        numbers = [sum(row.verdict == word for row in selected) for word in DRILLED]
        taken = seconds if name == "all" else sum(row.seconds for row in selected)
        style = "green" if numbers[0] == len(selected) else "red"
        table.add_row(name, str(len(selected)), *map(str, numbers), f"{taken:.1f}", style=style)
    out.print(table)


def mutated(out: Console, result: Judged) -> None:
    """Print how many of a notebook's mutants (changed steps) were noticed, and by what. Print each survivor with its
    reason.
    """
    kinds = Counter(fate.killed for fate in result.fates if fate.killed)
    told = ", ".join(f"{number} by {kind}" for kind, number in kinds.most_common())
    out.print(f"{result.notebook}: {kinds.total()} of {len(result.fates)} killed: {told}", highlight=False)
    for fate in result.fates:
        if not fate.killed:
            words = f"  {fate.step:6} {fate.change}: {fate.reason or 'nobody noticed, and no reason is given'}"
            out.print(words, style="dim" if fate.reason else "red", markup=False, highlight=False, soft_wrap=True)
    for value in result.unseen:
        out.print(f"  {value.step:6} {value.column}: never seen red", style="red", markup=False, highlight=False)
    for step, change in result.idle:
        words = f"  {step:6} {change}: take its reason out of survivors.yaml, it is noticed"
        out.print(words, style="red", markup=False, highlight=False, soft_wrap=True)


def mutants(out: Console, results: Sequence[Judged], seconds: float) -> None:
    """Print how many mutants (changed steps) were made, noticed and left, and how many expected values were seen to
    fail.
    """
    fates = [fate for result in results for fate in result.fates]
    killed = sum(bool(fate.killed) for fate in fates)
    reasoned = sum(bool(fate.reason) for fate in fates)
    values, unseen = sum(result.values for result in results), sum(len(result.unseen) for result in results)
    share = 100 * killed / len(fates) if fates else 0.0
    out.print(
        f"{killed} of {len(fates)} mutants killed ({share:.1f} %); {reasoned} survive with a reason,"
        f" {len(fates) - killed - reasoned} without; {values - unseen} of {values} expected values seen red alone;"
        f" {seconds:.0f} s",
        highlight=False,
        soft_wrap=True,
    )


def verdicts(out: Console, probed: Sequence[Verdict]) -> None:
    """Print the result of each of the doctor's probes on the terminal.

    Below a probe that did not pass, print what it breaks and the fix.
    """
    width = max(len(verdict.name) for verdict in probed)
    styles = {True: "green", False: "red"}
    for verdict in sorted(probed, key=lambda verdict: verdict.good, reverse=True):
        style = "yellow" if verdict.made_by and not verdict.good else styles[verdict.good]
        line = Text.assemble((f"{verdict.word:<7}", style), f"  {verdict.name:<{width}}  {verdict.seen}")
        out.print(line, soft_wrap=not verdict.good, no_wrap=verdict.good, overflow="ellipsis", crop=verdict.good)
        if not verdict.good:
            out.print(Text(f"         breaks: {verdict.breaks}\n         fix: {verdict.fix}"), soft_wrap=True)


def unproven(out: Console, claims: Sequence[tuple[str, str, str]]) -> None:
    """Print on the terminal what the doctor cannot prove.

    Each line names the step that proves a claim, and what to assume until then.
    """
    out.print("Not proven by looking; until the step named has passed, take it that")
    for step, claim, until in claims:
        out.print(Text(f"  {step:<6} {claim}: {until}"), soft_wrap=True)
