"""Define the project's errors: the kind of an error tells the operator what to do next.

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
    """The root of every error that this project raises on purpose."""

    exit_code = 1
    brief = ""  # replaces the message where the operator has already seen the message

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in place of a traceback: the message alone, as lines."""
        return [f"{type(self).__name__}: {self.brief or self}"]

    def told(self, brief: str) -> Self:
        """Return this error, to be printed as the short text ``brief``, because its full message was already shown."""
        self.brief = brief
        return self


class ConfigError(RunbookError):
    """The error for a parameter, profile or command line that is wrong; nothing was sent."""

    exit_code = 2


class ServiceError(RunbookError):
    """The error for a service that did not answer, or refused; ``sent`` says if the command may have taken effect."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


class StepFailed(RunbookError):
    """The error for a check whose expectation does not hold, or for an act that the service refused."""


class StepPending(RunbookError):
    """The error for a step that waits for a person or for an earlier step."""

    exit_code = 3


class StepUnknown(RunbookError):
    """The error for a command that was sent, and no answer tells whether it took effect."""

    exit_code = 4


class StepRefused(RunbookError):
    """The error for a command that the runbook declines to send."""

    exit_code = 2


class RecordError(RunbookError):
    """The error for a record that cannot be written, or does not verify."""


def cited(name: str) -> str:
    """Return a name that somebody typed as an error message shows it: quoted, on one line, cut if it is long."""
    return repr(name if len(name) <= CITED else f"{name[:CITED]}…")


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return advice that ends an error message: the choice most like ``name`` or, if none is like it, all choices."""
    known = sorted(choices)
    if not known:
        return "there is none to choose from"
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(known)}"
