"""Recognise old answers: compare the time that an answer states, its ``Date`` or ``Age``, with the service's clock."""

from __future__ import annotations

import threading
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SLACK = 5.0  # seconds an answer may be behind its service's clock: blocks and proxies delay it
APART = 60.0  # seconds between a service's clock and ours beyond which the age of its answers is unknown


class ServiceClock:
    """The clock of a service, estimated from its freshest answer in this run.

    Old answers are recognised by this clock.
    """

    def __init__(self) -> None:
        self._offset: float | None = None  # seconds its clock is ahead of ours
        self._lock = threading.Lock()

    def complaint(self, headers: Mapping[str, str], moment: float | None, asked: float, received: float) -> str | None:
        """Return why a service's answer is too old. Return None if the answer is fresh.

        ``moment`` is the time that the answer itself names; ``asked`` and ``received`` are times of this machine. All
        three are epoch seconds.
        """
        age, date = _seconds(headers.get("age")), _date(headers.get("date"))
        if age is not None and age > received - asked + 1.0:
            return f"it was made {age:.0f} s ago (its Age)"
        if date is not None and (late := self._behind(date, received)) is not None:
            return f"it was made {late:.0f} s before it came, by its Date and this machine's clock"
        if moment is None:
            return None
        now = date if date is not None else received + (self._offset or 0.0)
        if not -APART <= now - moment <= SLACK:
            return f"its own time is {now - moment:.0f} s before the service's clock"
        return None

    def _behind(self, date: float, received: float) -> float | None:
        """Return how many seconds an answer is behind the freshest answer of its service.

        Up to `SLACK` seconds, return None.
        """
        ahead = date - received
        with self._lock:
            self._offset = ahead if self._offset is None else max(self._offset, ahead)
            late = max(self._offset, -APART + SLACK) - ahead
        return late if late > SLACK else None


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.strip().isdigit() else None


def _date(header: str | None) -> float | None:
    try:
        return parsedate_to_datetime(header).timestamp() if header else None
    except ValueError:
        return None
