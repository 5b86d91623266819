"""Choose a command's profile, show where its commands will go, and have the operator confirm it.

Nothing is sent before the answer.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from runbook_lib.cli import completion
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.settings.profiles import Settings

REHEARSAL = "rehearsal"  # the profile of a command if nobody has chosen one


def profile_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--profile`` to a command."""
    words = "Where commands go; else as RUNBOOK_PROFILE says, else ./runbook use, else the rehearsal."
    return click.option("--profile", help=words, shell_complete=completion.profile)(command)


def chosen_settings(option: str | None, *, must_run: bool = True) -> Settings:
    """Return the settings of a command's profile.

    The profile is the one that ``option`` names, else the one that the operator chose before, else the rehearsal.

    The profile "rehearsal" stands for the rehearsal of this checkout that is up. Raise `ConfigError` if none is up,
    unless ``must_run`` is false.
    """
    from runbook_lib.settings import choice

    name, chosen_by = choice.chosen(option) or (REHEARSAL, "default")
    if name != REHEARSAL and option is None:
        click.echo(f"profile {name}, chosen by {chosen_by}", err=True)
    return settings_of(name, must_run=must_run)


def settings_of(name: str, *, must_run: bool = True) -> Settings:
    """Return the settings of the profile called ``name``, which a command has chosen.

    For the profile "rehearsal", raise `ConfigError` if no rehearsal is up, unless ``must_run`` is false.
    """
    from runbook_lib.settings import profiles

    if name == REHEARSAL:
        from runbook_lib.runs import rehearsals

        if not rehearsals.joined() and must_run:
            raise ConfigError("no rehearsal of this checkout is up: start one with ./runbook rehearse --keep")
    return profiles.load(name)


def chosen_for_halt(option: str | None) -> Settings:
    """Return the settings of the profile to halt. If no profile is chosen, offer the only production profile.

    In an emergency nobody types ``--profile``. Raise `ConfigError` if there is more than one production profile or
    none, if the operator declines, or if there is no terminal to ask at: the message then holds the command to paste.
    """
    from runbook_lib.settings import choice, profiles

    if choice.chosen(option):
        return chosen_settings(option)
    real = [name for name in profiles.profiles() if name != REHEARSAL]
    if len(real) != 1:
        raise ConfigError(f"no profile is chosen: add --profile, one of {', '.join(profiles.profiles())}")
    if not sys.stdin.isatty():
        pasted = " ".join(["./runbook", *sys.argv[1:], "--profile", real[0]])
        raise ConfigError(f"no profile is chosen, and nobody can be asked here; nothing was sent. Paste: {pasted}")
    if not click.confirm(f"no profile is chosen: does this go to {real[0]}?", default=True):
        raise ConfigError("nothing was sent: add --profile rehearsal for a rehearsal")
    return settings_of(real[0])


def show_fingerprint(settings: Settings, typed: str | None) -> None:
    """Show where a production profile's commands will go, and have the operator type the project's ref once."""
    if settings.kind != "production":
        return
    from runbook_lib.settings.profiles import host_of

    places = {
        "project": settings.project,
        "database": f"{urlsplit(settings.database.url).username} at {host_of(settings.database.url)}",
        "Supabase": settings.supabase.url,
        "Fly": f"{settings.fly.org} / {settings.fly.app}",
        "Vercel": f"{settings.vercel.project} at {settings.web.url}",
        "wallet": settings.hyperliquid.wallet or "not named",
    }
    for name, value in places.items():
        click.echo(f"{name:8} {value}")
    typed = typed or (click.prompt("type the project's ref to go on") if sys.stdin.isatty() else None)
    if typed != settings.project:
        raise ConfigError(f"--project: expected {settings.project!r}, found {typed!r}; nothing was sent")


def confirmed(profile: str) -> float:
    """Have the operator type the profile's name. Return the time of the answer on the monotonic clock."""
    typed = click.prompt(f"type {profile} to go on", default="", show_default=False)
    if typed != profile:
        raise ConfigError(f"expected {profile!r}, found {typed!r}; nothing was sent (--yes does not ask)")
    return time.monotonic()
