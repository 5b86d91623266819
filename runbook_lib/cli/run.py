"""Define the commands that run a notebook headless or continue a record: run, resume, confirm, undo, adopt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.cli import completion, parameters, profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.cli.visible import visible
from runbook_lib.errors import ConfigError, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings


@cli.command()
@click.argument("notebook", shell_complete=completion.notebook)
@profile_choice.profile_option
@parameters.parameter_options
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--timeout", type=float, help="Seconds the whole run may take.")
@click.option("--cell-timeout", type=float, help="Seconds each cell may take.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def run(
    notebook: str,
    profile: str | None,
    typed: tuple[str, ...],
    file: str | None,
    project: str | None,
    timeout: float | None,
    cell_timeout: float | None,
    override: str | None,
) -> None:
    """Run a notebook headless and leave a sealed record.

    NOTEBOOK is a notebook's name, the beginning of its name (phase_0), or a path: then the file at that path runs.
    """
    from runbook_lib.records import plan

    source, given = plan.notebook(notebook), parameters.read(typed, file)
    settings = profile_choice.chosen_settings(profile)
    profile_choice.show_fingerprint(settings, project)
    limits = {"timeout": timeout, "cell_timeout": cell_timeout}
    sys.exit(_run(settings, source, given, override=override, **limits))


@cli.command()
@click.argument("record", shell_complete=completion.record)
@click.option("--project", help="Production only: the project's ref, typed once.")
@click.option("--override", metavar="REASON", help="Break the glass: pass a closed gate, on the record.")
def resume(record: str, project: str | None, override: str | None) -> None:
    """Go on from a sealed record that waits, failed or was cut off.

    Acts that passed are not sent again. If newer records already rest on RECORD (an answer of the command confirm, or a
    resumed run), the command goes on from the newest of them.
    """
    import yaml

    from runbook_lib.records import alarms, plan, record_folder, run_record
    from runbook_lib.settings import choice

    parent = run_record.latest(record_folder.find(record_folder.records_root(), record))
    ran_with = yaml.safe_load((parent.folder / "parameters.yaml").read_text(encoding="utf-8"))
    if parent.opened()["mode"] in alarms.MODES:
        words = f"{parent.name} is of a watch: ./runbook watch {ran_with['phase']} goes on with it"
        raise ConfigError(choice.addressed(words, parent.opened()["profile"]))
    settings = _settings_of(parent)
    profile_choice.show_fingerprint(settings, project)
    _seal_if_cut_off(parent, settings)
    click.echo(f"going on from {parent.name}")
    notebook = plan.notebook(ran_with["phase"])
    sys.exit(_run(settings, notebook, ran_with["parameters"], parent=parent, override=override))


@cli.command()
@click.argument("record", shell_complete=completion.record)
@click.argument("step")
@click.option("--as", "name", required=True, help="Who vouches: in production whoever signs, and nobody else.")
def confirm(record: str, step: str, name: str) -> None:
    """Vouch for a step that a sealed record waits for.

    Go on afterwards with the command resume.
    """
    from runbook_lib.records import history, record_folder, run_record

    parent = run_record.latest(record_folder.find(record_folder.records_root(), record))
    outcomes = history.read(parent).outcomes()
    waiting = {number: event for number, event in outcomes.items() if event["outcome"] == "waiting"}
    if not name.strip():
        raise ConfigError("--as: expected a name, found none")
    if step not in waiting:
        choice = nearest(step, waiting) if waiting else "it waits for no step"
        raise ConfigError(f"{parent.name} does not wait for {step!r}: {choice}")
    if waiting[step]["verb"] != "confirm":
        raise ConfigError(f"step {step} waits for a line in the profile, not for a person: {waiting[step]['fix']}")
    settings = _settings_of(parent)
    answer = run_record.vouch(settings, parent, waiting[step], name)
    click.echo(f"{name} vouched for {step}: {waiting[step]['title']}\ngo on with: ./runbook resume {answer.name}")


@cli.command()
@click.argument("record", shell_complete=completion.record)
@click.option("--project", help="Production only: the project's ref, typed once.")
def undo(record: str, project: str | None) -> None:
    """Show the undos that a record owes, and carry them out.

    The undos are shown as they will be sent. The record must verify, and its notebook must register each undo that the
    record owes.
    """
    from runbook_lib.commands.command import thawed
    from runbook_lib.records import history, record_folder
    from runbook_lib.runs import rehearsals
    from runbook_lib.services.services import Services
    from runbook_lib.steps import owed_undos

    parent = record_folder.find(record_folder.records_root(), record)
    gone = rehearsals.is_gone(parent)
    settings = _settings_of(parent, must_run=not gone)
    _seal_if_cut_off(parent, settings)
    owed = history.read(parent).owed()
    if not owed:
        raise ConfigError(f"{parent.name} owes no undo")
    if gone:
        closing = _close_as_gone(settings, parent)
        click.echo(f"{len(owed)} closed, for their rehearsal is gone, on the record: {closing.name}")
        return
    owed_undos.refuse_unregistered(settings, parent)
    for step, event in reversed(owed.items()):
        click.echo(visible(f"{step}: {Services(settings).shown(thawed(event['command']))}"))
    profile_choice.show_fingerprint(settings, project)
    reversing = owed_undos.carry_out_undos(settings, parent, lambda line: click.echo(visible(line)))
    click.echo(f"{len(owed)} undone, on the record: {reversing.name}")


def _close_as_gone(settings: Settings, parent: Record) -> Record:
    """Write a new record which says that an older record's undos are no longer owed, because its rehearsal has ended.
    Return the new record.

    Nothing is sent, because another rehearsal may be up now.
    """
    from runbook_lib.records import history, run_record

    record = run_record.begin(settings, parent.opened()["phase"], root=parent.root, parent=parent, mode="undo")
    for step in history.read(record).owed():
        record.ledger.append("undone", step=step, how="platform gone")
    run_record.finish(record)
    return record


@cli.command()
@click.argument("record", shell_complete=completion.record)
@click.option("--project", help="Production only: the project's ref, typed once.")
def adopt(record: str, project: str | None) -> None:
    """Adopt the record of a run that was killed, by sealing it.

    The record is sealed as interrupted and signed with your key; resume and undo can then rest on it. Its lines, its
    plan and each undo that it owes are checked first, and shown.
    """
    from runbook_lib.commands.command import thawed
    from runbook_lib.records import history, record_folder, run_record
    from runbook_lib.records.record_folder import Record
    from runbook_lib.services.services import Services
    from runbook_lib.steps import owed_undos

    killed = record_folder.find(record_folder.records_root(), record)
    settings = _settings_of(killed)
    if killed.sealed() is not None:
        raise ConfigError(f"{killed.name} is sealed: there is nothing to adopt")
    run_record.refuse_unadoptable(killed, settings)
    owed_undos.refuse_unregistered(settings, killed)
    run_so_far, services = history.read(killed), Services(settings)
    for number, event in run_so_far.outcomes().items():
        click.echo(visible(f"{number:6} {event['outcome']:8} {event['title']}"))
    for number, event in run_so_far.owed().items():
        click.echo(visible(f"{number:6} owes an undo: {services.shown(thawed(event['command']))}"))
    profile_choice.show_fingerprint(settings, project)
    seal = run_record.finish(Record(killed.folder, settings.redactor()), ended="interrupted: adopted")
    click.echo(f"adopted as {seal['outcome']}: {killed.name}, seal {seal['hash']}")


def _settings_of(record: Record, *, must_run: bool = True) -> Settings:
    """Return the settings by which commands go to the platform on which a record was made.

    Unless ``must_run`` is false, raise `ConfigError` if that platform is a rehearsal that is not the one in use.
    """
    from runbook_lib.runs import rehearsals

    opened = record.opened()
    if must_run and opened["kind"] == rehearsals.PROFILE:
        rehearsals.rejoin(record)
    return profile_choice.settings_of(opened["profile"], must_run=must_run)


def _run(settings: Settings, notebook: Path, given: dict[str, Any], **options: Any) -> int:
    from runbook_lib.cli import terminal
    from runbook_lib.runs import headless

    out = terminal.console()
    finished = headless.run(settings, notebook, given, on_event=terminal.step_printer(out), **options)
    terminal.closing(out, [finished])
    return headless.EXIT[finished.outcome]


def _seal_if_cut_off(record: Any, settings: Settings) -> None:
    """Seal a record that a killed run left unsealed, so that another run can resume it.

    Raise `ConfigError` in production: there nobody's key may sign a record that nobody has looked at.
    """
    from runbook_lib.records import run_record
    from runbook_lib.records.record_folder import Record

    if record.sealed() is None:
        if settings.kind == "production":
            raise ConfigError(f"{record.name} is not sealed: ./runbook adopt {record.name} shows it and seals it")
        run_record.finish(Record(record.folder, settings.redactor()), ended="cut off")
