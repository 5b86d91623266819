"""What a press has brought about, looked up once it was answered: acknowledged by whom, proven how, and at the venue.

Each finding is a line in the ledger, the four lamps of ``lamps``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.commands.command import Http, Reply, Sql, sql
from runbook_lib.errors import ServiceError
from runbook_lib.records import history
from runbook_lib.records.presses import Lamp, later

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.records.ledger import Event, Record
    from runbook_lib.services.services import Services
    from runbook_lib.steps.acts import Act

__all__ = ["deployment", "follow", "kind"]

WATCH = 5.0  # seconds after which the next step has to look: a press must not hold the kernel
PAUSE = 0.05  # seconds between two looks
# What each command to a runner brings about, in the columns of STATE.
EFFECTS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "pause": lambda row: row["status"] == "paused",
    "resume": lambda row: row["status"] == "running",
    "clear_halt": lambda row: row["status"] != "halted",
    "flatten": lambda row: row["positions"] == 0,
    "stop": lambda row: row["status"] == "stopped",
    "kill": lambda row: row["status"] in ("stopped", "error"),
    "snapshot": lambda row: bool(row["written_after"]),
}
STATE = """
    select c.created_at, c.acked_at, extract(epoch from c.acked_at - c.created_at) as seconds,
           extract(epoch from clock_timestamp() - c.created_at) as age, d.status, d.broker_kind,
           jsonb_array_length(coalesce(s.positions, '[]')) as positions, s.updated_at >= c.created_at as written_after
    from public.agent_commands c
    join public.deployments d on d.id = c.deployment_id
    left join public.agent_state s on s.deployment_id = d.id
    where c.id = md5(%(key)s::text || %(deployment)s::text)::uuid
"""
WALLET = """
    select w.address from public.deployments d
    join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
    join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
    where d.id = %(deployment)s
"""


def deployment(command: Any) -> str | None:
    """The deployment a command is for, if it is one to a runner."""
    values = command.values if isinstance(command, Sql) else {}
    return str(values["deployment"]) if {"key", "kind", "deployment"} <= values.keys() else None


def kind(command: Any) -> str:
    """What a command tells a runner to do; nothing if it is not one to a runner."""
    return str(command.values["kind"]) if deployment(command) else ""


def follow(act: Act, services: Services, record: Record) -> None:
    """Write down what can be seen of an act that has passed; what cannot be seen is said, and decides nothing."""
    found = Following(act, services, record)
    if deployment(act.command):
        found.of_a_runner()
    else:
        found.of_a_service()


class Following:
    """The lamps of one act, written into the ledger as they light."""

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
        """A lamp that lights so many milliseconds after the sending."""
        if self.sent is None or milliseconds is None:
            self.write(Lamp(name, False, note=note))
        else:
            self.write(Lamp(name, True, later(self.sent["at"], milliseconds), milliseconds, note))

    # --- an act that a service carries out ------------------------------------------------------------------------

    def of_a_service(self) -> None:
        """Acknowledged by the answer; the effect is what the act's own proof shows."""
        replies = history.read(self.record).outcomes()[self.act.number].get("replies", ())
        answered = replies[0]["seconds"] * 1000 if self.sent and replies else None
        self.lit("acknowledged", answered, "" if answered is not None else "no answer was needed")
        if self.act.proof is None:
            self.write(Lamp("effect", False, note="the next step looks"))
        else:
            found = self.look(self.act.proof)
            shown = isinstance(found, Reply) and bool(found.rows)
            self.write(_seen("effect", "the proof shows it" if shown else f"not proven: {_words(found)}", lit=shown))
        self.write(Lamp("venue", False, note="not touched"))

    def look(self, command: Any) -> Reply | str:
        """The reply, or why there is none."""
        try:
            found = self.services.look(command)
        except ServiceError as error:
            return str(error)
        return found.error or found

    # --- a command to a runner ------------------------------------------------------------------------------------

    def of_a_runner(self) -> None:
        """Acknowledged by the runner, on the database's clock; the effect is its status or what it holds."""
        row, why = self._until_done()
        kind = self.act.command.values["kind"]  # type: ignore[union-attr]
        if row.get("seconds") is None:
            self.write(Lamp("acknowledged", None, note=f"not within {WATCH:g} s{why}"))
        else:
            self.lit("acknowledged", row["seconds"] * 1000)
        if row and EFFECTS[kind](row):
            self.lit("effect", row["age"] * 1000, _effect(kind, row))
        else:
            self.write(Lamp("effect", None, note=f"not within {WATCH:g} s, the next step looks"))
        self._venue(row)

    def _until_done(self) -> tuple[dict[str, Any], str]:
        """The first row in which the command has taken effect, or the last one seen."""
        values = self.act.command.values  # type: ignore[union-attr]
        state = sql(STATE, key=values["key"], deployment=values["deployment"])
        row: dict[str, Any] = {}
        deadline = time.monotonic() + WATCH
        while True:
            found = self.look(state)
            if isinstance(found, str):
                return row, f": {found}"
            row = dict(found.rows[0]) if found.rows else row
            done = row.get("seconds") is not None and EFFECTS[values["kind"]](row)
            if done or time.monotonic() > deadline:
                return row, ""
            time.sleep(PAUSE)

    def _venue(self, row: dict[str, Any]) -> None:
        if row.get("broker_kind") != "hyperliquid-mainnet":
            self.write(Lamp("venue", False, note="paper, nothing there"))
            return
        wallet = self.look(sql(WALLET, deployment=deployment(self.act.command)))
        if isinstance(wallet, str) or not wallet.rows:
            self.write(Lamp("venue", None, note=f"wallet unknown: {_words(wallet)}"))
            return
        account = {"type": "clearinghouseState", "user": wallet.value("address")}
        found = self.look(Http("hyperliquid", "POST", "/info", json=account, reads=True))
        if isinstance(found, str) or not found.rows:
            self.write(Lamp("venue", None, note=f"cannot be read: {_words(found)}"))
            return
        held = found.rows[0].get("assetPositions") or []
        self.write(_seen("venue", ", ".join(map(venue_answers.held, held)) or "flat"))


def _seen(name: str, note: str, *, lit: bool = True) -> Lamp:
    """A lamp for what is seen now."""
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06d}Z"
    return Lamp(name, True, at, note=note) if lit else Lamp(name, None, note=note)


def _words(found: Reply | str) -> str:
    return found if isinstance(found, str) else "no row"


def _effect(kind: str, row: dict[str, Any]) -> str:
    if kind == "flatten":
        return "no position"
    return "state written" if kind == "snapshot" else f"status {row['status']}"


def _sent(record: Record, number: str) -> Event | None:
    """The sending that the newest press of a step has made."""
    found: Event | None = None
    for event in record.ledger.events():
        if event.get("step") == number and event["event"] in ("pressed", "sending"):
            found = event if event["event"] == "sending" else None
    return found
