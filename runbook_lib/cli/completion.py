"""Complete the names that an operator types in a shell: notebooks, profiles, records, states and faults."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    Completer = Callable[[click.Context, click.Parameter, str], list[str]]

VARIABLE = "_RUNBOOK_COMPLETE"  # environment variable in which a shell asks what may come next


def program() -> str:
    """Return the program's name for use in messages.

    A shell that asks for completions knows the program without its path.
    """
    return "runbook" if VARIABLE in os.environ else "./runbook"


def _among(names: Callable[[], Iterable[str]]) -> Completer:
    """Return a completer, which offers the ``names`` that begin with the typed text."""

    def complete(_: click.Context, __: click.Parameter, typed: str) -> list[str]:
        return [name for name in names() if name.startswith(typed)]

    return complete


def _notebooks() -> Iterable[str]:
    from runbook_lib.records import plan

    return plan.notebooks()


def _profiles() -> Iterable[str]:
    from runbook_lib.settings import profiles

    return profiles.profiles()


def _records() -> Iterable[str]:
    from runbook_lib.records import record_folder

    return (record.name for record in record_folder.every(record_folder.records_root()))


def _states() -> Iterable[str]:
    from runbook_lib.rehearsal import states

    return states.STATES


def _faults() -> Iterable[str]:
    from runbook_lib.rehearsal import named_faults

    return named_faults.known()


notebook = _among(_notebooks)
profile = _among(_profiles)
record = _among(_records)
state = _among(_states)
fault = _among(_faults)
