"""Find out why a deployment does not run: gather evidence from five places, and search it for a known symptom."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import MACHINES, deployment_of, is_machine
from runbook_lib.agentic_trading.symptoms import diagnose
from runbook_lib.commands.command import Sql, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_each
from runbook_lib.services.plain_rows import moment
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runbook_lib.commands.command import Reply

EVER = replace(MACHINES, query={"include_deleted": "true"})  # asks for every machine there is, or was
SECTION = "1.6"  # the section of the checklist that lists why a boot fails
SHOWN = 15  # lines that an unknown failure shows
BEFORE = timedelta(minutes=1)  # the web app's log lines up to this long before the deployment's row may concern it
WRONG = re.compile(r"error|fail|fatal|exception|refused|denied|panic", re.IGNORECASE)  # words of a line that says why
BOOTED = "entering tick loop"  # the boot succeeded here, so that earlier lines explain nothing


@dataclass(frozen=True, order=True)
class Line:
    """One line of evidence about a boot. A ``decisive`` line says what ended a boot or a tick."""

    at: datetime
    place: str
    text: str
    decisive: bool = False

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%S}.{self.at.microsecond // 1000:03}Z {self.place}: {self.text}"


def written_down(deployment: Reply) -> Sql:
    """Ask the database why a deployment does not boot: read its status, and the warnings and errors in its log.

    A lost heartbeat is not decisive: it tells that a runner ended, not why. The newest error is read even if more
    warnings than are read came after it.
    """
    return sql(
        """
        select updated_at as at, 'deployment' as place, status || ': ' || coalesce(error_text, 'no error text') as text,
               status = 'error' and (error_text like 'heartbeat lost:%%') is not true as decisive
        from public.deployments where id::text = %(deployment)s
        union all (
        select ts, 'agent_logs', event || ': ' || coalesce(message, ''), level = 'error' from public.agent_logs
        where deployment_id::text = %(deployment)s and level <> 'info' order by ts desc limit 50)
        union (
        select ts, 'agent_logs', event || ': ' || coalesce(message, ''), true from public.agent_logs
        where deployment_id::text = %(deployment)s and level = 'error' order by ts desc limit 1)
        """,
        deployment=deployment.value("id"),
    )


def machines_named(deployment: Reply) -> Expectation:
    """Expect that the list of machines can be read. Name the machines of the deployment that does not boot.

    The finding names the deployment's machines, past ones too, and how each of them ended.

    ``deployment`` holds one row: the deployment's ``id``, the ``machine`` that its row names, and its ``created_at``.
    """

    def test(reply: Reply) -> Finding:
        if not all(map(is_machine, reply.rows)):
            return Finding("", "the list holds something that is no machine")
        words = [f"{row['id']} {row.get('state')}{_ended(row)}" for row in reply.rows if _is_of(row, deployment)]
        return Finding(", ".join(words) or "no machine was made for it")

    return over_each("machines of the deployment", test, empty=True, about=[EVER])


def boot_lines(*lines: str) -> Expectation:
    """Expect that the booting machine's log contains these texts, in this order."""

    def test(reply: Reply) -> Finding:
        messages = [str((row.get("attributes") or {}).get("message", "")) for row in reply.rows]
        place = 0
        for line in lines:
            while place < len(messages) and line not in messages[place]:
                place += 1
            if place == len(messages):
                last = messages[-1] if messages else "no line at all"
                return Finding("", f"{line!r} did not come, or not in order; the last line is {last!r}")
        return Finding(f"{len(lines)} lines in order")

    return over_each("boot lines in order", test)


def known_cause(deployment: Reply, profile: str) -> Expectation:
    """Expect that a known symptom explains the failed boot. Only the newest decisive line and later lines are searched.

    Without a known symptom, the complaint shows the last lines. Commands of ours in its fix name ``profile``.

    ``deployment`` is as in `machines_named`, the replies are as in `gathered`, the database's reply first.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        if replies[0].error or any(None in (row.get("place"), row.get("text")) for row in replies[0].rows):
            return Finding("", replies[0].error or "the database's lines have no place or no text: they cannot be read")
        readable = [answer for answer in replies if answer.error is None]
        lines = gathered(readable, deployment)
        for line in reversed(lines):
            if (symptom := diagnose(line.text, SECTION)) is not None:
                back = f" Then return to {symptom.back}." if symptom.back else ""
                fix = addressed(symptom.fix, profile)
                return Finding(f"{symptom.name} (in {line.place}): {symptom.cause} Fix: {fix}{back}")
            if line.decisive or BOOTED in line.text:
                break
        # A place that does not answer is named, and the evidence of the others is shown all the same.
        shown = _shown(lines) + "".join(
            f"\n  not read: {answer.error}" for answer in replies if answer.error is not None
        )
        return Finding("", f"unknown: none of the last of {len(lines)} lines is a known symptom{shown}")

    return Expectation("a known symptom", test, empty=True)  # one place that tells of it is enough


def _shown(lines: Sequence[Line]) -> str:
    """Return the last lines of evidence as text, one below the other.

    Before them come two earlier lines: the newest decisive one, and the newest that looks like an error.
    """
    early, late = lines[:-SHOWN], lines[-SHOWN:]
    decisive = [line for line in early if line.decisive][-1:]
    errors = [line for line in early if WRONG.search(line.text)][-1:]
    return "".join(f"\n  {line}" for line in dict.fromkeys(sorted([*decisive, *errors, *late])))


def gathered(replies: Sequence[Reply], deployment: Reply) -> list[Line]:
    """Return every line in the replies that is evidence about the deployment's boot, oldest first.

    A reply holds rows of the database (``at``, ``place``, ``text``, ``decisive``), machines, lines of Fly's log, or
    Vercel's answer with its request log.
    """
    since = moment(deployment.value("created_at")) - BEFORE
    return sorted(line for reply in replies for row in reply.rows for line in _lines(row, deployment, since))


def _lines(row: Mapping[str, Any], deployment: Reply, since: datetime) -> Iterator[Line]:
    if "events" in row:
        yield from _of_machine(row) if _is_of(row, deployment) else ()
    elif "attributes" in row:
        at, text = (_inside(row, "attributes", name) for name in ("timestamp", "message"))
        yield Line(moment(at), "machine log", str(text))
    elif "hasMoreRows" in row:
        yield from (line for line in _of_requests(row.get("rows")) if line.at >= since)
    else:
        yield Line(moment(row.get("at")), str(row.get("place")), str(row.get("text")), bool(row.get("decisive")))


def _of_machine(machine: Mapping[str, Any]) -> Iterator[Line]:
    for event in _events(machine):
        text = f"{event.get('type')}: {event.get('status')}{_exit(event)}"
        yield Line(_of_milliseconds(event.get("timestamp")), f"machine {machine.get('id')}", text)


def _of_requests(requests: Any) -> Iterator[Line]:
    """Yield what the web app logged while it answered these requests. Leave out lines of level info."""
    for request in requests if isinstance(requests, list | tuple) else ():
        lines = request.get("logs") if isinstance(request, dict) else None
        for line in lines if isinstance(lines, list | tuple) else ():
            if isinstance(line, dict) and line.get("level") != "info":
                yield Line(_of_milliseconds(request.get("timestamp")), "web app log", str(line.get("message", "")))


def _is_of(machine: Mapping[str, Any], deployment: Reply) -> bool:
    """Return whether a machine belongs to the deployment.

    The machine then carries the deployment's id (C38), or the row names it.
    """
    return bool(deployment_of(machine) == deployment.value("id") or machine.get("id") == deployment.value("machine"))


def _ended(machine: Mapping[str, Any]) -> str:
    """Describe how the machine's last process ended. Return an empty text if no process has ended."""
    return next((words for event in _events(machine) if (words := _exit(event))), "")


def _exit(event: Mapping[str, Any]) -> str:
    """Describe how a process ended. Fly's event holds ``exit_event`` under ``request`` or one level deeper."""
    request = _inside(event, "request")
    ended = _inside(request, "MonitorEvent", "exit_event") or _inside(request, "exit_event")
    code, killed = (_inside(ended, name) for name in ("exit_code", "oom_killed"))
    return "" if code is None else f" (exit {code}{', out of memory' if killed else ''})"


def _events(machine: Mapping[str, Any]) -> list[dict[str, Any]]:
    events = machine.get("events")
    return [event for event in events if isinstance(event, dict)] if isinstance(events, list | tuple) else []


def _inside(value: Any, *path: str) -> Any:
    """Follow a path of keys into nested objects, and return the value there. Return None if there is no value."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _of_milliseconds(number: Any) -> datetime:
    try:
        return datetime.fromtimestamp(number / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return moment(None)
