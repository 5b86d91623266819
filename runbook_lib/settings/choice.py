"""Find the profile that a command uses: --profile, or else RUNBOOK_PROFILE, or else the last ``./runbook use``."""

from __future__ import annotations

import os
import re

from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import ROOT

VARIABLE = "RUNBOOK_PROFILE"
FILE = ROOT / ".runbook-profile"  # one line, the profile's name; git ignores the file
# A command of ours in a printed text that goes where a profile says, and does not name the profile yet. Commands that
# take a record, such as resume, find the profile in the record.
UNADDRESSED = re.compile(
    r"\./runbook (?:open|run|watch|ack|halt|unhalt|unlock|status|doctor)(?![\w-])(?![^\n`;.]*--profile)"
)


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


def addressed(words: str, profile: str) -> str:
    """Return a text for the operator in which each ``./runbook`` command names ``profile``.

    What is printed may be pasted into a shell that has chosen another profile, or none.
    """
    return UNADDRESSED.sub(rf"\g<0> --profile {profile}", words)
