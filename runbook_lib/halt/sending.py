"""Sending what a halt sends: once on the record, again while a service refuses for now or says nothing.

Everything a halt sends leaves the same state however often it arrives (switches are set to a value, rows carry ids of
their own, a stopped machine stays stopped, orders only reduce), so that a lost answer is no reason to wait.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from runbook_lib.errors import ServiceError

if TYPE_CHECKING:
    from runbook_lib.commands.command import Command, Reply
    from runbook_lib.halt.state import Halting
    from runbook_lib.services.services import Services

TURN = 1.0  # seconds until a service that refused for now is asked again, unless it says how many
PAUSE = 0.3  # seconds until one that did not answer, or is in trouble, is
SHORTEST = 0.2  # seconds one answer may take at least, also when the time is nearly over


def insist(services: Services, halting: Halting, part: str, command: Command, until: float, *, whole: float) -> Reply:
    """Send a change until it is answered, at most until so many seconds after the press.

    The last answer is waited for until ``whole``: a late one is used. Raise the last `ServiceError` when nobody
    answered. A refusal that is not for now is an answer.
    """
    filled = command.filled(services.settings.lookup)
    halting.book.sending(part, services.shown(filled))
    return _again(services, halting, part, filled, until, whole=whole, change=True)


def look(
    services: Services, halting: Halting, part: str, command: Command, until: float, *, whole: float | None = None
) -> Reply:
    """Send a look until it is answered; as `insist`, without a line in the record.

    Raise `ServiceError` for a refusal too: a reply with an error has no rows, and would read as "none".
    """
    filled = command.filled(services.settings.lookup)
    reply = _again(services, halting, part, filled, until, whole=until if whole is None else whole, change=False)
    if reply.error is not None:
        raise ServiceError(reply.error)
    return reply


def _again(
    services: Services, halting: Halting, part: str, command: Command, until: float, *, whole: float, change: bool
) -> Reply:
    """Send a filled command until it is answered with anything but a refusal for now, or trouble."""
    send = services.change if change else services.look
    while True:
        seconds = max(SHORTEST, min(halting.limits.answer, whole - halting.now()))
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


class Purse:
    """What the venue lets one address spend on looks: a weight per request (facts 4.5: 1200 a minute)."""

    def __init__(self, full: float = 1150.0, rate: float = 19.0) -> None:
        self._full, self._rate = full, rate
        self._left, self._at = full, time.monotonic()
        self._lock = threading.Lock()
        self.spent = 0.0

    def pay(self, weight: float, within: float) -> None:
        """Wait until a request of this weight can be afforded; raise `ServiceError` if that is not within seconds."""
        with self._lock:
            now = time.monotonic()
            left = min(self._full, self._left + (now - self._at) * self._rate) - weight
            debt = max(0.0, -left / self._rate)
            if debt > within:
                raise ServiceError(f"not asked: the venue's limit lets us ask again in {debt:.0f} s only")
            self._left, self._at = left, now
            self.spent += weight
        time.sleep(debt)
