"""What commands do before anything is sent: find the profile, show where it leads, ask for its name."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings


def settings_of(profile: str) -> Settings:
    from runbook_lib.settings import profiles

    if profile == "rehearsal" and "RUNBOOK_REHEARSAL" not in os.environ:
        from runbook_lib.rehearsal import lifecycle

        running = lifecycle.find(kept=True)
        if not running:
            raise ConfigError("no rehearsal is up: start one with ./runbook rehearse --keep")
        take_on(running[-1])
    return profiles.load(profile)


def take_on(running: Any) -> None:
    """Take on the environment of a rehearsal: its secrets, and its stand-in executables first on the PATH."""
    os.environ.update(running.environment)
    os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def fingerprint(settings: Settings, typed: str | None) -> None:
    """In production, show where commands will go; the operator types the project's ref once."""
    if settings.kind != "production":
        return
    places = {
        "project": settings.project,
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
    """Ask for the profile's name, once; the moment it was given."""
    typed = click.prompt(f"type {profile} to go on", default="", show_default=False)
    if typed != profile:
        raise ConfigError(f"expected {profile!r}, found {typed!r}; nothing was sent (--yes does not ask)")
    return time.monotonic()


def parameter(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``; the value is read as YAML."""
    import yaml

    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"a parameter reads NAME=VALUE, not {text!r}")
    return name, yaml.safe_load(value)
