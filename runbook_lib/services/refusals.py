"""Limit how often a refused password is tried again: a few times, seconds apart, counted per process.

A pooler blocks an address for two minutes after ten refused log-ins; for some seconds after a password was reset, it
may refuse even the new one. A program that tries a wrong password again and again locks everybody out.
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from runbook_lib.errors import ServiceError
from runbook_lib.settings.profiles import INCOMING

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = "password authentication failed"
BLOCKED = "ECIRCUITBREAKER"  # the pooler's word for an address that it has blocked
SPACING = 3.0  # seconds between two log-ins with one password
MINUTE = 60.0  # seconds after which a refusal is forgotten
LOCKED_OUT = 120.0  # seconds a pooler blocks an address
MOST = 2  # log-ins a minute with a password that is refused
MOST_INCOMING = 5  # the same for a password that a rotation has just set: the pooler learns of it late
Made = TypeVar("Made")


@dataclass
class _Credential:
    """The times (monotonic clock) at which log-ins with one password were refused."""

    most: int
    refused_at: list[float] = field(default_factory=list)
    words: str = ""

    def wait(self, now: float) -> float:
        """Return the seconds until a refused password may be tried again."""
        self.refused_at = [at for at in self.refused_at if now - at < MINUTE]
        if len(self.refused_at) >= self.most:
            return self.refused_at[0] + MINUTE - now
        return max(0.0, self.refused_at[-1] + SPACING - now) if self.refused_at else 0.0


class Refusals:
    """The count of refused log-ins in this process. It limits how often a password is tried again."""

    def __init__(self) -> None:
        self._credentials: dict[str, _Credential] = {}
        self._blocked: dict[str, tuple[float, str]] = {}  # host -> end of the block (monotonic), the pooler's words
        self._lock = threading.Lock()

    def guarded(self, host: str, variable: str, password: str, log_in: Callable[[], Made], patience: float) -> Made:
        """Log in. If the password is refused, try it once more after some seconds.

        ``patience`` is the longest wait, in seconds. If the next try must wait longer, because the password was refused
        too often or the pooler has blocked this machine, raise the `ServiceError` of the last refusal without trying.
        """
        tried_before = False
        until = time.monotonic() + patience
        while True:
            if blocked := self._still_blocked(host):
                raise ServiceError(blocked)
            credential = self._credential(host, variable, password)
            now = time.monotonic()
            wait = credential.wait(now)
            if wait and now + wait > until:
                raise ServiceError(credential.words)
            time.sleep(wait)
            try:
                return log_in()
            except ServiceError as error:
                self._take_note(host, credential, str(error))
                if REFUSED not in str(error) or tried_before:
                    raise
            tried_before = True

    def _credential(self, host: str, variable: str, password: str) -> _Credential:
        key = hashlib.sha256(f"{host}\0{password}".encode()).hexdigest()  # no password is kept beside its variable
        with self._lock:
            most = MOST_INCOMING if variable == INCOMING else MOST
            return self._credentials.setdefault(key, _Credential(most))

    def _take_note(self, host: str, credential: _Credential, words: str) -> None:
        now = time.monotonic()
        if REFUSED in words:
            credential.refused_at.append(now)
            credential.words = words
        if BLOCKED in words:
            self._blocked[host] = (now + LOCKED_OUT, words)

    def _still_blocked(self, host: str) -> str | None:
        until, words = self._blocked.get(host, (0.0, ""))
        left = until - time.monotonic()
        return f"{words}; not tried again for {left:.0f} s" if left > 0 else None


REFUSALS = Refusals()
