"""The commands that put the runbook itself to the test: test, bench, fault."""

from __future__ import annotations

import sys

import click

from runbook_lib.cli import entry
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(options: tuple[str, ...]) -> None:
    """Pass the tests: linters, types, the suite, and every notebook against a rehearsal."""
    from runbook_lib.selftest import run_all

    sys.exit(run_all(options))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=3, show_default=True, help="Interleaved runs a figure is the median of.")
def bench(names: tuple[str, ...], rounds: int) -> None:
    """Measure speed, as ratios of interleaved runs; NAMES choose among tests/benchmarks."""
    from rich.table import Table

    from runbook_lib import terminal
    from runbook_lib.selftest import bench as measure

    table = Table("figure", "ours", "theirs", "ratio")
    for row in measure(names, rounds):
        table.add_row(*row)
    terminal.console().print(table)


@cli.command()
@click.argument("name", required=False)
@click.option("--off", is_flag=True, help="Take it back.")
def fault(name: str | None, off: bool) -> None:
    """Put a named fault in force on the rehearsal that is up, or take it back; without a name, list them."""
    from runbook_lib import services as outside
    from runbook_lib.commands import http

    settings = entry.settings_of("rehearsal")
    services = outside.Services(settings)
    request = f"{'DELETE' if off else 'POST'} /scenarios/{name}" if name else "GET /scenarios"
    found = services.change(http("person", request))
    services.close()
    if found.error:
        raise ConfigError(found.error)
    for row in found.rows:
        click.echo(f"{row.get('name', name)}: {row.get('says', 'taken back' if off else 'in force')}")
