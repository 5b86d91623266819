"""Stopping machines through Fly's API, and the proof that each stays stopped.

A machine that stops by itself may be started again by its restart policy (C13); one that is told to stop through the
API is not. Names and order are no identity: a machine belongs to the deployment in its environment (C38).
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.machines import deployment_of, is_down
from runbook_lib.commands.command import http
from runbook_lib.errors import ServiceError
from runbook_lib.halt.sending import insist, look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.halt.state import Board
    from runbook_lib.services.services import Services


FIRST, MOST = 0.25, 2.0  # seconds between two lists, at first and at most
AT_ONCE = 8  # machines that are told to stop at the same time
ANSWER = 1.0  # seconds to acknowledge once flat: what a runner leaves undone it would do at its next start

Row = dict[str, Any]


def machines(services: Services, board: Board) -> None:
    """Stop each machine when its deployment is flat, or cannot be commanded; prove that it stays so."""
    try:
        rows = listed(services, board, board.limits.stop)
    except ServiceError as error:
        board.end("machines", "unknown", complaint=f"Fly does not list the machines: {error}")
        return
    board.wait(lambda: board.database != "awaited", board.limits.pause + board.limits.answer)
    chosen = [row for row in rows if _chosen(board, row) and not is_down(row)]
    turns = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stopping")
    with ThreadPoolExecutor(max(1, len(chosen)), thread_name_prefix="machine") as pool:
        decided = {str(row["id"]): pool.submit(_one, services, board, row, turns) for row in chosen}
        watch(services, board, decided, {str(row["id"]): _started(row) for row in chosen})
    turns.shutdown()


def _one(services: Services, board: Board, row: Row, turns: ThreadPoolExecutor) -> str | None:
    """Decide on one machine and stop it; else why it was left, or could not be stopped."""
    deployment, machine = _deployment(row), str(row["id"])
    why = _left_running(board, deployment)
    if why:
        return f"{machine} of {deployment} is left running and paused: {why}"
    return turns.submit(_stop, services, board, machine).result()


def _stop(services: Services, board: Board, machine: str) -> str | None:
    stop = http("fly", "POST /v1/apps/{fly.app}/machines/{machine}/stop", machine=machine, json={})
    until = max(board.limits.stop, board.now() + board.limits.answer)
    try:
        error = insist(services, board, "machines", stop, until).error
    except ServiceError as problem:
        error = str(problem)
    return f"{machine} was not stopped: {error}" if error else None


def _left_running(board: Board, deployment: str) -> str | None:
    """Why a machine must go on running: it is paused, and may still be needed to get flat. None: stop it."""
    known = board.deployments.get(deployment)
    limits = board.limits
    if known is None:  # nobody can tell it anything
        return None
    if not board.wait(lambda: board.deployments[deployment].paused, limits.pause):
        return None  # it does not listen, and would go on trading
    flat = board.wait(lambda: board.settled(board.deployments[deployment]), limits.flat)
    if flat and not known.others:
        board.wait(lambda: board.deployments[deployment].flattened, board.now() + ANSWER)
    if flat or board.request.stop_anyway:
        return None
    if known.others:
        return f"{known.wallet} is shared with {', '.join(known.others)} and was left alone"
    return f"not proven flat within {limits.flat:g} s; --stop-anyway stops it all the same"


@dataclass
class Watch:
    """What was seen of machines since they went down; times are seconds after the press."""

    starts: dict[str, str]  # machine -> its newest start, as last seen
    since: dict[str, float] = field(default_factory=dict)  # machine -> when it was first seen down
    came_back: set[str] = field(default_factory=set)

    def see(self, machine: str, row: Row, now: float, *, told: bool) -> None:
        """``told``: it has been told to stop, so that a new start since the last look means that it came back."""
        down, start = is_down(row), _started(row)
        restarted = start != self.starts.get(machine, start)
        if (told and restarted) or (machine in self.since and not down):
            self.came_back.add(machine)
            self.since.pop(machine, None)
        if down:
            self.since.setdefault(machine, now)
        self.starts[machine] = start

    def calm(self, now: float) -> float | None:
        """Seconds that every machine seen down has been so; None when none was."""
        return min((now - at for at in self.since.values()), default=None)


def watch(services: Services, board: Board, decided: Mapping[str, Future[str | None]], starts: dict[str, str]) -> None:
    """Look at the list until every machine is down and has stayed down for its time; end the part.

    A machine that comes back, or that was made meanwhile, is stopped too. ``starts``: machine -> its newest start
    before anything was decided.
    """
    seen, delay, window, until = Watch(starts), FIRST, board.limits.stays_stopped, None
    while True:
        try:
            rows = listed(services, board, board.now() + window)
        except ServiceError as error:
            board.end("machines", "unknown", complaint=f"Fly does not list the machines any more: {error}")
            return
        known = {str(row["id"]): row for row in rows if _chosen(board, row)}
        pending = [machine for machine, future in decided.items() if not future.done()]
        kept = {m: words for m, future in decided.items() if future.done() and (words := future.result())}
        for machine, row in known.items():
            seen.see(machine, row, board.now(), told=machine not in pending and machine not in kept)
        up = [m for m, row in known.items() if not is_down(row) and m not in kept]
        for machine in up:
            if machine in seen.came_back or machine not in decided:
                _stop(services, board, machine)
        calm = seen.calm(board.now())
        board.tell("machines", f"{len(seen.since)} stopped, {len(up)} to go; quiet for {calm or 0:.0f} s")
        if not pending and until is None:
            until = board.now() + board.limits.stop + window
        quiet = not up and (calm is None or calm >= window)
        if not pending and (quiet or board.now() >= (until or 0)):
            _judge(board, seen, up, kept, quiet=quiet)
            return
        time.sleep(delay)
        delay = min(delay * 1.3, MOST)


def _judge(board: Board, seen: Watch, up: Sequence[str], kept: Mapping[str, str], *, quiet: bool) -> None:
    window = board.limits.stays_stopped
    late = [] if quiet or up else [f"they did not stay stopped for {window:g} s"]
    wrong = [*kept.values(), *(f"{machine} still runs" for machine in up), *late]
    words = f"{len(seen.since)} stopped and stayed so for {window:g} s" if seen.since else "no machine runs"
    if seen.came_back:
        words = f"{words}; stopped again after it had come back: {', '.join(sorted(seen.came_back))}"
    board.end("machines", "failed" if wrong else "passed", words, "; ".join(wrong) or None)


def listed(services: Services, board: Board, until: float) -> list[Row]:
    """Every machine of the app; the board learns which deployments have one that runs."""
    reply = look(services, board, "machines", http("fly", "GET /v1/apps/{fly.app}/machines"), until)
    if reply.error:
        raise ServiceError(reply.error)
    rows = [row for row in reply.rows if row.get("id")]
    board.update(running={_deployment(row) for row in rows if not is_down(row)})
    return rows


def _chosen(board: Board, row: Row) -> bool:
    request = board.request
    return request.everything or _deployment(row) in {request.deployment, *board.deployments}


def _deployment(row: Row) -> str:
    return deployment_of(row) or "no deployment"


def _started(row: Row) -> str:
    """The id of the newest start among the machine's events: another one means that it ran in between."""
    starts = (event for event in row.get("events") or () if event.get("type") == "start")
    return str((next(starts, None) or {}).get("id"))
