"""Make the shell lines of steps that call ``./runbook halt`` or ``./runbook unhalt``, and judge what these print."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from runbook_lib.commands.command import Reply, Shell, shell
from runbook_lib.commands.expectations import Expectation, Finding, over_each
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings

HALT_RECORD = re.compile(r"[^/\s]+/[^/\s]+_halt\S*")  # the record's name, at the end of what a halt or unhalt prints
OPEN_PART = re.compile(r"\s*[\d.]+ s\s+(?:failed|unknown)\b")  # the line of a part that did not pass


def halt_line(settings: Settings) -> Shell:
    """Return the shell line ``./runbook halt`` for a step. It stops every deployment and sets both switches to stop."""
    return shell(f"./runbook halt --profile {settings.name} --all --yes", folder=str(ROOT))


def halted() -> Expectation:
    """Expect that the command halt or unhalt passed and printed its record's name.

    A complaint names each part that failed.
    """

    def test(reply: Reply) -> Finding:
        record = HALT_RECORD.search(reply.text)
        if reply.error is None and reply.status == 0 and record:
            return Finding(record[0])
        open_parts = [" ".join(line.split()) for line in reply.text.splitlines() if OPEN_PART.match(line)]
        said = "; ".join(open_parts) or reply.error or f"no record of the halt is named in {reply.text[-200:]!r}"
        return Finding(record[0] if record else "", f"exit {reply.status}: {said}")

    return over_each("every part of the halt passed, and its record is named", test, errors_allowed=True)


def unhalt_line(settings: Settings) -> Shell:
    """Return the shell line ``./runbook unhalt`` for a step. It sets both switches back and redeploys the web app."""
    return shell(f"./runbook unhalt --profile {settings.name} --yes", folder=str(ROOT))
