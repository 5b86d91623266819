"""Stop machines through Fly's API. Prove by two successive lists that every machine is stopped.

Fly's restart policy may start a machine again that stopped by itself (C13), but no machine that was told to stop
through the API. If a machine comes back later and trades, the watch and the incident notebook have to see it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import deployment_of, is_down
from runbook_lib.commands.command import http
from runbook_lib.errors import ServiceError
from runbook_lib.halt.retries import insist, look
from runbook_lib.halt.state import LOOKS
from runbook_lib.services import deadlines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from runbook_lib.halt.state import Halting
    from runbook_lib.services.services import Services

    Decided = Mapping[str, Future[str | None]]  # machine -> why it was not stopped; None if it was stopped

FIRST, MOST = 0.25, 0.5  # seconds between two lists, at first and at most
AT_ONCE = 8  # machines that are told to stop at the same time
ANSWER = 1.0  # seconds a flat runner has to acknowledge: it would carry out an open command at its next start
RUNS = "started"  # Fly's word for a machine that runs
NOBODY = "no deployment"
Row = dict[str, Any]


def machines(services: Services, halting: Halting) -> None:
    """Stop each machine once its deployment is flat or cannot be commanded. Prove that all these machines are
    stopped.
    """
    try:
        rows = listed(services, halting, halting.limits.stop)
    except ServiceError as error:
        halting.end("machines", "unknown", complaint=f"Fly does not list the machines: {error}")
        return
    halting.wait_for_database()
    chosen = [row for row in rows if _chosen(halting, row) and not is_down(row)]
    turns = threading.Semaphore(AT_ONCE)
    decided = {str(row["id"]): deadlines.start(_decision(services, halting, row, turns)) for row in chosen}
    _watch(services, halting, decided, {str(row["id"]): _started(row) for row in chosen})


def _decision(services: Services, halting: Halting, row: Row, turns: threading.Semaphore) -> Any:
    """Return a function that decides whether one machine may be stopped, and stops the machine if so.

    That function returns None if Fly accepted the stop, else the reason why the machine was not stopped.
    """
    deployment, machine = deployment_of(row) or NOBODY, str(row["id"])

    def decide() -> str | None:
        why = _left_running(halting, deployment)
        if why:
            return f"{machine} of {deployment} is left running and paused: {why}"
        with turns:
            return _stop(services, halting, machine)

    return decide


def _stop(services: Services, halting: Halting, machine: str) -> str | None:
    """Ask Fly to stop a machine. Repeat the request while the machine is leased or being updated.

    Return Fly's error, or None if Fly accepted the stop.
    """
    stop = http("fly", "POST /v1/apps/{fly.app}/machines/{machine}/stop", machine=machine, json={})
    until = max(halting.limits.stop, halting.now() + halting.limits.answer)
    try:
        error = insist(services, halting, "machines", stop, until, answer_by=until).error
    except ServiceError as problem:
        error = str(problem)
    return f"{machine} was not stopped: {error}" if error else None


def _left_running(halting: Halting, deployment: str) -> str | None:
    """Wait until a deployment is flat. Return why its machine must run on, or None if the machine is to be stopped.

    Return why its machine must go on running, or None if the machine is to be stopped.

    A machine goes on running if its runner is paused and its wallet is not flat: only the runner can still close
    positions.
    """
    known = halting.deployments.get(deployment)
    limits = halting.limits
    if known is None:  # a machine without a known deployment cannot be commanded
        return None
    # A runner's time to pause begins when it was told, which a slow database makes later than the press.
    heard = min((halting.told_at or 0.0) + limits.pause, limits.flat)
    if not halting.wait(lambda: halting.deployments[deployment].paused, heard):
        return None  # a runner that does not listen would go on trading
    flat = halting.wait(lambda: halting.settled(halting.deployments[deployment]), limits.flat)
    if flat and not known.others:
        halting.wait(lambda: halting.deployments[deployment].flattened, halting.now() + ANSWER)
    if flat or halting.request.stop_anyway:
        return None
    if known.others:
        return f"{known.wallet} is shared with {', '.join(known.others)} and was left alone"
    return f"not proven flat within {limits.flat:g} s; --stop-anyway stops it all the same"


@dataclass
class Sightings:
    """What Fly's successive lists of machines have shown of the machines that a halt stops."""

    starts: dict[str, str] = field(default_factory=dict)  # machine -> its newest start, as last seen
    stopped: set[str] = field(default_factory=set)  # machines seen down at least once
    came_back: set[str] = field(default_factory=set)
    good: int = 0  # successive lists that showed every machine down, and no start since the list before

    def see(self, rows: Mapping[str, Row], left: Mapping[str, str], pending: Sequence[str]) -> list[str]:
        """Add Fly's newest list of machines to the sightings. Return the machines that run, except those in ``left``.

        ``left`` maps machine -> why it goes on running. A machine with a new start since the last list has come
        back, unless it is ``pending``: not yet told to stop.
        """
        up = [machine for machine, row in rows.items() if not is_down(row) and machine not in left]
        starts = {machine: _started(row) for machine, row in rows.items()}
        restarted = {machine for machine, start in starts.items() if start != self.starts.get(machine, start)}
        self.came_back |= (restarted | (set(up) & self.stopped)) - set(pending) - left.keys()
        self.stopped |= {machine for machine, row in rows.items() if is_down(row)}
        quiet = not pending and not up and not restarted - left.keys()
        self.good = self.good + 1 if quiet else 0
        self.starts = starts
        return up


def _watch(services: Services, halting: Halting, decided: Decided, starts: dict[str, str]) -> None:
    """List the machines until two successive lists show all of them down, or the time is over. Then end the part
    ``machines``.

    A machine that comes back, or that was made meanwhile, is stopped too. ``starts`` maps machine -> the id of its
    newest start before anything was decided.
    """
    seen, delay, until = Sightings(starts), FIRST, None
    while True:
        try:
            rows = listed(services, halting, halting.now() + halting.limits.stop)
        except ServiceError as error:
            halting.end("machines", "unknown", complaint=f"Fly does not list the machines any more: {error}")
            return
        known = {str(row["id"]): row for row in rows if _chosen(halting, row)}
        pending = [machine for machine, future in decided.items() if not future.done()]
        left = {machine: words for machine, words in _left(decided).items() if not is_down(known.get(machine, {}))}
        up = seen.see(known, left, pending)
        for machine in up:
            # A machine that is still going down needs no second stop; one that runs after its stop came back.
            if machine not in pending and known[machine].get("state") == RUNS:
                _stop(services, halting, machine)
        halting.tell("machines", f"{len(seen.stopped)} stopped, {len(up)} to go")
        if not pending and until is None:
            until = halting.now() + halting.limits.stop
        # If a machine is left running the part has failed, and a second look cannot change that.
        if seen.good >= (1 if left else LOOKS) or (until is not None and halting.now() >= until):
            _judge(halting, seen, up, left)
            return
        time.sleep(delay)
        delay = min(delay * 1.3, MOST)


def _left(decided: Decided) -> dict[str, str]:
    """Return the machines that the halt left running or could not stop, each with the reason."""
    return {m: words for m, future in decided.items() if future.done() and (words := future.result())}


def _judge(halting: Halting, seen: Sightings, up: Sequence[str], left: Mapping[str, str]) -> None:
    late = [] if seen.good or up else ["they did not stay stopped from one look to the next"]
    wrong = [*left.values(), *(f"{machine} still runs" for machine in up), *late]
    words = f"{len(seen.stopped)} stopped, seen twice" if seen.stopped else "no machine to stop, seen twice"
    if wrong:
        words = f"{len(seen.stopped)} stopped"
    if seen.came_back:
        words = f"{words}; stopped again after it had come back: {', '.join(sorted(seen.came_back))}"
    if not wrong:
        words = f"{words}; that they stay so is for the watch to see"
    halting.end("machines", "failed" if wrong else "passed", words, "; ".join(wrong) or None)


def listed(services: Services, halting: Halting, until: float) -> list[Row]:
    """Ask Fly for the app's machines. Store in ``halting`` which deployments have a running machine."""
    rows = list(look(services, halting, "machines", http("fly", "GET /v1/apps/{fly.app}/machines"), until).rows)
    halting.update(running={deployment_of(row) or NOBODY for row in rows if not is_down(row)})
    return rows


def _chosen(halting: Halting, row: Row) -> bool:
    request = halting.request
    return request.everything or deployment_of(row) in {request.deployment, *halting.deployments}


def _started(row: Row) -> str:
    """Return the id of the machine's newest start event. A new id shows that the machine was started again."""
    starts = (event for event in row.get("events") or () if event.get("type") == "start")
    return str((next(starts, None) or {}).get("id"))
