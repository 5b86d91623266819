"""Choose a command's profile, show where its commands will go, and have the operator confirm it.

Nothing is sent before the answer.
"""

from __future__ import annotations

import shlex
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


def chosen_for_halt(option: str | None, *, yes: bool) -> tuple[Settings, float]:
    """Return the settings of a halt's profile, and the moment of the operator's answer by the monotonic clock.

    In an emergency nobody types ``--profile``: if no profile is chosen, the only production profile is named. The
    operator is asked once, to type the profile's name; with ``yes`` not even that, unless no profile is chosen. Raise
    `ConfigError` if that profile cannot be told, if another name is typed, or if nobody can be asked: the message then
    holds the command to paste.
    """
    from runbook_lib.settings import choice

    press = time.monotonic()
    chosen = choice.chosen(option)
    settings = chosen_settings(option) if chosen else _only_production()
    if chosen and yes:
        return settings, press
    if chosen is None:
        if not sys.stdin.isatty():
            raise ConfigError(f"no profile is chosen, and nobody can be asked here; {_pasted(settings.name)}")
        click.echo(f"no profile is chosen: this goes to {settings.name}, project {settings.project}", err=True)
    return settings, _confirmed(settings.name)


def _only_production() -> Settings:
    """Return the settings of the only production profile. A profile that cannot be read does not count."""
    from runbook_lib.settings import profiles

    known, refused = {}, []
    for name in profiles.profiles():
        try:
            known[name] = profiles.load(name)
        except ConfigError as error:
            refused.append(str(error))
    real = [name for name, settings in known.items() if settings.kind == "production"]
    if len(real) != 1:
        reason = "; ".join(["no profile is chosen", *(refused if not real else ())])
        raise ConfigError(f"{reason}; nothing was sent. Add --profile, one of {', '.join(profiles.profiles())}")
    return known[real[0]]


def _pasted(profile: str) -> str:
    """Return the end of a message with a command to paste: the same command, with options that make it ask nothing."""
    words = [word for word in sys.argv[1:] if word != "--yes"]
    named = [] if any(word.partition("=")[0] == "--profile" for word in words) else ["--profile", profile]
    return f"nothing was sent. Paste: ./runbook {shlex.join([*words, *named, '--yes'])}"


def show_fingerprint(settings: Settings, typed: str | None) -> None:
    """Show where a production profile's commands will go, and have the operator type the project's ref once."""
    if settings.kind != "production":
        return
    from runbook_lib.settings.addresses import host_of

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


def _confirmed(profile: str) -> float:
    """Have the operator type the profile's name. Return the moment of the answer by the monotonic clock."""
    try:
        typed = click.prompt(f"type {profile} to go on", default="", show_default=False)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise ConfigError(f"nobody answers here; {_pasted(profile)}") from None
    if typed != profile:
        raise ConfigError(f"expected {profile!r}, found {typed!r}; nothing was sent (--yes does not ask)")
    return time.monotonic()
