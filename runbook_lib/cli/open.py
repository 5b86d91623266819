"""The command that opens a notebook for a person: open, and what ``rehearse --attended`` does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import options
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings


@cli.command("open")
@click.argument("notebook")
@click.option("--profile", default="rehearsal", show_default=True, help="Where commands go.")
@click.option("-p", "--parameter", "parameters", multiple=True, metavar="NAME=VALUE", help="A notebook parameter.")
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
@click.option("--new", is_flag=True, help="Begin a new record, even if one of this notebook is not finished.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def open_notebook(
    notebook: str,
    profile: str,
    parameters: tuple[str, ...],
    project: str | None,
    override: str | None,
    new: bool,
    no_browser: bool,
) -> None:
    """Step through a notebook in JupyterLab; a record that is not finished is gone on with. Ctrl-C ends it."""
    from runbook_lib.records import plan

    source, settings = plan.notebook(notebook), options.settings_of(profile)
    options.fingerprint(settings, project)
    given = dict(options.parameter(text) for text in parameters)
    sys.exit(attend(settings, source, given, override=override, new=new, browser=not no_browser))


def rehearse(phases: tuple[str, ...], state: str | None, faults: tuple[str, ...], *, browser: bool) -> int:
    """Step through one phase on a rehearsal that is up, else on one brought up in the state the phase expects."""
    from runbook_lib.records import plan
    from runbook_lib.rehearsal import lifecycle
    from runbook_lib.settings import profiles

    if len(phases) > 1:
        raise ConfigError(f"--attended takes one phase, found {len(phases)}: {', '.join(phases)}")
    source = plan.notebook(phases[0] if phases else "phase_0")
    running, alone = lifecycle.find(kept=True), None
    if state or faults or not running:
        state = state or plan.start(source)
        running = [lifecycle.keep(state=state, faults=faults)]
        alone = f"rehearsed alone, from {state}" if state != "clean" else None
    options.take_on(running[-1])
    click.echo("the stand-ins stay up: ./runbook rehearse --stop takes them down")
    chosen = profiles.load("rehearsal")
    return attend(chosen, source, {}, override=alone, new=False, browser=browser)


def attend(
    settings: Settings, source: Path, parameters: dict[str, Any], *, override: str | None, new: bool, browser: bool
) -> int:
    """Prepare or go on with a record, serve it until it is closed, say how it stands; the exit code."""
    from runbook_lib.runs import attended
    from runbook_lib.runs.headless import EXIT, prepared

    record = None if new else attended.unfinished(settings, source.stem)
    if record and parameters:
        raise ConfigError(f"{record.name} is not finished and keeps its parameters: --new begins another record")
    if record:
        click.echo(f"going on with {record.name}: run its first cells, down to open_phase, then the next step")
    else:
        record = prepared(settings, source, parameters, parent=None, override=override, mode="attended")
    seal = attended.work(record, settings, lambda url: click.echo(f"{url}\nCtrl-C ends it"), browser=browser)
    click.echo(f"record records/{record.name}")
    if seal:
        click.echo(f"{seal['outcome']}, seal {seal['hash']}")
    else:
        for line in attended.standing_of(record):
            click.echo(line)
    return EXIT[seal["outcome"]] if seal else EXIT["waiting"]
