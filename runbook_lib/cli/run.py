"""The commands that run notebooks: rehearse, run, resume, confirm, undo, accept."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import open, options
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError, nearest

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


@cli.command()
@click.argument("phase", nargs=-1)
@click.option("--state", help="Where the stand-ins start; else in the state the phase expects.")
@click.option("--fault", "faults", multiple=True, metavar="NAME", help="A named fault in force from the start.")
@click.option("--keep", is_flag=True, help="Bring the stand-ins up, print their addresses and leave them up.")
@click.option("--stop", is_flag=True, help="Take down the rehearsals that were kept up.")
@click.option("--attended", is_flag=True, help="Step through one phase in JupyterLab, on stand-ins that stay up.")
@click.option("--no-browser", is_flag=True, help="With --attended: only print the address.")
def rehearse(
    phase: tuple[str, ...],
    state: str | None,
    faults: tuple[str, ...],
    keep: bool,
    stop: bool,
    attended: bool,
    no_browser: bool,
) -> None:
    """Rehearse every phase, or those named, on stand-ins brought up for it."""
    from runbook_lib.rehearsal import lifecycle

    if stop:
        for running in lifecycle.find(kept=True):
            lifecycle.stop(running.folder)
            click.echo(f"stopped {running.folder}")
    elif attended:
        sys.exit(open.rehearse(phase, state, faults, browser=not no_browser))
    elif keep:
        _print_addresses(lifecycle.keep(state=state or "clean", faults=faults))
    else:
        from runbook_lib.records import plan
        from runbook_lib.runs.headless import phases

        chosen = phases(phase)
        state = state or plan.start(chosen[0])
        with lifecycle.rehearse(state=state, faults=faults) as running:
            options.take_on(running)
            sys.exit(_run_all(chosen, f"rehearsed alone, from {state}" if state != "clean" else None))


@cli.command()
@click.argument("notebook")
@click.option("--profile", default="rehearsal", show_default=True, help="Where commands go.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A notebook parameter.")
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--timeout", type=float, help="Seconds the whole run may take.")
@click.option("--cell-timeout", type=float, help="Seconds each cell may take.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def run(
    notebook: str,
    profile: str,
    parameters: tuple[str, ...],
    project: str | None,
    timeout: float | None,
    cell_timeout: float | None,
    override: str | None,
) -> None:
    """Run a notebook headless and leave a sealed record."""
    from runbook_lib.records import plan

    source, settings = plan.notebook(notebook), options.settings_of(profile)
    options.fingerprint(settings, project)
    given = dict(options.parameter(text) for text in parameters)
    limits = {"timeout": timeout, "cell_timeout": cell_timeout}
    sys.exit(_run_one(settings, source, given, override=override, **limits))


@cli.command()
@click.argument("record")
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def resume(record: str, project: str | None, override: str | None) -> None:
    """Go on from a sealed record that waits, failed or was cut off: acts that passed are not sent again.

    What already rests on that record, an answer or a resumed run, is gone on from.
    """
    import yaml

    from runbook_lib.records import alarms, ledger, plan, run_record

    parent = run_record.latest(ledger.find(run_record.records_root(), record))
    ran_with = yaml.safe_load((parent.folder / "parameters.yaml").read_text(encoding="utf-8"))
    if parent.opened()["mode"] in alarms.MODES:
        raise ConfigError(f"{parent.name} is of a watch: ./runbook watch {ran_with['phase']} goes on with it")
    settings = options.settings_of(parent.opened()["profile"])
    options.fingerprint(settings, project)
    _seal_if_cut_off(parent, settings)
    click.echo(f"going on from {parent.name}")
    notebook = plan.notebook(ran_with["phase"])
    sys.exit(_run_one(settings, notebook, ran_with["parameters"], parent=parent, override=override))


@cli.command()
@click.argument("record")
@click.argument("step")
@click.option("--as", "name", required=True, help="Who vouches.")
def confirm(record: str, step: str, name: str) -> None:
    """Vouch for a step that a sealed record waits for; then resume."""
    from runbook_lib.records import history, ledger, run_record

    parent = run_record.latest(ledger.find(run_record.records_root(), record))
    found = history.read(parent).outcomes()
    waiting = {number: event for number, event in found.items() if event["outcome"] == "waiting"}
    if not name.strip():
        raise ConfigError("--as: expected a name, found none")
    if step not in waiting:
        choice = nearest(step, waiting) if waiting else "it waits for no step"
        raise ConfigError(f"{parent.name} does not wait for {step!r}: {choice}")
    if waiting[step]["verb"] != "confirm":
        raise ConfigError(f"step {step} waits for a line in the profile, not for a person: {waiting[step]['fix']}")
    answer = run_record.vouch(options.settings_of(parent.opened()["profile"]), parent, waiting[step], name)
    click.echo(f"{name} vouched for {step}: {waiting[step]['title']}\ngo on with: ./runbook resume {answer.name}")


@cli.command()
@click.argument("record")
def undo(record: str) -> None:
    """Carry out the undos that a record owes, from what its ledger holds."""
    from runbook_lib.records import history, ledger, run_record
    from runbook_lib.steps import acts

    parent = ledger.find(run_record.records_root(), record)
    settings = options.settings_of(parent.opened()["profile"])
    _seal_if_cut_off(parent, settings)
    owed = history.read(parent).owed()
    if not owed:
        raise ConfigError(f"{parent.name} owes no undo")
    done = acts.carry_out_undos(settings, parent, click.echo)
    click.echo(f"{len(owed)} undone, on the record: {done.name}")


@cli.command()
@click.argument("notebook")
def accept(notebook: str) -> None:
    """Rehearse a changed notebook and, if it passes, store its closing output as what the tests expect."""
    from runbook_lib.cli import terminal
    from runbook_lib.records import plan
    from runbook_lib.rehearsal import lifecycle
    from runbook_lib.runs import headless
    from runbook_lib.settings import profiles

    source, out = plan.notebook(notebook), terminal.console()
    with lifecycle.rehearse(state=plan.start(source)) as running:
        options.take_on(running)
        alone = f"rehearsed alone, from {plan.start(source)}"
        done = headless.run(profiles.load("rehearsal"), source, {}, override=alone, on_event=terminal.live(out))
    terminal.closing(out, [done])
    headless.accept(done, source)
    out.print(f"accepted: {source.name}", highlight=False)


def _run_one(settings: Settings, notebook: Path, parameters: dict[str, Any], **options: Any) -> int:
    from runbook_lib.cli import terminal
    from runbook_lib.runs import headless

    out = terminal.console()
    done = headless.run(settings, notebook, parameters, on_event=terminal.live(out), **options)
    terminal.closing(out, [done])
    return headless.EXIT[done.outcome]


def _run_all(notebooks: list[Path], alone: str | None) -> int:
    """Run notebooks in order, each only if the one before passed; ``alone`` passes the first one's gate."""
    from runbook_lib.cli import terminal
    from runbook_lib.engine.kernel_pool import Kernels
    from runbook_lib.runs import headless
    from runbook_lib.settings import profiles

    out, done = terminal.console(), []
    with Kernels(len(notebooks)) as kernels:  # the next one starts while a phase runs
        for notebook in notebooks:
            out.print(f"[bold]{notebook.stem}[/]")
            chosen, tell = profiles.load("rehearsal"), terminal.live(out)
            done.append(headless.run(chosen, notebook, {}, override=alone, on_event=tell, kernels=kernels))
            alone = None
            if done[-1].outcome != "passed":
                break
    terminal.closing(out, done)
    return headless.EXIT[done[-1].outcome]


def _print_addresses(running: Any) -> None:
    click.echo(f"folder      {running.folder}")
    for name, address in running.addresses.items():
        click.echo(f"{name:11} {address}")
    click.echo(f"secrets     {running.folder / 'environment.json'}\nstop it with: ./runbook rehearse --stop")


def _seal_if_cut_off(record: Any, settings: Settings) -> None:
    """A run that was killed left its record open: seal it as it stands, so that the next one can rest on it."""
    from runbook_lib.records import run_record
    from runbook_lib.records.ledger import Record

    if record.sealed() is None:
        run_record.finish(Record(record.folder, settings.redactor()), ended="cut off")
