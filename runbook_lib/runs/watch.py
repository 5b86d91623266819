"""Judge a notebook's cells tagged ``watch`` on schedule, in one process, and alert people to the alarms.

A watch survives the death of its kernel, of the database and of the network: such a round is `unknown`, which is an
alarm of its own. Its ledger has a line for every round, which says what span of time the round covers; each span begins
where the one before it ended, also over a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook_lib.engine.cells import Stop
from runbook_lib.engine.kernel_pool import KernelDied, Kernels
from runbook_lib.engine.kernel_session import Session
from runbook_lib.engine.notebook import prepare
from runbook_lib.errors import ConfigError, RecordError
from runbook_lib.files import write_whole
from runbook_lib.records import alarms, gates, history, plan, record_folder, run_record
from runbook_lib.runs.alerts import Alerts
from runbook_lib.runs.watched_phase import TAG
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from runbook_lib.records.ledger import Event
    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings

CHUNK = 48  # past rounds asked for at once
HANDS = 2  # kernels that judge the past side by side
ATTEMPTS = 3  # kernels a round may use up before it is unknown: the one of before, one in waiting, a new one
PATIENCE = 30.0  # seconds a round may take beyond what its services may
LOCK = ".watching"


@dataclass(frozen=True)
class Schedule:
    """A watch's schedule: the notebook, the length in ``hours``, and ``every``, the seconds between two rounds.

    ``replay`` is the number of hours before now that are judged first.
    """

    notebook: Path
    hours: float = 24.0
    every: float = 60.0
    replay: float = 0.0


@dataclass(frozen=True)
class Done:
    """A watch that has ended: its record, its seal, and the alarms that are still open."""

    record: Record
    seal: Event
    open: tuple[alarms.Alarm, ...]

    @property
    def outcome(self) -> str:
        return str(self.seal["outcome"])


def watch(settings: Settings, schedule: Schedule, *, root: Path | None = None, say: Callable[[Event], None]) -> Done:
    """Run a watch until the scheduled time is over or SIGINT or SIGTERM comes.

    ``say`` gets every ledger line except those of quiet rounds. An interrupted watch is continued in a new record, from
    the end of its last round to the end that was planned. Raise `ConfigError` if the notebook has nothing to watch, or
    if another process watches it.
    """
    settings.require_variables()
    if not any(TAG in step.tags for step in plan.steps(schedule.notebook)):
        raise ConfigError(f"{schedule.notebook.stem} has no cell tagged {TAG!r}: nothing to watch")
    root, alerts = root or record_folder.records_root(), Alerts(settings)
    with _alone(root / settings.name, schedule.notebook.stem):
        record, before = _begun(settings, schedule, root)
        with Kernels(1_000_000) as kernels:
            return asyncio.run(Watch(settings, schedule, record, before=before, alerts=alerts, say=say).run(kernels))


@contextlib.contextmanager
def _alone(folder: Path, notebook: str) -> Iterator[None]:
    """Hold a lock while the block runs, so that only one process watches a profile's notebook."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{LOCK}-{notebook}").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{notebook} is watched already, by another process; {addressed('./runbook status', folder.name)}"
            ) from None
        yield


def _begun(settings: Settings, schedule: Schedule, root: Path) -> tuple[Record, list[Event]]:
    """Begin the record of a watch. Its parent is the newest earlier watch of the notebook.

    Return the record, and the events of the earlier records.
    """
    name = schedule.notebook.stem
    parent = alarms.newest(settings, root, name)
    if parent is not None and parent.sealed() is None:
        parent = record_folder.Record(parent.folder, settings.redactor())
        alarms.close(parent, "interrupted", ended="cut off")
    earlier = gates.ORDER[gates.ORDER.index(name) - 1] if name in gates.ORDER[1:] else None
    rests_on = gates.evidence(settings, root, earlier) if earlier else None
    seal = rests_on.sealed() if rests_on else None
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "notebook.ipynb"
        prepare(schedule.notebook, draft, {"profile": settings.name})
        record = run_record.begin(
            settings, name, root=root, parent=parent, mode=alarms.MODE, since=seal["at"] if seal else None
        )
        write_whole(record.notebook, draft.read_bytes())
    return record, history.read(parent).all if parent else []


class Watch:
    """A running watch. It knows the state of its alarms, writes each change to the ledger, and sends alerts."""

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        record: Record,
        *,
        before: Sequence[Event],
        alerts: Alerts,
        say: Callable[[Event], None],
    ) -> None:
        self.settings, self.schedule, self.record, self.alerts, self.say = settings, schedule, record, alerts, say
        self.checks = [step.number for step in plan.steps(record.notebook) if TAG in step.tags]
        self.known = alarms.fold(before)
        now = datetime.now(UTC)
        gone_on = _unfinished(before, now)
        self.ends = gone_on[1] if gone_on else now + timedelta(hours=schedule.hours)
        self.seen = gone_on[0] if gone_on else now - timedelta(hours=schedule.replay)  # until when a line answers
        self.replays = bool(schedule.replay) and not gone_on
        self._session: Session | None = None
        self._idle: list[Session] = []  # of a replay
        self._read = 0  # bytes of the ledger that `known` stands for
        self._alerted_at = datetime.min.replace(tzinfo=UTC)  # when people were last told
        self._sending: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._mute: str | None = None  # why the ledger cannot be written

    async def run(self, kernels: Kernels) -> Done:
        """Run the rounds of a watch until its end. Then seal its record, even if a round failed."""
        stop, loop = Stop(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.press, number)
        watching, asked = asyncio.create_task(self._watch(kernels)), asyncio.create_task(stop.asked.wait())
        await asyncio.wait([watching, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        watching.cancel()
        await asyncio.wait([watching])
        self._close()
        await self._sent()
        broken = None if watching.cancelled() else watching.exception()
        done = self._sealed(f"interrupted: {stop.signal}" if stop.signal else repr(broken) if broken else None)
        if broken:
            raise broken
        return done

    # --- rounds -----------------------------------------------------------------------------------------------------

    async def _watch(self, kernels: Kernels) -> None:
        self._note(
            "watching",
            every=self.schedule.every,
            ends=self.ends.isoformat(),
            since=self.seen.isoformat(),
            checks=self.checks,
        )
        if self.replays:
            await self._replay(kernels)
        clock = asyncio.get_running_loop()
        began = clock.time()
        while True:
            await self._round(kernels)
            if datetime.now(UTC) >= self.ends:
                return
            late = (clock.time() - began) % self.schedule.every
            left = (self.ends - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(0.0, min(self.schedule.every - late, left)))

    async def _round(self, kernels: Kernels) -> None:
        """Judge every cell tagged ``watch`` once. Write the verdicts to the ledger, and alert people."""
        started = datetime.now(UTC)
        verdicts = await self._look(kernels)
        came = datetime.now(UTC)
        self._hear()
        self._settle(verdicts, came, until=started)
        words: dict[str, list[str]] = {"quiet": [], "alarm": [], "waiting": [], "unknown": []}
        for number, verdict in verdicts.items():
            words[verdict["verdict"]].append(number)
        self._line(started, round((came - started).total_seconds(), 3), words)
        self._tell()
        if not any(alarm.open for alarm in self.known.values()) and (not self._pinging or self._pinging.done()):
            self._pinging = asyncio.create_task(self._ping())

    async def _look(self, kernels: Kernels) -> dict[str, alarms.Verdict]:
        """Return the verdict on every cell tagged ``watch``. If the kernels die repeatedly, every verdict is
        ``unknown``.
        """
        how = ""
        for _ in range(ATTEMPTS):
            try:
                self._session = self._session or await self._opened(kernels)
                verdicts = json.loads(await self._session.ask("phase.round(globals())", self._limit))
                return {number: verdicts.get(number, _unsaid("its cell said nothing")) for number in self.checks}
            except KernelDied as error:
                how = self._kernel_died(error)
                self._close()
        return dict.fromkeys(self.checks, _unsaid(how))

    async def _opened(self, kernels: Kernels) -> Session:
        env = {**os.environ, run_record.RECORD: str(self.record.folder), run_record.MODE: alarms.MODE}
        return await Session.open(kernels, env, self.record.folder, _opening(self.record))

    def _kernel_died(self, error: KernelDied) -> str:
        how = self.settings.redactor().text(str(error))
        self._note("kernel", how=how)
        return how

    @property
    def _limit(self) -> float:
        """Return how many seconds a round of a watch may take.

        The time suffices even if several services do not answer.
        """
        return PATIENCE + 8 * self.settings.budgets.answer

    async def _replay(self, kernels: Kernels) -> None:
        """Judge the past, round by round, as a running watch would have judged it.

        One ledger line holds a whole chunk of rounds.
        """
        step, now = timedelta(seconds=self.schedule.every), datetime.now(UTC)
        rounds = int((now - self.seen) / step)
        moments = [self.seen + number * step for number in range(1, rounds + 1)]
        chunks = [moments[at : at + CHUNK] for at in range(0, rounds, CHUNK)]
        turn = asyncio.Semaphore(HANDS)  # their kernels wait for Postgres in turn
        asked = [asyncio.create_task(self._past(kernels, turn, chunk)) for chunk in chunks]
        try:
            for chunk, answer in zip(chunks, asked, strict=True):
                for moment, text in zip(chunk, await answer, strict=True):
                    self._settle(json.loads(text), moment, until=moment, replayed=True)
                since, until = self.seen.isoformat(), chunk[-1].isoformat()
                self._note("round", **{"from": since}, until=until, rounds=len(chunk), replayed=True)
                self.seen = chunk[-1]
        finally:
            for chunk_asked in asked:
                chunk_asked.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            for session in self._idle:
                session.close()

    async def _past(self, kernels: Kernels, turn: asyncio.Semaphore, moments: Sequence[datetime]) -> list[str]:
        """Return the verdicts of a chunk of past rounds.

        Judge again while any verdict is ``unknown``, because past data can still be read.
        """
        asked = [moment.isoformat() for moment in moments]
        async with turn:
            while True:
                session = None
                try:
                    session = self._idle.pop() if self._idle else await self._opened(kernels)
                    expression = f"[phase.round(globals(), moment) for moment in {asked!r}]"
                    verdicts: list[str] = await session.ask(expression, self._limit * len(asked))
                    self._idle.append(session)
                    if not any('"verdict": "unknown"' in text for text in verdicts):
                        return verdicts
                except BaseException as error:
                    if session is not None:
                        session.close()
                    if not isinstance(error, KernelDied):
                        raise
                    self._kernel_died(error)
                await asyncio.sleep(min(self.schedule.every, 1.0))

    # --- what came of a round ---------------------------------------------------------------------------------------

    def _settle(
        self, verdicts: Mapping[str, alarms.Verdict], now: datetime, *, until: datetime, replayed: bool = False
    ) -> None:
        """Write to the ledger which alarms the verdicts raise, repeat or clear. Update ``known`` as well."""
        judged = dict(verdicts) if replayed else {**verdicts, alarms.UNKNOWN: alarms.unknown_of(verdicts)}
        judged = {number: self._addressed(verdict) for number, verdict in judged.items()}
        past = {"replayed": True} if replayed else {}
        for event in list(alarms.changes(self.known, judged, now, self.seen)):
            kind = event.pop("event")
            self._note(kind, **event, **past)
            self.known = alarms.fold([{"event": kind, **event}], self.known)
            if kind in ("raised", "recurred"):
                self._alerted_at = datetime.min.replace(tzinfo=UTC)  # at once

    def _hear(self) -> None:
        """Read from the watch's ledger which alarms people have acknowledged from other processes."""
        with contextlib.suppress(RecordError, OSError):
            events, self._read = self.record.ledger.follow(self._read)
            self.known = alarms.fold([event for event in events if event["event"] == "acked"], self.known)
            for event in events:
                if event["event"] == "acked":
                    self.say(event)

    def _line(self, until: datetime, seconds: float, words: Mapping[str, list[str]]) -> None:
        facts = {"quiet": len(words["quiet"]), "alarms": words["alarm"], "unknown": words["unknown"]}
        facts |= {"waiting": words["waiting"]} if words["waiting"] else {}
        since = self.seen.isoformat()
        self._note("round", **{"from": since}, until=until.isoformat(), seconds=seconds, **facts)
        self.seen = until

    def _note(self, event: str, **facts: Any) -> None:
        """Write a line to a watch's ledger.

        If the ledger cannot be written, go on watching, and alert people to the error.
        """
        try:
            self.record.ledger.append(event, **facts)
            self._mute = None
        except RecordError as error:
            self._mute = str(error)
        if event != "round" or facts.get("replayed") or facts["unknown"]:
            self.say({"event": event, **facts})

    def _addressed(self, verdict: alarms.Verdict) -> alarms.Verdict:
        """Return a verdict whose fix names the watched profile in each of its ``./runbook`` commands."""
        return {**verdict, "fix": addressed(verdict["fix"], self.settings.name)} if verdict.get("fix") else verdict

    # --- people -----------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Alert people to the alarms that nobody has acknowledged.

        Alert them at once, then again after each repeat interval.
        """
        loud = [alarm for alarm in self.known.values() if alarm.loud]
        due = (datetime.now(UTC) - self._alerted_at).total_seconds() >= self.settings.alerts.repeat
        if not (loud or self._mute) or not due or (self._sending and not self._sending.done()):
            return
        self._alerted_at = datetime.now(UTC)
        self._sending = asyncio.create_task(self._send(loud))

    async def _send(self, loud: Sequence[alarms.Alarm]) -> None:
        names = [alarm.name for alarm in loud]
        title = f"{self.settings.name}: {', '.join(names) or 'the watch cannot write its ledger'}"
        lines = [f"{a.name} {a.title}\n{a.complaint}\nsince {a.raised}\n{a.fix}" for a in loud]
        body = "\n\n".join(
            [
                *lines,
                *([self._mute] if self._mute else []),
                addressed("./runbook ack ALARM --as NAME", self.settings.name),
            ]
        )
        complaint = await asyncio.to_thread(self.alerts.send, title, body)
        if self.alerts.targets:
            self._note("alerted", alarms=names, targets=list(self.alerts.targets), complaint=complaint)
        if complaint:
            self._alerted_at = datetime.min.replace(tzinfo=UTC)

    async def _ping(self) -> None:
        complaint = await asyncio.to_thread(self.alerts.alive)
        if complaint:
            self._note("not pinged", complaint=complaint)

    async def _sent(self) -> None:
        """Wait until the alerts and pings under way have been sent."""
        under_way = [task for task in (self._sending, self._pinging) if task and not task.done()]
        if under_way:
            await asyncio.wait(under_way)

    # --- the end ----------------------------------------------------------------------------------------------------

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        self._session = None

    def _sealed(self, ended: str | None) -> Done:
        still = tuple(alarm for alarm in self.known.values() if alarm.open)
        outcome = "passed" if not still else "unknown" if all(a.name == alarms.UNKNOWN for a in still) else "failed"
        facts: dict[str, Any] = {"ended": ended} if ended else {}
        seal = alarms.close(self.record, "interrupted" if ended else outcome, open=[a.name for a in still], **facts)
        return Done(self.record, seal, still)


def _opening(record: Record) -> list[str]:
    """Return the sources of the code cells up to the cell that opens the phase."""
    cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return sources[: next(n for n, source in enumerate(sources, 1) if "open_phase(" in source)]


def _unsaid(why: str) -> alarms.Verdict:
    return {"verdict": "unknown", "complaint": why}


def _unfinished(before: Sequence[Event], now: datetime) -> tuple[datetime, datetime] | None:
    """Return when the newest watch last ended a round, and when the watch itself should end.

    Return None if there is no such watch or its end has passed.
    """
    begun = next((event for event in reversed(before) if event["event"] == "watching"), None)
    if begun is None or (ends := datetime.fromisoformat(begun["ends"])) <= now:
        return None
    last = next((e["until"] for e in reversed(before) if e["event"] == "round"), begun["since"])
    return datetime.fromisoformat(last), ends
