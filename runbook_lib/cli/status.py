"""Define the commands that choose a profile, show the board and prove a profile: use, status, doctor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from runbook_lib.cli import completion, profile_choice
from runbook_lib.cli.group import cli
from runbook_lib.errors import ConfigError, RunbookError, cited, nearest

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


@cli.command()
@click.argument("profile", required=False, shell_complete=completion.profile)
def use(profile: str | None) -> None:
    """Choose the profile for later commands of this checkout.

    Without PROFILE, print the profile that is chosen. A command's own --profile comes first, then the variable
    RUNBOOK_PROFILE, then this choice. Commands that rehearse always use the rehearsal.
    """
    from runbook_lib.settings import choice, profiles

    if profile is not None:
        if profile not in profiles.profiles():
            raise ConfigError(f"no profile {cited(profile)}: {nearest(profile, profiles.profiles())}")
        choice.remember(profile)
    name, chosen_by = choice.chosen() or (profile_choice.REHEARSAL, "default")
    click.echo(f"commands go to {name}, chosen by {chosen_by}")


@cli.command()
@profile_choice.profile_option
@click.option("--html", is_flag=True, help="Write it as one HTML page with a timeline of runs, and open it.")
def status(profile: str | None, html: bool) -> None:
    """Show the board: every phase, its latest record and its gate.

    The board says why a gate is closed. Below it stand the undos that records owe, the open alarms, and who holds the
    writing lock.
    """
    from runbook_lib.cli import terminal
    from runbook_lib.records import alarms, gates, record_folder

    settings, root = profile_choice.chosen_settings(profile, must_run=False), record_folder.records_root()
    owed = list(gates.owed(settings, root))
    ringing = alarms.open_alarms(settings, root)
    if html:
        from runbook_lib.cli import board_page

        terminal.open_page(board_page.show(settings, root, _lock(settings)))
    else:
        terminal.board(terminal.console(), gates.board(settings, root), owed)
        terminal.open_alarms(terminal.console(), ringing)
        click.echo(f"writing lock: {_lock(settings)}")
    sys.exit(1 if owed or ringing else 0)


@cli.command()
@profile_choice.profile_option
def doctor(profile: str | None) -> None:
    """Prove within 20 seconds that a profile works; change nothing.

    All that can be proven by looking is proven. What looking cannot prove is listed.
    """
    from runbook_lib.checklist import doctor_probes
    from runbook_lib.cli import terminal
    from runbook_lib.runs import operator_probes
    from runbook_lib.services import doctor as probes

    settings = profile_choice.chosen_settings(profile)
    settings.require_variables()
    verdicts = probes.examine(settings, [*doctor_probes.probes(settings), *operator_probes.probes()])
    terminal.verdicts(terminal.console(), verdicts)
    terminal.unproven(terminal.console(), doctor_probes.UNPROVEN)
    sys.exit(0 if all(verdict.good or verdict.made_by for verdict in verdicts) else 1)


def _lock(settings: Settings) -> str:
    """Return who holds the writing lock, or why this is unknown. The board is shown even without a database."""
    from runbook_lib.services import write_lock

    if settings.kind == "rehearsal" and not settings.platform:
        return "no rehearsal of this checkout is up"
    try:
        return str(write_lock.holder(settings) or "free")
    except RunbookError as error:
        return f"not known: {error}"
