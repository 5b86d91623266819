"""Sending what a halt sends: once on the record, again while a service says 429 or nothing.

Everything a halt sends leaves the same state however often it arrives (switches are set to a value, rows carry ids of
their own, a stopped machine stays stopped, orders only reduce), so that a lost answer is no reason to wait.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from runbook_lib.commands.command import Command, Reply
from runbook_lib.errors import ServiceError

if TYPE_CHECKING:
    from runbook_lib.halt.state import Board
    from runbook_lib.services.services import Services


TURN = 1.0  # seconds until a service that said 429 is asked again
PAUSE = 0.3  # seconds until one that did not answer is
TOO_MANY = 429
BROKEN = 500  # and above: the service is in trouble, the request may be right


def insist(services: Services, board: Board, part: str, command: Command, until: float) -> Reply:
    """Send a change until it is answered, at most until so many seconds after the press.

    Raise the last `ServiceError` when nobody answered. A refusal is an answer.
    """
    filled = command.filled(services.settings.lookup)
    board.book.sending(part, services.shown(filled))
    return again(services, board, part, filled, until, change=True)


def look(services: Services, board: Board, part: str, command: Command, until: float) -> Reply:
    """Send a look until it is answered; as `insist`, without a line in the record."""
    return again(services, board, part, command.filled(services.settings.lookup), until, change=False)


def again(services: Services, board: Board, part: str, command: Command, until: float, *, change: bool) -> Reply:
    """Send a filled command until it is answered with anything but 429 and 5xx."""
    while True:
        try:
            reply = services.change(command) if change else services.look(command)
            status = reply.status or 0
            trouble = reply.error if status == TOO_MANY or status >= BROKEN else None
        except ServiceError as error:
            if board.now() >= until:
                raise
            reply, status, trouble = Reply(), 0, str(error)
        if trouble is None or board.now() >= until:
            return reply
        board.tell(part, f"waits: {trouble[:120]}")
        time.sleep(min(TURN if status == TOO_MANY else PAUSE, max(0.01, until - board.now())))


class Purse:
    """What the venue lets one address spend on looks: a weight per request (facts 4.5: 1200 a minute)."""

    def __init__(self, full: float = 600.0, rate: float = 15.0) -> None:
        self._full, self._rate = full, rate
        self._left, self._at = full, time.monotonic()
        self._lock = threading.Lock()

    def pay(self, weight: float) -> None:
        """Wait until a request of this weight can be afforded."""
        with self._lock:
            now = time.monotonic()
            self._left = min(self._full, self._left + (now - self._at) * self._rate) - weight
            self._at = now
            debt = -self._left / self._rate
        if debt > 0:
            time.sleep(debt)
