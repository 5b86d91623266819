"""The commands that put the runbook itself to the test: test, drill, bench, fault."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runbook_lib.cli import options
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(options: tuple[str, ...]) -> None:
    """Pass the tests: linters, types, the suite, and every notebook against a rehearsal."""
    from runbook_lib.cli.selftest import run_all

    sys.exit(run_all(options))


@cli.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK|SCENARIO]...")
@click.option("--at-once", type=click.IntRange(min=1), help="Rehearsals that run side by side; else two a core.")
def drill(names: tuple[str, ...], at_once: int | None) -> None:
    """Inject every known fault, one at a time, and print which step noticed, in which words.

    Each notebook is also run with nothing wrong. Without names, every case. Leaves a sealed record with a page.
    """
    import tempfile
    import time

    from runbook_lib.cli import terminal
    from runbook_lib.runs.drills import cases, catch_matrix, parallel
    from runbook_lib.settings import profiles

    chosen, out, started = cases.chosen(names), terminal.console(), time.monotonic()
    at_once = at_once or 2 * (os.cpu_count() or 1)
    record, rows = catch_matrix.begin(profiles.load("rehearsal"), names, at_once), []
    with tempfile.TemporaryDirectory() as folder:
        for row in parallel.rows(chosen, at_once, Path(folder)):
            rows.append(row)
            catch_matrix.keep(record, row)
            terminal.drilled(out, row)
    seconds = time.monotonic() - started
    seal = catch_matrix.finish(record, seconds)
    terminal.matrix(out, rows, seconds)
    out.print(f"page   {record.folder / catch_matrix.PAGE}\nseal   {seal['hash']}", highlight=False, soft_wrap=True)
    sys.exit(0 if seal["outcome"] == "passed" else 1)


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=3, show_default=True, help="Interleaved runs a figure is the median of.")
def bench(names: tuple[str, ...], rounds: int) -> None:
    """Measure speed, as ratios of interleaved runs; NAMES choose among tests/benchmarks."""
    from rich.table import Table

    from runbook_lib.cli import terminal
    from runbook_lib.cli.selftest import bench as measure

    table = Table("figure", "ours", "theirs", "ratio")
    for row in measure(names, rounds):
        table.add_row(*row)
    terminal.console().print(table)


@cli.command()
@click.argument("name", required=False)
@click.option("--off", is_flag=True, help="Take it back.")
def fault(name: str | None, off: bool) -> None:
    """Put a named fault in force on the rehearsal that is up, or take it back; without a name, list them."""
    from runbook_lib.commands.command import http
    from runbook_lib.services import services as outside

    settings = options.settings_of("rehearsal")
    services = outside.Services(settings)
    request = f"{'DELETE' if off else 'POST'} /faults/{name}" if name else "GET /faults"
    found = services.change(http("person", request))
    services.close()
    if found.error:
        raise ConfigError(found.error)
    for row in found.rows:
        click.echo(f"{row.get('name', name)}: {row.get('says', 'taken back' if off else 'in force')}")
