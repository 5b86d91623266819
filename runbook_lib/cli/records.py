"""Define the commands that list, show, compare, verify and sign records: records, show, diff, verify, sign."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import completion
from runbook_lib.cli.group import cli
from runbook_lib.cli.visible import visible
from runbook_lib.errors import ConfigError, RunbookError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runbook_lib.records.record_folder import Record

OUTCOMES = ("passed", "failed", "waiting", "unknown", "interrupted", "not sealed", "damaged")


@cli.command("records")
@click.option("--profile", help="Only this profile's.", shell_complete=completion.profile)
@click.option("--phase", help="Only this phase's; the beginning of its name will do.")
@click.option("--outcome", help="Only those that ended so.")
@click.option("--date", help="Only of this day (UTC), month or year: 2026-11-22, 2026-11, 2026.")
@click.option("--operator", help="Only of this operator.")
def list_records(**wanted: str | None) -> None:
    """List the records, oldest first."""
    from rich.table import Table

    from runbook_lib.cli import terminal
    from runbook_lib.records import plan, record_folder
    from runbook_lib.settings import profiles

    listed = [(record, _facts(record)) for record in record_folder.every(record_folder.records_root())]
    known = {"profile": profiles.profiles(), "phase": plan.notebooks(), "outcome": OUTCOMES}
    for name, value in wanted.items():
        if value is not None:
            _refuse_unknown(name, value, {facts[name] for _, facts in listed} | set(known.get(name, ())))
    table = Table("record", "phase", "outcome", "passed", "failed", "operator")
    for record, facts in listed:
        if all(value is None or _is(name, value, facts[name]) for name, value in wanted.items()):
            numbers = [str(facts["steps"].get(word, "")) for word in ("passed", "failed")]
            table.add_row(record.name, facts["phase"], facts["outcome"], *numbers, facts["operator"])
    terminal.console().print(table)
    click.echo(f"{table.row_count} of {len(listed)} records")


@cli.command()
@click.argument("name", metavar="RECORD", shell_complete=completion.record)
def show(name: str) -> None:
    """Write a record as one self-contained HTML page, and open it.

    The page is written beside the record's folder. RECORD is that folder, its path below the folder of all records, or
    a part of the path; if several records have that part, the newest is shown.
    """
    from runbook_lib.cli.terminal import open_page
    from runbook_lib.records import record_folder
    from runbook_lib.steps.display import record_page

    open_page(record_page.show(record_folder.find(record_folder.records_root(), name)))


@cli.command()
@click.argument("first", shell_complete=completion.record)
@click.argument("second", shell_complete=completion.record)
def diff(first: str, second: str) -> None:
    """Show what differs between two records.

    Steps, verdicts, values, timings, versions and parameters are compared.
    """
    from rich.table import Table
    from rich.text import Text

    from runbook_lib.cli import terminal
    from runbook_lib.records import diff, record_folder

    both = [record_folder.find(record_folder.records_root(), name) for name in (first, second)]
    differences = diff.differences(*both)
    table = Table("step", "what", *(record.name for record in both), show_lines=True)
    for difference in differences:
        # As Text: rich would read brackets in a plain string as markup.
        table.add_row(difference.where, difference.what, Text(difference.first), Text(difference.second))
    if differences:
        terminal.console().print(table)
    click.echo(f"{len(differences) or 'no'} differences")


@cli.command()
@click.argument("names", nargs=-1, metavar="[RECORD]...", shell_complete=completion.record)
@click.option("--signers", type=click.Path(exists=True, dir_okay=False), help="Who may sign; else as the profile says.")
@click.option("--head", "heads", multiple=True, metavar="HASH", help="A seal you know of: finds removal of the newest.")
@click.option("--tell", is_flag=True, help="Tell what happened, when and by whom, event by event.")
def verify(names: tuple[str, ...], signers: str | None, heads: tuple[str, ...], tell: bool) -> None:
    """Prove that records are as they were sealed, and who signed them.

    Without RECORD, every record is verified, and a record that is gone is noticed. RECORD may be a folder of records,
    such as an archive.
    """
    from runbook_lib.records import record_folder, signing
    from runbook_lib.records import verify as proof

    root = record_folder.records_root()
    named = [_folder(root, name) for name in names] or [root]
    folders = [folder for place in named for folder in (proof.every(place) if place.is_dir() else ())]
    if not folders:
        raise ConfigError(f"no records below {', '.join(map(str, named))}")
    allowed = Path(signers).read_text(encoding="utf-8") if signers else None
    problems = proof.report(
        folders,
        (lambda _: allowed) if allowed is not None else signing.signers_of,
        lambda line: click.echo(visible(line)),
        heads=heads,
        whole=folders != named,
        tell=tell,
    )
    sys.exit(1 if problems else 0)


@cli.command()
@click.argument("record", shell_complete=completion.record)
def sign(record: str) -> None:
    """Sign the seal of a record that is not signed yet.

    The key is the one that RUNBOOK_SIGNING_KEY names. A record is not signed if signing failed when the record was
    sealed.
    """
    from runbook_lib.records import record_folder, signing
    from runbook_lib.records.verify import SIGNATURE

    unsigned = record_folder.find(record_folder.records_root(), record)
    seal = unsigned.sealed()
    if seal is None:
        raise ConfigError(f"{unsigned.name} is not sealed: there is nothing to sign; go on with ./runbook resume")
    if (unsigned.folder / SIGNATURE).exists():
        raise ConfigError(f"{unsigned.name} is signed: ./runbook verify {unsigned.name} says by whom")
    if seal["operator"] != signing.operator():
        raise ConfigError(f"{unsigned.name} is {seal['operator']}'s to sign, not {signing.operator()}'s")
    signing.sign(unsigned)
    click.echo(f"signed: {unsigned.name}")


def _facts(record: Record) -> dict[str, Any]:
    """Return a record's columns in the list of records.

    An unreadable record has the outcome "damaged".
    """
    facts = {"profile": record.profile, "date": record.folder.parent.name, "phase": "", "operator": "", "steps": {}}
    try:
        opened, seal = record.opened(), record.sealed() or {"outcome": "not sealed"}
    except RunbookError:
        return {**facts, "outcome": "damaged"}
    facts |= {name: opened[name] for name in ("phase", "operator")}
    return {**facts, "outcome": seal["outcome"], "steps": seal.get("steps", {})}


def _refuse_unknown(name: str, value: str, known: Iterable[str]) -> None:
    choices = {choice for choice in known if choice}
    if not any(_is(name, value, choice) for choice in choices):
        raise ConfigError(f"--{name}: no record has {value!r}: {nearest(value, choices)}")


def _is(name: str, wanted: str, value: str) -> bool:
    return value.startswith(wanted) if name in ("phase", "date") else value == wanted


def _folder(root: Path, name: str) -> Path:
    """Return the folder to verify: the folder ``name``, or the folder of the record called ``name``.

    A folder need not look like a record any more: a damaged record is to be verified too.
    """
    from runbook_lib.files import is_there
    from runbook_lib.records import record_folder

    folder = Path(name)
    return folder.resolve() if is_there(folder) and folder.is_dir() else record_folder.find(root, name).folder
