"""Listen to the database's notifications in a thread, which reports a lost connection and then reconnects."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as compose

from runbook_lib.errors import ServiceError
from runbook_lib.services.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runbook_lib.settings.profiles import Settings


TURN = 0.25  # seconds between two looks at which channels are wanted
PROBE = 2.0  # seconds of silence after which the connection is asked whether it lives
AGAIN, SELDOM = 0.2, 5.0  # seconds between two tries to connect, at first and at most


class Listener:
    """A listener for the database's notifications. It runs in its own thread until it is closed.

    Its thread calls ``heard`` with each notification's channel. ``heard`` is also called with an empty text whenever
    the connection was made or lost. Notifications in between are missed, so the caller must then look into the tables:
    a notification is only a hint, the tables are the truth.
    """

    def __init__(self, settings: Settings, heard: Callable[[str], None]) -> None:
        self._database, self._heard = Database(settings, settings.redactor()), heard
        self._wanted: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self.state = "connects"  # then "listens since …", or "lost since …: why"
        self.made = 0  # connections made so far
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._thread.start()

    def follow(self, channels: Iterable[str]) -> None:
        """Listen to notifications on these channels too."""
        self._wanted |= frozenset(channels)

    def close(self) -> None:
        """Stop listening to notifications: end the thread and close its connection."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        delay = AGAIN
        while not self._ended.is_set():
            made = self.made
            try:
                with self._database.connect(read_only=True) as connection:
                    self.made += 1
                    self._tell("listens")
                    self._listen(connection)
            except (ServiceError, psycopg.Error, OSError) as error:
                self._tell("lost", f": {' '.join(str(error).split())}")
            delay = AGAIN if self.made > made else min(2 * delay, SELDOM)
            self._ended.wait(delay)

    def _tell(self, word: str, why: str = "") -> None:
        self.state = f"{word} since {datetime.now(UTC):%H:%M:%S} UTC{why}"
        self._heard("")

    def _listen(self, connection: psycopg.Connection[dict[str, Any]]) -> None:
        known: frozenset[str] = frozenset()
        probed = time.monotonic()
        while not self._ended.is_set():
            for channel in sorted(self._wanted - known):
                connection.execute(compose.SQL("listen {}").format(compose.Identifier(channel)))
            known |= self._wanted
            for notification in connection.notifies(timeout=TURN):
                self._heard(notification.channel)
            if time.monotonic() - probed > PROBE:  # a cut cable gives no error: only an answer proves the connection
                with self._database.limited(connection):
                    connection.execute("select 1")
                probed = time.monotonic()
