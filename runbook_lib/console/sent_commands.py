"""Commands a person sends from the console: on the record before they leave, followed until they took effect.

Each press is a run of its own: a record with one step, sealed when it ends. Safety actions are always allowed, also
when the record cannot be written, which is then said; what is none needs the record and the writing lock.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.checklist.incidents import revoke
from runbook_lib.commands.command import Sql, sql
from runbook_lib.commands.expectations import Finding
from runbook_lib.errors import ConfigError, RecordError, RunbookError, ServiceError
from runbook_lib.records import run_record, signing
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from runbook_lib.steps.verdicts import Sent, Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from runbook_lib.commands.command import Reply
    from runbook_lib.records.ledger import Record
    from runbook_lib.settings.profiles import Settings

__all__ = ["KINDS", "SAFETY", "Press", "Target", "press"]

KINDS = ("pause", "resume", "snapshot", "flatten", "stop", "revoke", "kill")
SAFETY = ("pause", "flatten", "stop", "revoke", "kill")
FIRST, MOST = 0.02, 0.5  # seconds between two looks for the effect, at first and at most
ENDED = ("paused", "halted", "stopped")


@dataclass(frozen=True)
class Target:
    """A deployment a press is about; ``agent`` is its agent's address at the venue, None on paper."""

    id: str
    agent: str | None = None


@dataclass(frozen=True)
class Press:
    """How far a press has come. ``sent``, ``acknowledged`` and ``effect`` are seconds after the press, None so far.

    ``outcome`` is None while it is under way. ``unrecorded`` says why there is no whole record of it.
    """

    kind: str
    targets: tuple[Target, ...]
    outcome: str | None = None
    sent: float | None = None
    acknowledged: float | None = None
    effect: float | None = None
    words: str = ""
    unrecorded: str = ""
    record: str = ""


def press(
    settings: Settings,
    kind: str,
    targets: Sequence[Target],
    *,
    root: Path,
    pressed: float | None = None,
    watch: Callable[[Press], None] = lambda _: None,
) -> Press:
    """Send one command to every target and follow it; ``watch`` hears of each change, in this thread.

    ``pressed`` is the moment of the press, on the monotonic clock. Nothing is raised: the outcome and the words tell
    (``failed``, also for what was refused and never sent; ``unknown`` if it was sent and no effect was seen in time).
    """
    one = _Press(settings, Press(kind, tuple(targets)), pressed or time.monotonic(), watch)
    try:
        one.run(root)
    except (RunbookError, OSError) as error:
        one.tell(outcome="failed", words=str(error))
    finally:
        one.services.close()
    return one.now


class _Press:
    """One press under way."""

    def __init__(self, settings: Settings, now: Press, pressed: float, watch: Callable[[Press], None]) -> None:
        self.settings, self.now, self.pressed, self.watch = settings, now, pressed, watch
        self.services = Services(settings)
        self.key = str(uuid.uuid4())
        self.safe = now.kind in SAFETY
        self.record: Record | None = None

    def tell(self, **known: Any) -> None:
        self.now = replace(self.now, **known)
        self.watch(self.now)

    def clock(self) -> float:
        return time.monotonic() - self.pressed

    def run(self, root: Path) -> None:
        command = self._command()
        writer = None if self.safe else Writer(self.services, f"{signing.operator()} console")
        if writer:
            writer.take()
        try:
            sent = self._announced(command, root)
            finding, replies = self._sent(command)
            self._judged(sent, finding, replies)
        finally:
            if writer:
                writer.release()

    def _command(self) -> Sql:
        """What is sent. Raise `ConfigError`, before anything is, for what these targets cannot do."""
        kind, targets = self.now.kind, self.now.targets
        if kind not in KINDS or not targets:
            raise ConfigError(f"nothing to send: {kind!r} to {len(targets)} deployments")
        if kind != "revoke":
            return _commands(kind, targets, self.key)
        without = [one.id[:8] for one in targets if not one.agent]
        agents = {one.agent for one in targets if one.agent}
        if without or len(agents) != 1:
            why = (
                f"{', '.join(without)} has no agent (it is on paper)" if without else f"these have {len(agents)} agents"
            )
            raise ConfigError(f"revoke takes one agent at a time: {why}; stop ends a deployment")
        return revoke(str(agents.pop())).filled(lambda _: self.key)

    def _announced(self, command: Sql, root: Path) -> Sent:
        """Write the record before anything is sent; a safety action goes on without one, and says so."""
        ids = " ".join(one.id for one in self.now.targets)
        sent = Sent(
            self.now.kind, "act", f"{self.now.kind} {ids}", (self.services.shown(command),), _fix(self.now.kind)
        )
        try:
            ran_with = {"kind": self.now.kind, "deployments": ids.split(), "key": self.key}
            self.record = run_record.begin(self.settings, "console", root=root, parameters=ran_with, mode="press")
            Verdicts(self.record, lambda _: None).announce(sent)
            self.now = replace(self.now, record=self.record.name)
        except (RecordError, OSError) as error:
            if not self.safe:
                raise
            self.tell(unrecorded=f"not on the record: {error}")
        return sent

    def _sent(self, command: Sql) -> tuple[Finding, tuple[Reply, ...]]:
        try:
            reply = self.services.change(command)
        except ServiceError as error:
            return Finding("", str(error), unsure=error.sent), ()
        if reply.error:
            return Finding("", f"refused: {reply.error}"), (reply,)
        self.tell(sent=self.clock())
        return self._followed(self.clock() + _patience(self.settings, self.now.kind))

    def _followed(self, until: float) -> tuple[Finding, tuple[Reply, ...]]:
        """Look until every target shows the effect, or the time is over."""
        delay, trouble = FIRST, ""
        replies: tuple[Reply, ...] = ()
        while True:
            try:
                found = self.services.look(_state(self.now.targets, self.key, self.now.kind))
                trouble, replies = found.error or "", (found,)
                left = self._progress(found.rows)
                if not left and not trouble:
                    return Finding(_seen(found.rows)), replies
            except ServiceError as error:
                trouble, left = str(error), ["everything"]
            if self.clock() >= until:
                said = (
                    trouble or f"sent, and within {_patience(self.settings, self.now.kind):g} s no effect at {left[0]}"
                )
                return Finding(
                    "", f"{said}{f' and {len(left) - 1} more' if len(left) > 1 else ''}", unsure=True
                ), replies
            time.sleep(delay)
            delay = min(delay * 1.3, MOST)

    def _progress(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Tell of acknowledgements and effects; the ids that are not there yet, with what they show."""
        unheard = [row for row in rows if row["seconds"] is None]
        left = [row for row in rows if not _effective(self.now.kind, row)]
        told: dict[str, Any] = {}
        if rows and not unheard and self.now.acknowledged is None and self.now.kind != "kill":
            told["acknowledged"] = self.clock()
        if rows and not left and self.now.effect is None:
            told["effect"] = self.clock()
        if told:
            self.tell(**told)
        missing = {one.id for one in self.now.targets} - {row["id"] for row in rows}
        shown = [f"{row['id'][:8]} ({row['status']}{', not acknowledged' if row in unheard else ''})" for row in left]
        return [*shown, *(f"{one[:8]} (its command is not there)" for one in sorted(missing))]

    def _judged(self, sent: Sent, finding: Finding, replies: tuple[Reply, ...]) -> None:
        """Write how it ended, show it, then seal: the screen does not wait for the seal."""
        outcome, words = "passed", finding.seen
        if finding.complaint is not None:
            outcome, words = "unknown" if finding.unsure else "failed", f"{finding.complaint}. {sent.fix}"
        try:
            if self.record is not None:
                Verdicts(self.record, lambda _: None).judged(sent, finding, replies)
                self.record.ledger.append("closed", steps=1)
        except (RecordError, OSError) as error:
            self.tell(unrecorded=f"not on the record: {error}")
        except RunbookError:
            pass  # the verdict itself: it is told below
        self.tell(outcome=outcome, words=words)
        try:
            if self.record is not None:
                run_record.finish(self.record)
        except (RecordError, OSError) as error:
            self.tell(unrecorded=f"its record is not sealed: {error}")


def _patience(settings: Settings, kind: str) -> float:
    """Seconds the effect may take: the budgets are the checklist's."""
    budgets = settings.budgets
    times = {"flatten": budgets.halt.flat, "stop": budgets.machine_gone, "revoke": budgets.revoked}
    return times.get(kind, budgets.provisioning if kind == "kill" else budgets.answer)


def _fix(kind: str) -> str:
    if kind in ("resume", "snapshot"):
        return "Look at the deployment's log, then press again."
    return "If it matters now: Halt, which goes on where a runner does not listen."


def _effective(kind: str, row: Mapping[str, Any]) -> bool:
    """Whether a row of `_state` shows what the command is for."""
    if kind == "kill":  # never acknowledged: the process ends inside the handler, and the machine starts it again
        return bool(row["restarted"]) or row["status"] in ("error", "stopped")
    wanted = {
        "pause": row["status"] in ENDED,
        "resume": row["status"] == "running",
        "snapshot": bool(row["written_after"]),
        "flatten": row["status"] in ENDED and row["positions"] == 0,
        "stop": row["status"] == "stopped",
        "revoke": row["status"] == "stopped" and row["revoked_at"] is not None,
    }
    return row["seconds"] is not None and wanted[kind]


def _seen(rows: Sequence[Mapping[str, Any]]) -> str:
    statuses = [row["status"] for row in rows]
    told = ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))
    acks = [row["seconds"] for row in rows if row["seconds"] is not None]
    slowest = "the slowest " if len(acks) > 1 else ""
    return f"{told}; {slowest}acknowledged after {1000 * max(acks):.0f} ms" if acks else told


def _commands(kind: str, targets: Sequence[Target], key: str) -> Sql:
    """One row for each target, notified by us only where no trigger does it (C39)."""
    return sql(
        """
        with made as (
          insert into public.agent_commands (id, deployment_id, kind, payload, issued_by)
          select md5(%(key)s::text || d.id::text)::uuid, d.id, %(kind)s, '{}', 'launch-runbook console'
          from unnest(string_to_array(%(deployments)s, ' ')::uuid[]) as d (id)
          on conflict (id) do nothing returning id, deployment_id)
        select id, case when exists (
            select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
            where t.tgrelid = 'public.agent_commands'::regclass and not t.tgisinternal
              and t.tgenabled <> 'D' and p.prosrc ilike '%%pg_notify%%')
          then 'by trigger'
          else pg_notify('agent_commands_' || deployment_id, id::text)::text || 'by us' end as notified
        from made
        """,
        key=key,
        deployments=" ".join(one.id for one in targets),
        kind=kind,
    )


def _state(targets: Sequence[Target], key: str, kind: str) -> Sql:
    """What became of each command: ``seconds`` from row to acknowledgement on the database's clock."""
    return sql(
        """
        select d.id, d.status, extract(epoch from c.acked_at - c.created_at) as seconds, a.revoked_at,
               jsonb_array_length(coalesce(s.positions, '[]')) as positions,
               s.updated_at >= c.created_at as written_after,
               %(kind)s = 'kill' and exists (select from public.agent_logs g where g.deployment_id = d.id
                 and g.event = 'runner_started' and g.ts >= c.created_at) as restarted
        from unnest(string_to_array(%(deployments)s, ' ')::uuid[]) as asked (id)
        join public.agent_commands c on c.id = md5(%(key)s::text || asked.id::text)::uuid
        join public.deployments d on d.id = asked.id
        left join public.agent_state s on s.deployment_id = d.id
        left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
        """,
        key=key,
        deployments=" ".join(one.id for one in targets),
        kind=kind,
    )
