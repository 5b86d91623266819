"""Run the command line. Commands import slow modules themselves, so that ``--help`` and ``halt`` start fast."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

# Importing a module puts its commands into the group.
from runbook_lib.cli import adapt, attending, completion, develop, halt, records, rehearse, run, status, unlock, watch  # noqa: F401
from runbook_lib.cli.group import cli
from runbook_lib.cli.visible import visible
from runbook_lib.errors import RunbookError
from runbook_lib.settings import surroundings

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line.

    A `RunbookError` is printed as its message alone, and its exit code becomes the process's.
    """
    surroundings.settle()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        typed = list(arguments) if arguments is not None else None
        name, variable = completion.program(), completion.VARIABLE
        cli.main(typed, prog_name=name, complete_var=variable, standalone_mode=False)
    except RunbookError as error:
        click.echo(_clean(str(error)), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(_clean(error.format_message()), err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except Exception:  # noqa: BLE001 - a mistake in this program, whose traceback may quote a secret
        click.echo(_clean(traceback.format_exc()), err=True)
        sys.exit(RunbookError.exit_code)
    sys.exit(0)


def _clean(message: str) -> str:
    """Return ``message`` with the secrets of all profiles redacted.

    A mistyped argument in the message may be a secret.
    """
    from runbook_lib.settings import profiles

    return visible(profiles.redactor_of_all().text(message))


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt("SIGTERM")
