"""Send commands and return plain rows. All of the library reaches the platform through this module.

Every command has a time limit. A service that answers with an error gives a `Reply` with ``error``. If a service does
not answer, or its answer does not fit the command, `ServiceError` is raised, whose ``sent`` tells whether the command
may have taken effect. After a temporary refusal a look is sent again; a change is sent again only if the refusal proves
that the change was not made. Secrets are redacted here, before anything is cut to length, because half a secret would
not be recognised; fields that may carry secrets unknown to this process are dropped.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Command, Http, Login, Reply, RoundTrip, Series, Shell, Sql, Subscribe, Trial
from runbook_lib.errors import ServiceError, StepRefused
from runbook_lib.services import shell, variables
from runbook_lib.services.database import Database
from runbook_lib.services.http_calls import Web, authorization
from runbook_lib.services.plain_rows import plain
from runbook_lib.services.secret_fields import drop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.settings.profiles import Settings


TRIES = 3  # times a command is sent while a service refuses it for now
SHORTEST = 0.05  # seconds that any answer is given, even if a pause ended later than it should
SPACING = 0.3  # seconds between two tries, unless the service names more


class Services:
    """A profile's database, HTTP services and shell, to which commands are sent."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._redact = settings.redactor()
        self.database = Database(settings, self._redact)
        self._web = Web(settings, self._redact)

    def close(self) -> None:
        """Close the connections to every service and to the database."""
        self.database.close()
        self._web.close()

    def look(self, command: Command, *, within: float | None = None, tries: int = TRIES) -> Reply:
        """Send a command that only reads.

        Raise `StepRefused`, before anything is sent, if the command might change something. Ask again after a temporary
        refusal or a lost answer, ``tries`` times at most; all tries together take at most ``within`` seconds, by
        default the profile's time for one answer.
        """
        self.refuse_change(command)
        until = time.monotonic() + (within or self.settings.budgets.answer)
        while True:
            tries -= 1
            try:
                reply = self._send(command, max(SHORTEST, until - time.monotonic()), read_only=True)
            except ServiceError:
                if not isinstance(command, Http | Sql) or not self._again(SPACING, tries, until):
                    raise
                continue
            trouble = reply.refused_for_now or reply.in_trouble
            if not (trouble and self._again(max(SPACING, reply.again), tries, until)):
                return reply

    @staticmethod
    def _again(spacing: float, tries: int, until: float) -> bool:
        """Wait ``spacing`` seconds, then return True if the command may be sent again.

        If no try or no time is left, return False at once.
        """
        if tries <= 0 or time.monotonic() + spacing >= until:
            return False
        time.sleep(spacing)
        return True

    def refuse_change(self, command: Command) -> None:
        """Raise `StepRefused` if a command may change something. Nothing is sent.

        SQL that writes is not refused here, because Postgres refuses it in a read-only transaction.
        """
        for part in command.commands if isinstance(command, Series) else ():
            self.refuse_change(part)
        if isinstance(command, Http | Shell) and not command.read_only:
            raise StepRefused(
                f"a check only looks: {command.text().splitlines()[0]!r} may change something; "
                "make it an act, or declare reads=True if it really changes nothing"
            )
        self.refuse_control(command)

    def refuse_control(self, command: Command, *, changes: bool = False) -> None:
        """Raise `StepRefused` if a command's SQL would leave its transaction.

        This comes before a service gets the command.
        """
        for statement in _parts(command):
            if isinstance(statement, Sql):
                statement.refuse_control(changes=changes)

    def change(self, command: Command, *, within: float | None = None, tries: int = TRIES) -> Reply:
        """Send a command that may change something. Send it again only if it was certainly not carried out.

        The command is sent ``tries`` times at most.
        """
        self.refuse_control(command, changes=True)
        until = time.monotonic() + (within or self.settings.budgets.answer)
        while True:
            tries -= 1
            reply = self._send(command, max(SHORTEST, until - time.monotonic()), read_only=False)
            # A series may have been carried out in part, and a person who declines means it: neither is sent again.
            refused = reply.refused_for_now and isinstance(command, Http) and command.service != "person"
            if not (refused and self._again(max(SPACING, reply.again), tries, until)):
                return reply

    def shown(self, command: Command) -> str:
        """Return a command of any kind as text, as it is sent.

        The text can be pasted into psql or a shell.
        """
        if isinstance(command, Http):
            service = self.settings.service(command.service)
            return self._scoped(command).text(service.url, authorization(service))
        if isinstance(command, Series) and command.commands:
            return "\n".join(map(self.shown, command.commands))
        return command.text()

    def _send(self, command: Command, seconds: float, *, read_only: bool) -> Reply:
        started, clock = time.time(), time.perf_counter()
        match command:
            case Sql():
                reply = self._queried(command, seconds, read_only=read_only)
            case Trial():
                reply = self.database.change(command.statements, seconds, keep=False)
            case Subscribe():
                from runbook_lib.services import websocket  # noqa: PLC0415 - only the doctor needs it; a halt does not

                url = self.settings.service(command.service).url
                reply = Reply(tuple(websocket.subscribe(url, command.subscriptions, command.within)))
            case Http():
                proof = None if read_only else self.database.prove_writing
                reply = self._web.request(self._scoped(command), seconds, proof)
            case Shell():
                if not read_only:
                    self.database.prove_writing()
                reply = shell.run(
                    command,
                    self.settings.budgets.build,
                    self._redact,
                    variables.of_a_child(command.line, self.settings),
                )
            case RoundTrip():
                reply = self.database.round_trip(command)
            case Login():
                reply = self.database.log_in(command)
            case Series():
                reply = self._each(command, read_only=read_only)
        took = time.perf_counter() - clock
        rows = tuple(self._redact.value(drop(plain(row), self._redact.shown)) for row in reply.rows)
        return replace(reply, rows=rows, at=started + took / 2, seconds=took)

    def _queried(self, command: Sql, seconds: float, *, read_only: bool) -> Reply:
        if read_only:
            return self.database.look([command], seconds)
        return self.database.change([command], seconds, keep=True)

    def _scoped(self, command: Http) -> Http:
        """Return the request with the query parameters that every request to its service needs.

        The shown request then equals the sent one.
        """
        return replace(command, query={**command.query, **self.settings.query(command.service)})

    def _each(self, command: Series, *, read_only: bool) -> Reply:
        """Send the commands of a series one after another until a service refuses one.

        Raise `ServiceError` if an answer is lost; its ``sent`` is then true if any earlier command was sent.
        """
        rows: list[dict[str, Any]] = []
        status = None
        for number, part in enumerate(command.commands, 1):
            place = f"{number} of {len(command.commands)}"
            try:
                reply = self.look(part) if read_only else self.change(part)
            except ServiceError as error:
                raise ServiceError(f"{place}: {error}", sent=error.sent or number > 1) from None
            rows += reply.rows
            status = reply.status
            if reply.error is not None:
                return Reply(tuple(rows), status, f"{place}: {reply.error}")
        return Reply(tuple(rows), status)


def _parts(command: Command) -> Sequence[Command]:
    """Return the statements or requests that make up a command."""
    match command:
        case Trial():
            return command.statements
        case Series():
            return command.commands
    return (command,)
