"""Define the command open, which opens a notebook for a person. ``rehearse --attended`` uses `attend` too."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import completion, parameters, profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings


@cli.command("open")
@click.argument("notebook", shell_complete=completion.notebook)
@profile_choice.profile_option
@parameters.parameter_options
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
@click.option("--new", is_flag=True, help="Begin a new record, even if one of this notebook is not finished.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def open_notebook(
    notebook: str,
    profile: str | None,
    typed: tuple[str, ...],
    file: str | None,
    project: str | None,
    override: str | None,
    new: bool,
    no_browser: bool,
) -> None:
    """Step through a notebook in JupyterLab.

    If a record of this notebook is not finished, the command goes on with that record. Ctrl-C ends the command.
    """
    from runbook_lib.records import plan

    source, given = plan.notebook(notebook), parameters.read(typed, file)
    settings = profile_choice.chosen_settings(profile)
    profile_choice.show_fingerprint(settings, project)
    sys.exit(attend(settings, source, given, override=override, new=new, browser=not no_browser))


def attend(
    settings: Settings, notebook: Path, given: dict[str, Any], *, override: str | None, new: bool, browser: bool
) -> int:
    """Let a person work on a record in JupyterLab until it is closed. Then print how the record ended.

    Return the exit code of the command.
    """
    from runbook_lib.records import plan
    from runbook_lib.runs import attended
    from runbook_lib.runs.headless import EXIT
    from runbook_lib.runs.prepared_record import prepared, unfinished

    record = None if new else unfinished(settings, plan.phase(notebook))
    if record and given:
        raise ConfigError(f"{record.name} is not finished and keeps its parameters: --new begins another record")
    if record:
        click.echo(f"going on with {record.name}: run its first cells, down to open_phase, then the next step")
    else:
        record = prepared(settings, notebook, given, parent=None, override=override, mode="attended")
    seal = attended.work(record, settings, lambda url: click.echo(f"{url}\nCtrl-C ends it"), browser=browser)
    click.echo(f"record records/{record.name}")
    if seal:
        click.echo(f"{seal['outcome']}, seal {seal['hash']}")
    else:
        for line in attended.standing_of(record):
            click.echo(line)
    return EXIT[seal["outcome"]] if seal else EXIT["waiting"]
