"""Define the project's errors. The kind of an error tells the operator what to do next.

RunbookError
├── ConfigError     correct a parameter, a profile or the command line; nothing was sent
├── ServiceError    an outside service did not answer, or answered with an error
├── StepFailed      the platform is not as it should be: read the fix text
├── StepPending     a person, an earlier step or an answer is awaited
├── StepUnknown     a command was sent and no answer tells whether it took effect
├── StepRefused     the runbook will not do this (a write in a check, an act the profile does not name)
└── RecordError     a record cannot be written, or does not verify
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "RecordError",
    "RunbookError",
    "ServiceError",
    "StepFailed",
    "StepPending",
    "StepRefused",
    "StepUnknown",
    "cited",
    "nearest",
]


CITED = 80  # characters of a name that an error message shows


class RunbookError(Exception):
    """The base class of every error that this project raises on purpose."""

    exit_code = 1
    brief = ""  # replaces the message where the operator has already seen the message

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback: only the error's message."""
        return [f"{type(self).__name__}: {self.brief or self}"]

    def told(self, brief: str) -> Self:
        """Return this error with the short text ``brief`` to print, because its full message was shown before."""
        self.brief = brief
        return self


class ConfigError(RunbookError):
    """The error for a wrong parameter, profile or command line. Nothing was sent."""

    exit_code = 2


class ServiceError(RunbookError):
    """The error for a service that did not answer or refused. ``sent`` says whether the command may have taken
    effect.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class StepFailed(RunbookError):
    """The error for a check whose expectation does not hold, or for an act that the service refused."""


class StepPending(RunbookError):
    """The error for a step that waits for a person or for an earlier step."""

    exit_code = 3


class StepUnknown(RunbookError):
    """The error for a command that was sent and whose answer was lost: it may or may not have taken effect."""

    exit_code = 4


class StepRefused(RunbookError):
    """The error for a command that the runbook refuses to send."""

    exit_code = 2


class RecordError(RunbookError):
    """The error for a record that cannot be written or does not verify."""


def cited(name: str) -> str:
    """Return text that somebody typed, in the form for an error message: quoted, on one line, shortened if long."""
    return repr(name if len(name) <= CITED else f"{name[:CITED]}…")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return the end of an error message: the choice that is most like ``name``, or all choices if none is like it."""
    known = sorted(choices)
    if not known:
        return "there is none to choose from"
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}"
