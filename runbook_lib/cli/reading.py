"""The commands that only read: status, show, records, verify, doctor."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import entry
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError, RunbookError

if TYPE_CHECKING:
    from collections.abc import Sequence


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
@click.option("--html", is_flag=True, help="Write it as one HTML page with a timeline of runs, and open it.")
def status(profile: str, html: bool) -> None:
    """The board: every phase, its latest record, its gate and why it is closed; owed undos."""
    from runbook_lib import gates, runs, terminal
    from runbook_lib import settings as profiles

    settings, root = profiles.load(profile), runs.records_root()
    owed = list(gates.owed(settings, root))
    if html:
        from runbook_lib import board_page

        _opened(board_page.show(settings, root))
    else:
        terminal.board(terminal.console(), gates.board(settings, root), owed)
    sys.exit(1 if owed else 0)


@cli.command()
@click.argument("name", metavar="RECORD")
def show(name: str) -> None:
    """Write a record as one self-contained HTML page beside its folder, and open it.

    RECORD is its folder, its path below the folder of all records, or a part of it (the newest that has it).
    """
    from runbook_lib import record_page, records, runs

    _opened(record_page.show(records.find(runs.records_root(), name)))


@cli.command("records")
@click.option("--profile", help="Only this profile's.")
@click.option("--phase", help="Only this phase's.")
@click.option("--outcome", help="Only those that ended so.")
def list_records(profile: str | None, phase: str | None, outcome: str | None) -> None:
    """List the records, oldest first."""
    from rich.table import Table

    from runbook_lib import records, runs, terminal

    table = Table("record", "phase", "outcome", "passed", "failed", "operator")
    for record in records.every(runs.records_root()):
        opened, seal = _ends_of(record)
        wanted = {"profile": profile, "phase": phase}
        if all(v is None or opened[k] == v for k, v in wanted.items()) and outcome in (None, seal["outcome"]):
            counts = seal["steps"]
            numbers = [str(counts.get(word, "")) for word in ("passed", "failed")]
            table.add_row(record.name, opened["phase"], seal["outcome"], *numbers, opened["operator"])
    terminal.console().print(table)


@cli.command()
@click.argument("names", nargs=-1, metavar="[RECORD]...")
def verify(names: tuple[str, ...]) -> None:
    """Prove that records are as they were sealed. Needs only their folders; without names, every record."""
    from runbook_lib import records, runs

    root = runs.records_root()
    chosen = [_to_verify(root, name) for name in names] if names else list(records.every(root))
    if not chosen:
        raise ConfigError(f"no records below {root}")
    broken = 0
    for record in chosen:
        problems = records.verify(record.folder)
        broken += bool(problems)
        for problem in problems:
            click.echo(problem)
        if not problems:
            click.echo(f"{record.folder.name}: sound, seal {(record.sealed() or {})['hash']}")
    sys.exit(1 if _print_gaps(root, [] if names else chosen) or broken else 0)


@cli.command()
@click.option("--profile", default="rehearsal", show_default=True)
def doctor(profile: str) -> None:
    """Prove every address, credential and clock of a profile, read-only, and say which steps each failure breaks."""
    from rich.table import Table

    from runbook_lib import doctor as probes
    from runbook_lib import terminal

    settings = entry.settings_of(profile)
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


def _opened(page: Path) -> None:
    """Print where a page is, and show it where there is somebody to look."""
    click.echo(page)
    if sys.stdout.isatty():
        click.launch(str(page))


def _ends_of(record: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a record began and how it ended, as far as they can be read."""
    unknown = {"phase": "", "profile": record.profile, "operator": ""}
    try:
        return record.opened(), record.sealed() or {"outcome": "not sealed", "steps": {}}
    except RunbookError:
        return unknown, {"outcome": "damaged", "steps": {}}


def _to_verify(root: Path, name: str) -> Any:
    """A folder is verified as it stands, even if nothing in it looks like a record any more."""
    from runbook_lib import records

    return records.Record(Path(name).resolve()) if Path(name).is_dir() else records.find(root, name)


def _print_gaps(root: Path, chosen: Sequence[Any]) -> bool:
    from runbook_lib import records

    found = [gap for profile in sorted({r.profile for r in chosen}) for gap in records.gaps(root, profile)]
    for gap in found:
        click.echo(gap)
    return bool(found)
