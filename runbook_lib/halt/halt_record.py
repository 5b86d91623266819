"""Write a halt's record in a separate thread, so that the halt does not wait long for a disk that hangs."""

from __future__ import annotations

import fcntl
import os
import queue
import threading
import uuid
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Shell, frozen
from runbook_lib.errors import RecordError
from runbook_lib.records import archive, run_record
from runbook_lib.records.record_folder import Record
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runbook_lib.halt.state import Part
    from runbook_lib.records.ledger import Event
    from runbook_lib.settings.profiles import Settings


PHASE = "halt"
UNDO = "switches"  # the step that owes the undo
PATIENCE = 1.0  # seconds a line may take to be written before the command it announces is sent all the same
LOCK = ".halting"


class Book:
    """The writer of a halt's record. It writes the ledger in its own thread, in order.

    If the record is incomplete, ``complaint`` says why.
    """

    def __init__(
        self,
        settings: Settings,
        root: Path,
        parameters: Mapping[str, Any],
        *,
        parent: Record | None = None,
        mode: str = "halt",
    ) -> None:
        self.settings, self.root = settings, root
        self.key = str(uuid.uuid4())  # the ids of this halt's commands are derived from it
        self.record: Record | None = None
        self.complaint: str | None = None
        self._sent: set[str] = set()  # parts that sent a change; all other parts only looked
        self._waiting: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = queue.SimpleQueue()
        # A daemon thread: a disk that hangs must not keep the process from ending.
        threading.Thread(target=self._write, name="record", daemon=True).start()
        ran_with = {**parameters, "key": self.key}
        self._do(lambda: self._begin(ran_with, parent, mode))

    def sending(self, step: str, text: str) -> None:
        """Write a command into the halt's record before the command is sent. A failed write does not stop the
        command.
        """
        self._sent.add(step)
        self._append("sending", step=step, verb="act", title=step, commands=[text])

    def owe(self) -> None:
        """Write into the halt's record that the halt owes the undo of the switches.

        A halt calls this before it sets the switches.
        """
        back = Shell(f"./runbook unhalt --profile {self.settings.name} --yes", folder=str(ROOT))
        self._append("owed", step=UNDO, command=frozen(back), text=back.line)

    def undone(self, step: str) -> None:
        """Write into the halt's record that a step's undo was carried out."""
        self._append("undone", step=step, replies=[])

    def ended(self, part: Part) -> None:
        """Write into the halt's record how a part of the halt ended, and after how many seconds."""
        self._append(
            "outcome",
            step=part.name,
            verb="act" if part.name in self._sent else "check",
            title=part.title,
            outcome=part.outcome,
            seen=part.seen,
            complaint=part.complaint,
            symptom=None,
            fix=None,
            replies=[],
            seconds=round(part.ended or 0.0, 3),
        )

    def finish(self, outcome: str, **facts: Any) -> Event | None:
        """Seal the halt's record, and return the seal.

        If that fails, return None, and ``complaint`` holds the reason.
        """
        sealed: list[Event] = []
        self._do(lambda: sealed.append(close(self._opened(), outcome, **facts)), patience=30.0)
        return sealed[0] if sealed else None

    def _write(self) -> None:
        """Carry out the queued writes to the halt's record, in order, as long as the process lives."""
        while True:
            write, done = self._waiting.get()
            try:
                done.set_result(write())
            except Exception as error:  # noqa: BLE001 - the waiting caller gets it, and the next line is tried
                done.set_exception(error)

    def _begin(self, ran_with: Mapping[str, Any], parent: Record | None, mode: str) -> None:
        facts: dict[str, Any] = {"within": within} if (within := _within()) else {}
        self.record = run_record.begin(
            self.settings, PHASE, root=self.root, parameters=ran_with, parent=parent, mode=mode, **facts
        )

    def _opened(self) -> Record:
        if self.record is None:
            raise RecordError("it could not be begun")
        return self.record

    def _append(self, event: str, **facts: Any) -> None:
        self._do(lambda: self._opened().ledger.append(event, **facts))

    def _do(self, write: Callable[[], Any], patience: float = PATIENCE) -> None:
        waits = self.complaint is None  # after the first complaint no write is waited for: the disk may hang again
        try:
            done: Future[Any] = Future()
            self._waiting.put((write, done))
            if waits:
                done.result(patience)
        except TimeoutError:
            self.complaint = f"the record is not written within {patience:g} s"
        except (RecordError, OSError, RuntimeError, ValueError) as error:
            self.complaint = self.complaint or str(error)


def _within() -> dict[str, str] | None:
    """Return the record and the step of the notebook that started this halt. Return None if a person started it.

    A notebook starts a halt in an exercise or in an incident.
    """
    named = os.environ.get(run_record.RECORD)
    if not named:
        return None
    calling = Record(Path(named))
    within = {"record": calling.name}
    with suppress(RecordError, OSError):  # a halt goes on even if the calling record cannot be read
        step_events = [event for event in calling.ledger.events() if event["event"] in ("sending", "outcome")]
        if step_events and step_events[-1]["event"] == "sending":
            within["step"] = str(step_events[-1]["step"])
    return within


def close(record: Record, outcome: str, **facts: Any) -> Event:
    """Seal the record of a halt or of an unhalt. Return the ``sealed`` event, which is the ledger's last line."""
    return archive.close(record, outcome, **facts)


def hold(root: Path, profile: str, *, alone: bool) -> int | None:
    """Take the lock that halts of a profile share. Return the lock's file descriptor.

    Return None if the lock cannot be taken.

    Halts share the lock; an unhalt takes it ``alone``, and therefore never runs beside a halt. The lock ends with the
    process, however the process ends. A halt without the lock goes on.
    """
    with suppress(OSError):
        (root / profile).mkdir(parents=True, exist_ok=True)
        file = os.open(root / profile / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return None
        return file
    return None
