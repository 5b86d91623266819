"""Send commands and return plain rows: the only module that touches the outside.

Every command has a time limit. A service that answers with an error gives a `Reply` with ``error``; one that does not
answer raises `ServiceError`, whose ``sent`` tells whether the command may have taken effect. Secrets are redacted here,
before anything is cut to length, for half a secret would not be recognised any more; fields that may carry secrets this
process does not know are dropped.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Command, Http, Login, Reply, RoundTrip, Series, Shell, Sql, Subscribe, Trial
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services import shell
from runbook_lib.services.database import Database, Lock
from runbook_lib.services.plain_rows import plain
from runbook_lib.services.secret_fields import drop
from runbook_lib.services.web import Web, authorization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.settings.profiles import Settings

__all__ = ["Lock", "Services"]


class Services:
    """The outside, as a profile addresses it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._redact = settings.redactor()
        self.database = Database(settings, self._redact)
        self._web = Web(settings, self._redact)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()
        self._web.close()

    def look(self, command: Command) -> Reply:
        """Send a command that changes nothing; raise `StepRefused` before sending if it might."""
        self.refuse_change(command)
        return self._send(command, read_only=True)

    def refuse_change(self, command: Command) -> None:
        """Raise `StepRefused` for what a look must not send. Of SQL, Postgres itself refuses the rest."""
        for one in command.commands if isinstance(command, Series) else ():
            self.refuse_change(one)
        if isinstance(command, Http | Shell) and not command.read_only:
            raise StepRefused(
                f"a check only looks: {command.text().splitlines()[0]!r} may change something; "
                "make it an act, or declare reads=True if it really changes nothing"
            )
        self.refuse_control(command)

    def refuse_control(self, command: Command, *, changes: bool = False) -> None:
        """Raise `StepRefused` for SQL that would leave its transaction."""
        for statement in _parts(command):
            if isinstance(statement, Sql):
                statement.refuse_control(changes=changes)

    def change(self, command: Command) -> Reply:
        """Send a command that may change something, once."""
        self.refuse_control(command, changes=True)
        return self._send(command, read_only=False)

    def shown(self, command: Command) -> str:
        """The command as text that can be pasted into psql or a shell."""
        if isinstance(command, Http):
            service = self.settings.service(command.service)
            return command.text(service.url, authorization(service))
        if isinstance(command, Series) and command.commands:
            return "\n".join(self.shown(one) for one in command.commands)
        return command.text()

    def _send(self, command: Command, *, read_only: bool) -> Reply:
        started, clock = time.time(), time.perf_counter()
        match command:
            case Sql():
                reply = self.database.look([command]) if read_only else self.database.change([command], keep=True)
            case Trial():
                reply = self.database.change(command.statements, keep=False)
            case Subscribe():
                from runbook_lib.services import websocket  # noqa: PLC0415 - only the doctor asks: a halt starts without

                url = self.settings.service(command.service).url
                reply = Reply(tuple(websocket.subscribe(url, command.subscriptions, command.within)))
            case Http():
                reply = self._web.request(command)
            case Shell():
                reply = shell.run(command, self.settings.budgets.build, self._redact)
            case RoundTrip():
                reply = self.database.round_trip(command)
            case Login():
                reply = self.database.log_in(command)
            case Series():
                reply = self._each(command, read_only=read_only)
        seconds = time.perf_counter() - clock
        return Reply(
            tuple(self._redact.value(drop(plain(row))) for row in reply.rows),
            reply.status,
            reply.error,
            reply.text,
            started + seconds / 2,
            seconds,
        )

    def _each(self, command: Series, *, read_only: bool) -> Reply:
        """Send one after another, until one is refused; nobody knows what became of those before a lost answer."""
        found: list[dict[str, Any]] = []
        status = None
        for number, one in enumerate(command.commands, 1):
            place = f"{number} of {len(command.commands)}"
            try:
                reply = self._send(one, read_only=read_only)
            except ServiceError as error:
                raise ServiceError(f"{place}: {error}", sent=error.sent or number > 1) from None
            found += reply.rows
            status = reply.status
            if reply.error is not None:
                return Reply(tuple(found), status, f"{place}: {reply.error}")
        return Reply(tuple(found), status)


def _parts(command: Command) -> Sequence[Command]:
    """The statements and requests a command is made of."""
    match command:
        case Trial():
            return command.statements
        case Series():
            return command.commands
    return (command,)
