"""Define the commands of rehearsals: rehearse, fault, drill."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import attending, completion, profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence


@cli.command()
@click.argument("phase", nargs=-1, shell_complete=completion.notebook)
@click.option(
    "--state",
    help="Where the stand-ins start; else in the state the phase expects.",
    shell_complete=completion.state,
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME",
    help="A named fault in force from the start.",
    shell_complete=completion.fault,
)
@click.option("--keep", is_flag=True, help="Bring the stand-ins up, print their addresses and leave them up.")
@click.option("--stop", is_flag=True, help="Take down this checkout's rehearsals that were kept up.")
@click.option("--all", "everywhere", is_flag=True, help="With --stop: also those of other checkouts.")
@click.option("--attended", is_flag=True, help="Step through one phase in JupyterLab, on stand-ins that stay up.")
@click.option("--no-browser", is_flag=True, help="With --attended: only print the address.")
def rehearse(
    phase: tuple[str, ...],
    state: str | None,
    faults: tuple[str, ...],
    keep: bool,
    stop: bool,
    everywhere: bool,
    attended: bool,
    no_browser: bool,
) -> None:
    """Rehearse phases on stand-ins for the platform's services.

    Without PHASE, every phase is rehearsed. The stand-ins are started for the rehearsal and stopped after it; with
    --keep or --attended they stay up.
    """
    from runbook_lib.rehearsal import lifecycle

    if stop:
        for running in lifecycle.find(kept=True, everywhere=everywhere):
            lifecycle.stop(running.folder)
            click.echo(f"stopped {running.folder}")
    elif attended:
        sys.exit(_attend(phase, state, faults, browser=not no_browser))
    elif keep:
        _print_addresses(lifecycle.keep(state=state or "clean", faults=faults))
    else:
        _rehearse(phase, state, faults)


def _rehearse(names: tuple[str, ...], state: str | None, faults: tuple[str, ...]) -> None:
    from runbook_lib.rehearsal import lifecycle
    from runbook_lib.runs import headless, rehearsals

    notebooks = headless.phases(names)
    state = state or rehearsals.starting_state(notebooks[0])
    with lifecycle.rehearse(state=state, faults=faults) as running:
        rehearsals.join(running)
        sys.exit(_run_in_order(notebooks, rehearsals.alone(state)))


def _run_in_order(notebooks: Sequence[Path], override: str | None) -> int:
    """Run notebooks in order until one does not pass. Return the exit code of the last that ran.

    ``override`` is the reason for passing the first notebook's gate although it is closed.
    """
    from runbook_lib.cli import terminal
    from runbook_lib.engine.kernel_pool import Kernels
    from runbook_lib.runs import headless
    from runbook_lib.settings import profiles

    out, finished = terminal.console(), []
    with Kernels(len(notebooks)) as kernels:  # the next kernel starts while a phase runs
        for notebook in notebooks:
            out.print(f"[bold]{notebook.stem}[/]")
            # Settings are loaded anew for each notebook, because one such as a rotation may change the environment.
            settings, print_step = profiles.load("rehearsal"), terminal.step_printer(out)
            run = headless.run(settings, notebook, {}, override=override, on_event=print_step, kernels=kernels)
            finished.append(run)
            override = None
            if run.outcome != "passed":
                break
    terminal.closing(out, finished)
    return headless.EXIT[finished[-1].outcome]


def _attend(names: tuple[str, ...], state: str | None, faults: tuple[str, ...], *, browser: bool) -> int:
    """Step through one phase on a rehearsal that is up. Return the exit code.

    If no rehearsal is up, start one in ``state`` or, without it, in the state that the phase expects.
    """
    from runbook_lib.records import plan
    from runbook_lib.runs import rehearsals
    from runbook_lib.settings import profiles

    if len(names) > 1:
        raise ConfigError(f"--attended takes one phase, found {len(names)}: {', '.join(names)}")
    notebook = plan.notebook(names[0] if names else "phase_0")
    override = rehearsals.join_or_keep(rehearsals.starting_state(notebook), named=state, faults=faults)
    click.echo("the stand-ins stay up: ./runbook rehearse --stop takes them down")
    settings = profiles.load("rehearsal")
    return attending.attend(settings, notebook, {}, override=override, new=False, browser=browser)


def _print_addresses(running: Any) -> None:
    click.echo(f"folder      {running.folder}")
    for name, address in running.addresses.items():
        click.echo(f"{name:11} {address}")
    click.echo(f"secrets     {running.folder / 'environment.json'}\nstop it with: ./runbook rehearse --stop")


@cli.command()
@click.argument("name", required=False, shell_complete=completion.fault)
@click.option("--off", is_flag=True, help="Take it back.")
def fault(name: str | None, off: bool) -> None:
    """Put a named fault in force on the rehearsal that is up.

    With --off, take the fault back. Without NAME, list all faults.
    """
    from runbook_lib.commands.command import http
    from runbook_lib.services.services import Services

    services = Services(profile_choice.settings_of("rehearsal"))
    request = f"{'DELETE' if off else 'POST'} /faults/{name}" if name else "GET /faults"
    reply = services.change(http("person", request))
    services.close()
    if reply.error:
        raise ConfigError(reply.error)
    for row in reply.rows:
        click.echo(f"{row.get('name', name)}: {row.get('says', 'taken back' if off else 'in force')}")


@cli.command()
@click.argument("names", nargs=-1, metavar="[NOTEBOOK|CASE]...", shell_complete=completion.notebook)
@click.option("--at-once", type=click.IntRange(min=1), help="Rehearsals that run side by side; else two a core.")
@click.option("--mutate", is_flag=True, help="Change the notebooks' steps instead, one thing at a time.")
def drill(names: tuple[str, ...], at_once: int | None, mutate: bool) -> None:
    """Inject every known fault, and print which step noticed it.

    Faults are injected one at a time, and the words by which each was noticed are printed. Each notebook is also run
    with nothing wrong. The name "halt" stands for the bad answers that the halt, the console and the steps must not
    take for good news. Without names, every case is drilled. Leaves a sealed record with a page.

    With --mutate, the steps of the notebooks named (of all, without names) are changed, one thing at a time, and
    the drills or the structure rules must notice. A change that nobody notices needs a reason in survivors.yaml.
    """
    if mutate:
        sys.exit(_mutate(names, at_once or os.cpu_count() or 1))
    import tempfile
    import time
    from itertools import chain

    from runbook_lib.cli import bad_answers, terminal
    from runbook_lib.runs.drills import cases, catch_matrix, parallel
    from runbook_lib.settings import profiles

    asked = [name for name in names if name != catch_matrix.THE_HALT]
    chosen = cases.chosen(asked) if asked or not names else []
    out, started = terminal.console(), time.monotonic()
    at_once = at_once or 2 * (os.cpu_count() or 1)
    record, rows = catch_matrix.begin(profiles.load("rehearsal"), names, at_once), []
    with tempfile.TemporaryDirectory() as folder:
        matrix = bad_answers.rows() if len(asked) < len(names) or not names else iter(())
        for row in chain(parallel.rows(chosen, at_once, Path(folder)), matrix):
            rows.append(row)
            catch_matrix.keep(record, row)
            terminal.drilled(out, row)
    seconds = time.monotonic() - started
    seal = catch_matrix.finish(record, seconds)
    terminal.matrix(out, rows, seconds)
    if cells := [row for row in rows if row.notebook == catch_matrix.THE_HALT]:
        out.print(bad_answers.false_good_news(cells), highlight=False)
    out.print(f"page   {record.folder / catch_matrix.PAGE}\nseal   {seal['hash']}", highlight=False, soft_wrap=True)
    sys.exit(0 if seal["outcome"] == "passed" else 1)


def _mutate(names: Sequence[str], at_once: int) -> int:
    """Judge the notebooks' mutants (changed steps), print the results, and keep them in a record. Return the exit
    code.
    """
    import tempfile
    import time

    from runbook_lib.cli import terminal
    from runbook_lib.runs.drills import catch_matrix, mutation
    from runbook_lib.settings import profiles

    out, started, results = terminal.console(), time.monotonic(), []
    record = catch_matrix.begin(profiles.load("rehearsal"), ["--mutate", *names], at_once)
    with tempfile.TemporaryDirectory() as folder:
        for result in mutation.judged(mutation.chosen(names), at_once, Path(folder)):
            results.append(mutation.with_reasons(result))
            catch_matrix.keep_mutants(record, results[-1])
            terminal.mutated(out, results[-1])
    seconds = time.monotonic() - started
    terminal.mutants(out, results, seconds)
    seal = catch_matrix.finish(record, seconds)
    out.print(f"page   {record.folder / catch_matrix.PAGE}\nseal   {seal['hash']}", highlight=False, soft_wrap=True)
    return 0 if seal["outcome"] == "passed" else 1
