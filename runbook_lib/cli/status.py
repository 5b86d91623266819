"""The commands that look: status, show, doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from runbook_lib.cli import options
from runbook_lib.cli.group import cli
from runbook_lib.errors import RunbookError

if TYPE_CHECKING:
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
@click.option("--html", is_flag=True, help="Write it as one HTML page with a timeline of runs, and open it.")
def status(profile: str, html: bool) -> None:
    """The board: every phase, its latest record, its gate and why it is closed; owed undos, open alarms."""
    from runbook_lib.cli import terminal
    from runbook_lib.records import alarms, gates, run_record
    from runbook_lib.settings import profiles

    settings, root = profiles.load(profile), run_record.records_root()
    owed = list(gates.owed(settings, root))
    ringing = alarms.open_alarms(settings, root)
    if html:
        from runbook_lib.cli import board_page

        _opened(board_page.show(settings, root, _lock(settings)))
    else:
        terminal.board(terminal.console(), gates.board(settings, root), owed)
        terminal.open_alarms(terminal.console(), ringing)
        click.echo(f"writing lock: {_lock(settings)}")
    sys.exit(1 if owed or ringing else 0)


@cli.command()
@click.argument("name", metavar="RECORD")
def show(name: str) -> None:
    """Write a record as one self-contained HTML page beside its folder, and open it.

    RECORD is its folder, its path below the folder of all records, or a part of it (the newest that has it).
    """
    from runbook_lib.records import ledger, run_record
    from runbook_lib.steps.display import record_page

    _opened(record_page.show(ledger.find(run_record.records_root(), name)))


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
def doctor(profile: str) -> None:
    """Prove every address, credential and clock of a profile, read-only, and say which steps each failure breaks."""
    from rich.table import Table

    from runbook_lib.cli import terminal
    from runbook_lib.services import doctor as probes

    settings = options.settings_of(profile)
    settings.require_variables()
    found = probes.examine(settings)
    table = Table("probe", "verdict", "found", "breaks", "fix", show_lines=True)
    for one in found:
        style = "green" if one.good else "red"
        table.add_row(
            one.name,
            f"[{style}]{'passed' if one.good else 'failed'}[/]",
            one.seen,
            one.breaks,
            "" if one.good else one.fix,
        )
    terminal.console().print(table)
    sys.exit(0 if all(one.good for one in found) else 1)


def _lock(settings: Settings) -> str:
    """Who may change things now. The board itself is told from records alone, and needs no database."""
    from runbook_lib.services import write_lock

    if settings.kind == "rehearsal" and not settings.platform:
        return "no rehearsal is up"
    try:
        return write_lock.holder(settings) or "free"
    except RunbookError as error:
        return f"not known: {error}"


def _opened(page: Path) -> None:
    """Print where a page is, and show it where there is somebody to look."""
    click.echo(page)
    if sys.stdout.isatty():
        click.launch(str(page))
