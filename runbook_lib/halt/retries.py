"""Retry a halt's commands until the service accepts or finally refuses them. Record each command once.

Everything a halt sends leaves the same state however often it arrives (switches are set to a value, rows carry ids of
their own, a stopped machine stays stopped, orders only reduce). A command whose answer was lost can therefore be sent
again at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from runbook_lib.errors import ServiceError

if TYPE_CHECKING:
    from runbook_lib.commands.command import Command, Reply
    from runbook_lib.halt.state import Halting
    from runbook_lib.services.services import Services

TURN = 1.0  # seconds until a service that refused for now is asked again, unless it names a time
PAUSE = 0.3  # seconds until a service that did not answer, or is in trouble, is asked again
SHORTEST = 0.2  # seconds that any answer is given, also when the time is nearly over


def insist(
    services: Services, halting: Halting, part: str, command: Command, until: float, *, answer_by: float
) -> Reply:
    """Retry a halt's change until the service answers. Start no try later than ``until``.

    A refusal for now does not count as an answer, a lasting refusal does. The last try may be answered as late as
    ``answer_by``; both are seconds after the press. Raise the last `ServiceError` if no try was answered.
    """
    filled = command.filled(services.settings.lookup)
    halting.book.sending(part, services.shown(filled))
    return _again(services, halting, part, filled, until, answer_by=answer_by, change=True)


def look(
    services: Services, halting: Halting, part: str, command: Command, until: float, *, answer_by: float | None = None
) -> Reply:
    """Retry a halt's question until the service answers. Unlike a change, a question is not recorded.

    Raise `ServiceError` if the service refuses: a reply with an error has no rows, and would read as "none".
    """
    filled = command.filled(services.settings.lookup)
    reply = _again(
        services, halting, part, filled, until, answer_by=until if answer_by is None else answer_by, change=False
    )
    if reply.error is not None:
        raise ServiceError(reply.error)
    return reply


def _again(
    services: Services, halting: Halting, part: str, command: Command, until: float, *, answer_by: float, change: bool
) -> Reply:
    """Retry a halt's command until the service gives a lasting answer, or until the time is over."""
    send = services.change if change else services.look
    while True:
        seconds = max(SHORTEST, min(halting.limits.answer, answer_by - halting.now()))
        try:
            reply = send(command, within=seconds, tries=1)
        except ServiceError as error:
            if halting.now() >= until:
                raise
            trouble, spacing = str(error), PAUSE
        else:
            if not (reply.refused_for_now or reply.in_trouble) or halting.now() >= until:
                return reply
            trouble, spacing = str(reply.error), max(TURN, reply.again) if reply.refused_for_now else PAUSE
        halting.tell(part, f"waits: {trouble[:120]}")
        time.sleep(min(spacing, max(0.01, until - halting.now())))
