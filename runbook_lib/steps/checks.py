"""Send a check's reading commands until its expectation holds. In rehearsal, prove that the expectation can fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from runbook_lib.commands.command import Command, Reply
from runbook_lib.commands.expectations import Expectation, Finding, judge
from runbook_lib.errors import ServiceError
from runbook_lib.steps.spoiling import emptied, outages, spoiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runbook_lib.services.services import Services

    Expect = Expectation | Sequence[Expectation]


@dataclass(frozen=True)
class Look:
    """One attempt of a check: the replies to all of its commands, and the expectation's finding about the replies."""

    replies: tuple[Reply, ...]
    finding: Finding
    commands: tuple[Command, ...] = ()


def look(
    services: Services,
    commands: Sequence[Command],
    expect: Expect,
    within: float,
    heard: Callable[[Finding], None],
) -> Look:
    """Send a check's commands until its expectation holds or its complaint is final, for at most ``within`` seconds.

    Return the last look: its replies and the finding. ``heard`` gets the finding of every look but the last. If
    ``expect`` is about a command that is not among ``commands``, nothing is sent: an empty answer does not say what was
    asked.
    """
    if unasked := astray(services, commands, expect):
        return Look((), unasked)
    looks = Retrying(
        stop=stop_after_delay(within),
        wait=wait_exponential(multiplier=0.05, max=0.5),
        retry=retry_if_result(lambda look: look.finding.complaint is not None and not look.finding.final),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        before_sleep=lambda state: heard(state.outcome.result().finding) if state.outcome else None,
    )
    last: Look = looks(_once, services, commands, expect)
    return last


def provable(seen: Look, expect: Expect) -> Finding:
    """Return the finding of a check. If spoiled replies show that the check proves nothing, return a complaint instead.

    A check cannot fail if it accepts every spoiled copy of its replies, each with one thing made wrong. The complaint
    also comes if the check accepts a body that a broken service sends in place of an answer. Such a check proves
    nothing.
    """
    for place, bad in emptied(seen.replies):
        if judge(expect, bad).complaint is None and not _of(expect, place).empty:
            words = f"this check takes an answer without anything in it, and does not declare it: command {place + 1}"
            return Finding(seen.finding.seen, words)
    for outage, bad in outages(seen.commands, seen.replies):
        if judge(expect, bad).complaint is None:
            return Finding(seen.finding.seen, f"this check takes an outage for an answer: {outage}")
    if any(judge(expect, bad).complaint for _, bad in spoiled(seen.replies)):
        return seen.finding
    return Finding(seen.finding.seen, "this check cannot fail: it accepts every spoiled copy of the replies")


def astray(services: Services, commands: Sequence[Command], expect: Expect) -> Finding | None:
    """Return a complaint if a check does not send every command that its expectation needs. Otherwise return None."""
    every = [expect] if isinstance(expect, Expectation) else expect
    about = [command.filled(services.settings.lookup) for expectation in every for command in expectation.about]
    missing = next((command for command in about if command not in commands), None)
    if missing is None:
        return None
    return Finding("", f"this check does not ask what it is about: {services.shown(missing)}", final=True)


def with_names(finding: Finding, services: Services, commands: Sequence[Command]) -> Finding:
    """Add to a check's complaint each name in its commands that the platform spells differently."""
    from runbook_lib.agentic_trading.contract_proof import misnamed  # noqa: PLC0415 - only what failed needs it

    try:
        lines = misnamed(services.look, commands)
    except ServiceError:  # the complaint stands without it
        return finding
    return replace(finding, complaint="\n".join([finding.complaint or "", *lines])) if lines else finding


def _of(expect: Expect, place: int) -> Expectation:
    """Return the expectation for the reply at index ``place``. A single expectation judges every reply."""
    return expect if isinstance(expect, Expectation) else expect[place]


def _once(services: Services, commands: Sequence[Command], expect: Expect) -> Look:
    try:
        replies = tuple(services.look(command) for command in commands)
    except ServiceError as error:
        return Look((), Finding("", str(error)))
    return Look(replies, judge(expect, replies), tuple(commands))
