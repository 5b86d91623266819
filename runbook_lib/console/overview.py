"""Read what the console shows: all deployments, the log of some deployments, and the ticks of one deployment.

It changes nothing, and uses the profile's read-only role where there is one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import deployment_queries
from runbook_lib.errors import ServiceError
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from runbook_lib.commands.command import Sql
    from runbook_lib.settings.profiles import Settings

Row = dict[str, Any]
COSTS = 30.0  # seconds between two sums of the month: they read every tick of it
LINES = 200  # of the log


@dataclass(frozen=True)
class Overview:
    """What one read of the database gave the console: deployments, newest log entries, and one deployment's ticks.

    ``rows`` have the columns of `every_deployment`, with ``month_usd`` and ``unpriced``. ``began`` is when the read
    began, on the monotonic clock: the data is no older than that.
    """

    rows: Sequence[Row]
    log: Sequence[Row]
    ticks: Sequence[Row]
    at: datetime
    seconds: float
    focus: str = ""  # the deployment the ticks are of
    began: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Return the seconds since this overview's read of the database began."""
        return time.monotonic() - self.began


@dataclass
class Reader:
    """A reader of the console's overview, with its own database connection. It makes one read at a time."""

    settings: Settings
    _services: Services = field(init=False)
    _costs: dict[str, Row] = field(default_factory=dict, init=False)
    _summed: float = field(default=float("-inf"), init=False)
    _reading: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        self._services = Services(self.settings)

    def read(self, chosen: Iterable[str] = (), level: str = "info", *, routine: bool = True) -> Overview:
        """Read the console's overview from the database once, and return it.

        The log is of the deployments ``chosen``, or of all deployments if none is chosen. The ticks are of the first
        chosen deployment, or of the deployment that ticked last. Raise `ServiceError` if the database does not answer,
        or refuses.
        """
        with self._reading:
            return self._read(list(chosen), level, routine=routine)

    def close(self) -> None:
        """Close the overview's database connection when the present read has ended."""
        with self._reading:
            self._services.close()

    def _read(self, chosen: Sequence[str], level: str, *, routine: bool) -> Overview:
        at, began = datetime.now(UTC), time.monotonic()
        rows = self._rows(deployment_queries.every_deployment(self.settings.budgets.heartbeat))
        ids = [row["id"] for row in rows]
        wanted = [deployment for deployment in chosen if deployment in ids]
        if time.monotonic() - self._summed > COSTS or set(ids) - self._costs.keys():
            self._sum(ids)
        rows = [{**row, **self._costs.get(row["id"], {"month_usd": None, "unpriced": 0})} for row in rows]
        entries = deployment_queries.newest_entries(wanted or ids, level, LINES, routine=routine)
        log = self._rows(entries) if ids else []
        focus = (wanted or _newest(rows) or [""])[0]
        ticks = self._rows(deployment_queries.ticks_this_month(focus)) if focus else []
        return Overview(rows, log, ticks, at, time.monotonic() - began, focus, began)

    def _sum(self, ids: Sequence[str]) -> None:
        self._costs = {deployment: {"month_usd": 0.0, "unpriced": 0} for deployment in ids}
        self._costs |= (
            {row.pop("id"): row for row in self._rows(deployment_queries.spent_this_month(ids))} if ids else {}
        )
        self._summed = time.monotonic()

    def _rows(self, command: Sql) -> list[Row]:
        reply = self._services.look(command)
        if reply.error:
            raise ServiceError(f"database: {reply.error}")
        return [dict(row) for row in reply.rows]


def _newest(rows: Sequence[Row]) -> list[str]:
    """Return a list with the id of the deployment that ticked last. If no deployment has ticked, the list is empty."""
    ticked = [row for row in rows if row["tick_at"]]
    return [max(ticked, key=lambda row: row["tick_at"])["id"]] if ticked else []
