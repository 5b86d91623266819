"""Define the commands for developers of the runbook: test, bench, accept."""

from __future__ import annotations

import sys

import click

from runbook_lib.cli import completion
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError


@cli.command(context_settings={"ignore_unknown_options": True})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def test(options: tuple[str, ...]) -> None:
    """Run all tests: linters, types, the suite, and every notebook.

    OPTIONS go to pytest. Each notebook runs against a rehearsal of its own.
    """
    from runbook_lib.cli.suite import run_all

    sys.exit(run_all(options))


@cli.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", default=3, show_default=True, help="Interleaved runs a figure is the median of.")
def bench(names: tuple[str, ...], rounds: int) -> None:
    """Run the developers' benchmarks, and print each figure with its ratio.

    NAMES choose the files of tests/benchmarks whose names contain one of them; without NAMES all run. A ratio divides
    our figure by another tool's, from interleaved runs.
    """
    from runbook_lib.cli.benchmarks import figures

    click.echo(f"{'figure':72} {'ours':>12} {'theirs':>12} {'ratio':>7}")
    for name, ours, theirs, ratio in figures(names, rounds):
        click.echo(f"{name:72} {ours:>12} {theirs:>12} {ratio:>7}")


@cli.command()
@click.argument("notebook", required=False, shell_complete=completion.notebook)
@click.option("--plans", is_flag=True, help="Rehearse nothing: write down the plans of all notebooks as they are.")
def accept(notebook: str | None, plans: bool) -> None:
    """Rehearse a notebook that a developer changed and, if it passes, accept its plan.

    The plan and the closing cell's output are then stored as what is expected from now on. Gates take only records that
    followed the accepted plan, which stands in notebooks/plans.json.
    """
    from runbook_lib.cli import terminal
    from runbook_lib.records import plan
    from runbook_lib.rehearsal import lifecycle
    from runbook_lib.runs import headless, rehearsals
    from runbook_lib.settings import profiles

    out = terminal.console()
    if plans:
        for name in plan.notebooks():
            plan.accept(plan.notebook(name))
        out.print(f"accepted: the plans of {len(plan.notebooks())} notebooks", highlight=False)
        return
    if notebook is None:
        raise ConfigError("name the notebook to rehearse and accept, or --plans")
    source = plan.notebook(notebook)
    state = rehearsals.starting_state(source)
    with lifecycle.rehearse(state=state) as running:
        rehearsals.join(running)
        settings, override = profiles.load("rehearsal"), rehearsals.alone(state)
        finished = headless.run(settings, source, {}, override=override, on_event=terminal.step_printer(out))
    terminal.closing(out, [finished])
    headless.accept(finished, source)
    plan.accept(source)
    out.print(f"accepted: {source.name}", highlight=False)
