"""Define the command adapt, which rewrites this checkout for a platform with other names of tables or columns."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.cli.group import cli


@cli.command()
@click.argument("renames", nargs=-1, metavar="OLD=NEW...")
@click.option(
    "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Renames, one a line."
)
@click.option("--dry-run", is_flag=True, help="Show the difference and write nothing.")
def adapt(renames: tuple[str, ...], path: Path | None, dry_run: bool) -> None:
    """Rename tables, columns and keys to the names a platform uses.

    The cells, the library and the contract are rewritten, and the difference is shown. OLD is a name in the contract,
    written as step 0.1ha prints it: agent_logs.ts (a column), agent_logs.data.cloid (a JSON key), agent_logs.event:tick
    (a word in a column), mainnet_orders (a table). NEW is the platform's own name.
    """
    from runbook_lib.agentic_trading import adapting
    from runbook_lib.errors import ConfigError
    from runbook_lib.records import plan

    listed = path.read_text(encoding="utf-8").split("\n") if path else []
    wanted = [*renames, *(line.strip() for line in listed if line.strip() and not line.startswith("#"))]
    if not wanted:
        raise ConfigError("nothing to rename: write OLD=NEW, as ./runbook adapt --help shows")
    adapted = adapting.adapt([adapting.Rename.read(text) for text in wanted])
    click.echo("\n".join(adapted.differences))
    for file, text in adapted.files.items() if not dry_run else ():
        file.write_text(text, encoding="utf-8")
        if file.suffix == ".ipynb":
            plan.accept(file)  # no later phase may rest on a record of the cells as they were before
    for line in adapted.doubtful:
        click.echo(f"look yourself: {line}", err=True)
    done = "would be rewritten" if dry_run else "rewritten"
    click.echo(f"{len(adapted.files)} files {done}: {', '.join(sorted(file.name for file in adapted.files))}")
    if not dry_run:
        click.echo("the rehearsal keeps its names: docs/changing.md says what to change before the next rehearsal")
