"""Find the profile that a command uses: --profile, or else RUNBOOK_PROFILE, or else the last ``./runbook use``."""

from __future__ import annotations

import os

from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import ROOT

VARIABLE = "RUNBOOK_PROFILE"
FILE = ROOT / ".runbook-profile"  # one line, the profile's name; git ignores the file


def chosen(option: str | None = None) -> tuple[str, str] | None:
    """Return the chosen profile's name and what chose it, such as "--profile". Return None if none is chosen."""
    if option:
        return option, "--profile"
    if named := os.environ.get(VARIABLE):
        return named, VARIABLE
    try:
        named = FILE.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{FILE} cannot be read: {error.strerror}; ./runbook use PROFILE writes it anew") from error
    return (named, "./runbook use") if named else None


def remember(profile: str) -> None:
    """Remember ``profile`` as the choice for later commands of this checkout. Raise `ConfigError` if that fails."""
    try:
        FILE.write_text(profile + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{FILE} cannot be written: {error.strerror}; set {VARIABLE} instead") from error
