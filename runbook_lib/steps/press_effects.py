"""Find the effects of pressing an act's button: the acknowledgement, the change on the platform, and what the venue
shows.

Each effect is a ``lamp`` event in the ledger, which `past_presses` reads as a status lamp of the button.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import runner_commands, venue_answers
from runbook_lib.commands.command import Http, Reply
from runbook_lib.errors import ServiceError
from runbook_lib.records import history
from runbook_lib.records.past_presses import Lamp, later

if TYPE_CHECKING:
    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.services.services import Services
    from runbook_lib.steps.acts import Act

LONGEST = 5.0  # seconds after which the next step has to look: a press must not hold the kernel
PAUSE = 0.05  # seconds between two looks


def follow(act: Act, services: Services, record: Record) -> None:
    """Write to the ledger which effects of a press were seen. The act stays passed even if no effect was seen."""
    following = Following(act, services, record)
    if runner_commands.aimed_at(act.command):
        following.of_a_runner()
    else:
        following.of_a_service()


class Following:
    """The writer of a press's effects. It writes a lamp to the ledger for each effect, once the effect is known."""

    def __init__(self, act: Act, services: Services, record: Record) -> None:
        self.act, self.services, self.record = act, services, record
        self.sent = _sent(record, act.number)
        if self.sent is None:
            self.write(Lamp("sent", False, note="nothing: it was so already"))

    def write(self, lamp: Lamp) -> None:
        self.record.ledger.append(
            "lamp",
            step=self.act.number,
            lamp=lamp.name,
            lit=lamp.lit,
            time=lamp.at,
            milliseconds=lamp.milliseconds,
            note=lamp.note,
        )

    def lit(self, name: str, milliseconds: float | None, note: str = "") -> None:
        """Write the lamp of a press's effect, which was seen ``milliseconds`` after the press was sent.

        The lamp is unlit if nothing was sent or seen.
        """
        if self.sent is None or milliseconds is None:
            self.write(Lamp(name, False, note=note))
        else:
            self.write(Lamp(name, True, later(self.sent["at"], milliseconds), milliseconds, note))

    # --- an act that a service carries out ------------------------------------------------------------------------

    def of_a_service(self) -> None:
        """Write the effects of a press whose act is carried out by a service such as Fly, instead of by a runner.

        The lamp "acknowledged" shows when the service answered; the lamp "effect" shows whether the act's proof has
        rows.
        """
        replies = history.read(self.record).outcomes()[self.act.number].get("replies", ())
        answered = replies[0]["seconds"] * 1000 if self.sent and replies else None
        self.lit("acknowledged", answered, "" if answered is not None else "no answer was needed")
        if self.act.proof is None:
            self.write(Lamp("effect", False, note="the next step looks"))
        else:
            proof = self.look(self.act.proof)
            shown = isinstance(proof, Reply) and bool(proof.rows)
            self.write(_seen("effect", "the proof shows it" if shown else f"not proven: {_why(proof)}", lit=shown))
        self.write(Lamp("venue", False, note="not touched"))

    def look(self, command: Any) -> Reply | str:
        """Send a command that reads an effect of a press. Return the reply, or the error as text."""
        try:
            reply = self.services.look(command)
        except ServiceError as error:
            return str(error)
        return reply.error or reply

    # --- a command to a runner ------------------------------------------------------------------------------------

    def of_a_runner(self) -> None:
        """Write the effects of pressing the button of a runner command.

        They are the runner's acknowledgement, what the runner did, and what the venue shows. The times are measured by
        the database's clock.
        """
        kind, deployment = runner_commands.aimed_at(self.act.command) or ("", "")
        row, why = self._until_done(kind, deployment)
        if kind == runner_commands.KILL:
            self.write(Lamp("acknowledged", False, note="never: the process ends at once"))
        elif not row or not runner_commands.acknowledged(row):
            self.write(Lamp("acknowledged", None, note=f"not within {LONGEST:g} s{why}"))
        else:
            self.lit("acknowledged", row["seconds"] * 1000)
        if row and runner_commands.took_effect(kind, row):
            self.lit("effect", row["age"] * 1000, runner_commands.effect(kind, row))
        else:
            self.write(Lamp("effect", None, note=f"not within {LONGEST:g} s, the next step looks"))
        self._venue(row)

    def _until_done(self, kind: str, deployment: str) -> tuple[dict[str, Any], str]:
        """Read the runner command's row until the command took effect, for at most `LONGEST` seconds.

        Return the last row that was read, and the error that ended the looking, empty if there was none.
        """
        key = self.act.command.values["key"]  # type: ignore[union-attr]
        state = runner_commands.sent_state([kind], [deployment], keys=[key])
        row: dict[str, Any] = {}
        deadline = time.monotonic() + LONGEST
        while True:
            reply = self.look(state)
            if isinstance(reply, str):
                return row, f": {reply}"
            row = dict(reply.rows[0]) if reply.rows else row
            if (row and runner_commands.took_effect(kind, row)) or time.monotonic() > deadline:
                return row, ""
            time.sleep(PAUSE)

    def _venue(self, row: dict[str, Any]) -> None:
        if row.get("broker") != runner_commands.LIVE_BROKER:
            self.write(Lamp("venue", False, note="paper, nothing there"))
            return
        if not row["wallet"]:
            self.write(Lamp("venue", None, note="wallet unknown"))
            return
        account = {"type": "clearinghouseState", "user": row["wallet"]}
        answer = self.look(Http("hyperliquid", "POST", "/info", json=account, reads=True))
        if isinstance(answer, str) or not answer.rows:
            self.write(Lamp("venue", None, note=f"cannot be read: {_why(answer)}"))
            return
        held = answer.rows[0].get("assetPositions")
        if not isinstance(held, list):  # an answer without positions is not an answer that there are none
            self.write(Lamp("venue", None, note="cannot be read: the answer tells of no positions"))
            return
        self.write(_seen("venue", ", ".join(map(venue_answers.held, held)) or "flat in the main book"))


def _seen(name: str, note: str, *, lit: bool = True) -> Lamp:
    """Return the lamp that shows an effect of a press.

    If ``lit`` is true, the lamp is lit and has the current time. Otherwise the lamp is unknown and has no time.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06d}Z"
    return Lamp(name, True, at, note=note) if lit else Lamp(name, None, note=note)


def _why(reply: Reply | str) -> str:
    return reply if isinstance(reply, str) else "no row"


def _sent(record: Record, number: str) -> Event | None:
    """Return the ``sending`` event after the newest press of a step's button.

    Return None if that press sent nothing.
    """
    sending: Event | None = None
    for event in record.ledger.events():
        if event.get("step") == number and event["event"] in ("pressed", "sending"):
            sending = event if event["event"] == "sending" else None
    return sending
