"""Send alarms to people through apprise. After each quiet round of a watch, call a dead man's service.

A dead man's service alerts people when these calls stop.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.services.http_calls import ping

if TYPE_CHECKING:
    from apprise import Apprise

    from runbook_lib.settings.profiles import Settings

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PING = 5.0  # seconds the dead man's service may take to answer
logging.getLogger("apprise").addHandler(logging.NullHandler())  # what it would print could hold a token
logging.getLogger("apprise").propagate = False


class Alerts:
    """The alert targets of a profile. A target counts only if its environment variable is set.

    The methods block, so call them from a thread.
    """

    def __init__(self, settings: Settings) -> None:
        """Open every alert target once, so that a wrong address is found before the watch begins.

        Raise `ConfigError`, naming the variable, if apprise refuses the address in it, or if this is a rehearsal and
        the address is not on this machine.
        """
        self._clean = settings.redactor().text
        self._deadman = settings.deadman.url if settings.deadman else None
        self.targets = {name: settings.variable(name) for name in settings.alerts.targets if settings.has(name)}
        for name, address in self.targets.items():
            if settings.kind == "rehearsal" and urlsplit(address).hostname not in LOOPBACK:
                raise ConfigError(f"environment variable {name}: a rehearsal alerts this machine only")
            _opened(name, address)

    def send(self, title: str, body: str) -> str | None:
        """Send an alert to every target.

        Return a text that names the targets that did not take it, or None if all did.
        """
        title, body = self._clean(title), self._clean(body)
        failed = [name for name, address in self.targets.items() if not _opened(name, address).notify(body, title)]
        return f"not delivered to {', '.join(failed)}" if failed else None

    def alive(self) -> str | None:
        """Call the profile's dead man's service. A watch does this after a round that leaves no alarm open.

        Return an error or None.
        """
        try:
            if self._deadman:
                ping(self._deadman, PING)
        except ServiceError as error:
            return str(error)
        return None


def _opened(name: str, address: str) -> Apprise:
    import apprise  # noqa: PLC0415 - half a second that only a watch pays

    target = apprise.Apprise()
    if not target.add(address):
        raise ConfigError(f"environment variable {name}: apprise cannot take this address, see its list of services")
    return target
