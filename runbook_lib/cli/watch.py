"""Define the commands of a watch: watch, ack."""

from __future__ import annotations

import sys

import click

from runbook_lib.cli import completion, profile_choice
from runbook_lib.cli.group import cli


@cli.command("watch")
@click.argument("notebook", shell_complete=completion.notebook)
@profile_choice.profile_option
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), default=24.0, show_default=True)
@click.option("--every", type=click.FloatRange(min=0.1), default=60.0, show_default=True, help="Seconds.")
@click.option(
    "--replay",
    type=click.FloatRange(min=0),
    is_flag=False,
    flag_value=24.0,
    default=0.0,
    metavar="[HOURS]",
    help="First judge so many hours of the past as they would have been seen; 24 without a number.",
)
def watch_command(notebook: str, profile: str | None, hours: float, every: float, replay: float) -> None:
    """Judge a notebook's cells tagged `watch` on schedule, and alert.

    Whoever the profile names is alerted of alarms. The command takes no lock and needs no open gate. If it was
    interrupted, the same command goes on where it ended.
    """
    from runbook_lib.cli import terminal
    from runbook_lib.records import plan
    from runbook_lib.runs import headless, watch

    settings = profile_choice.chosen_settings(profile)
    out = terminal.console()
    schedule = watch.Schedule(plan.notebook(notebook), hours, every, replay)
    ended = watch.watch(settings, schedule, say=terminal.watched(out))
    terminal.watch_closing(out, ended)
    sys.exit(headless.EXIT[ended.outcome])


@cli.command()
@click.argument("alarm")
@click.option("--as", "name", required=True, help="Who has taken it over.")
@profile_choice.profile_option
def ack(alarm: str, name: str, profile: str | None) -> None:
    """Acknowledge an open alarm by name.

    Nobody is alerted of the alarm again, unless it happens again.
    """
    from runbook_lib.records import alarms, record_folder

    record = alarms.acknowledge(profile_choice.chosen_settings(profile), record_folder.records_root(), alarm, name)
    click.echo(f"{name} has taken {alarm} over, on the record: {record.name}")
