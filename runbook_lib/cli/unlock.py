"""Define the command unlock, which ends an abandoned session that holds the writing lock."""

from __future__ import annotations

import click

from runbook_lib.cli import profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.cli.visible import visible


@cli.command()
@profile_choice.profile_option
@click.option("--project", help="The project's ref, typed once.")
def unlock(profile: str | None, project: str | None) -> None:
    """Show whose session holds the writing lock, and end it.

    The command shows since when and from which address the session has held the lock, and leaves a record of ending it.
    If the run of that session still works, it notices before its next change and sends nothing more.
    """
    from runbook_lib.errors import ConfigError
    from runbook_lib.records import archive, run_record
    from runbook_lib.services import write_lock

    settings = profile_choice.chosen_settings(profile)
    session = write_lock.holder(settings)
    if session is None:
        click.echo("the writing lock is free")
        return
    click.echo(
        visible(f"held by  {session.who}\nsince    {session.since}\nfrom     {session.address}, session {session.pid}")
    )
    typed = project or click.prompt("type the project's ref to end that session", default="", show_default=False)
    if typed != settings.project:
        raise ConfigError(f"--project: expected {settings.project!r}, found {typed!r}; nothing was ended")
    record = run_record.begin(settings, "unlock", mode="unlock")
    record.ledger.append("unlocked", by=record.opened()["operator"], held=str(session))
    outcome = "failed"
    try:
        write_lock.unlock(settings, session)
        outcome = "passed"
    finally:
        archive.close(record, outcome)
    click.echo(f"ended, on the record: {record.name}")
