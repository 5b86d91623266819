"""Commanding the runners through the database: pause and flatten for all of them in one statement, then the acks."""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.runner_commands import (
    ENDED,
    FLATTEN,
    PAUSE,
    acknowledged,
    live_wallets,
    send_commands,
    sent_state,
    took_effect,
)
from runbook_lib.errors import ServiceError
from runbook_lib.halt.machines import listed
from runbook_lib.halt.sending import insist, look
from runbook_lib.halt.state import Deployment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.commands.command import Sql
    from runbook_lib.halt.state import Board, Request
    from runbook_lib.services.services import Services

FIRST, MOST = 0.05, 1.0  # seconds between two looks at the acknowledgements, at first and at most
ROUNDS = 3  # times a runner is told to flatten: again only when it said it had, and the venue still shows something
SETTLE = 0.5  # seconds a closing order may take to show at the venue after the acknowledgement
ISSUER = "launch-runbook halt"
Row = dict[str, Any]


def runners(services: Services, board: Board) -> None:
    """Pause and flatten, and follow the acknowledgements (parts ``pause`` and ``flatten``)."""
    key = board.book.key
    try:
        _learn(services, board, [key], board.limits.pause)
        _tell(services, board, "pause", _first(board, key), board.limits.pause)
        board.update(told_at=board.now())
        _learn(services, board, [key], board.limits.pause)
        board.update(addresses=_addresses(services, board))
    except ServiceError as error:
        _silent(board, error)
        return
    board.update(database="answered")
    if not _asked_for(board):
        return
    _follow(services, board, key)


def _tell(services: Services, board: Board, part: str, command: Sql, until: float) -> None:
    """Queue commands for runners; raise `ServiceError` if the database does not take them."""
    reply = insist(services, board, part, command, until, whole=board.limits.flat)
    if reply.error:
        raise ServiceError(f"database: {reply.error}")


def _silent(board: Board, error: ServiceError) -> None:
    """The database commands nobody: the others know, and the parts say so."""
    board.update(database="silent")
    outcome, why = "unknown" if error.sent else "failed", f"the database commands no runner: {error}"
    if board.wait(lambda: board.running is not None and not board.running, board.limits.flat):
        why += "; every machine that was listed is stopped instead"
    board.end("pause", outcome, complaint=why)
    board.end("flatten", outcome, complaint=f"the database commands no runner: {error}")


def _asked_for(board: Board) -> bool:
    """Whether the deployment that was named is there; without one, any number will do."""
    asked = board.request.deployment
    if asked is None or asked in board.deployments:
        return True
    for part in ("pause", "flatten"):
        board.end(part, "failed", complaint=f"no deployment {asked} that is not stopped already")
    return False


def _follow(services: Services, board: Board, key: str) -> None:
    """Look until every runner is paused and flat, or its time is over."""
    keys, acknowledged_at, delay = [key], dict[str, float](), FIRST
    until = board.limits.flat if board.request.mode == "halt" else _heard(board)
    while not _over(board, until):
        board.rest(delay)
        delay = min(delay * 1.2, MOST)
        try:
            _learn(services, board, keys, board.now())
        except ServiceError as error:
            board.tell("pause", f"waits: {error}")
            continue
        if board.request.mode == "reduce":  # nothing is stopped; whose machine does not run needs no pausing
            with suppress(ServiceError):
                listed(services, board, board.now())
        for deployment in board.deployments.values():
            if deployment.flattened:
                acknowledged_at.setdefault(deployment.id, board.now())
        open_still = [name for name, at in acknowledged_at.items() if _holds_on(board, name, at)]
        if open_still and len(keys) < ROUNDS:
            keys.append(f"{key}:{len(keys) + 1}")
            with suppress(ServiceError):
                _tell(services, board, "flatten", _again(board, keys[-1], open_still), until)
            acknowledged_at.clear()
    _judge(board)


def _heard(board: Board) -> float:
    """Until when a runner must have paused: its time counts from when it was told, not from the press."""
    return min((board.told_at or 0.0) + board.limits.pause, board.limits.flat)


def _over(board: Board, until: float) -> bool:
    """End what is proven; whether everything is, or the time is over."""
    _end_pause(board)
    _end_flatten(board)
    parts = [board.parts[name].outcome for name in ("pause", "flatten") if name in board.parts]
    return None not in parts or board.now() >= until


def _end_pause(board: Board) -> None:
    left = _unfenced(board)
    paused = sum(deployment.paused for deployment in board.deployments.values())
    board.tell("pause", f"{paused} paused, {len(left)} to go")
    if not left:
        others = sum(known.active and not known.paused for known in board.deployments.values())
        gone = f", {others} without a running machine" if others else ""
        board.end("pause", "passed", f"{paused} paused{gone}")


def _unfenced(board: Board) -> list[str]:
    """Deployments that may place orders: of those in error, the ones whose machine is known to run."""
    lively = board.running or set()
    both = [known.id for known in board.deployments.values() if known.active or known.id in lively]
    return [deployment for deployment in both if not board.fenced(deployment)]


def _end_flatten(board: Board) -> None:
    left = [known.id for known in board.deployments.values() if _unflattened(board, known)]
    board.tell("flatten", f"{len(left)} to go")
    if not left and board.parts["pause"].outcome is not None:
        done = sum(known.flattened for known in board.deployments.values())
        board.end("flatten", "passed", f"{done} runner{'s' * (done != 1)} said so")


def _unflattened(board: Board, known: Deployment) -> bool:
    """Whether its runner has still to be heard of, and something of it may be open."""
    lives = known.active or known.id in (board.running or set())
    said = known.flattened and (known.wallet is not None or known.positions == 0)
    return lives and not said and not board.settled(known)


def _judge(board: Board) -> None:
    """Time is over: what is missing is named."""
    deaf = _unfenced(board)
    board.end("pause", "failed", complaint=f"not paused within {board.limits.pause:g} s: {', '.join(deaf)}")
    words = [f"{known.id}{_why(known)}" for known in board.deployments.values() if _unflattened(board, known)]
    board.end("flatten", "failed", complaint=f"not flattened by its runner: {', '.join(words)}")


def _why(left: Deployment) -> str:
    if left.others:
        return f" shares {left.wallet} with {', '.join(left.others)}: left alone; --wallet acts on it and on them"
    if left.wallet is None and left.positions:
        return f" holds {left.positions} paper positions"
    return ""


def _holds_on(board: Board, deployment: str, acknowledged_at: float) -> bool:
    """Whether the venue shows a position or an order well after the runner said that it had flattened."""
    account = board.account(board.deployments[deployment].wallet or "")
    if account.error is not None or account.at <= acknowledged_at + SETTLE:
        return False
    return bool(account.positions or account.orders)


def _learn(services: Services, board: Board, keys: Sequence[str], until: float) -> None:
    """Look at the deployments that were asked for, and at what became of what they were sent."""
    state = sent_state([PAUSE, FLATTEN], list(board.deployments), keys=keys, everyone=True)
    reply = look(services, board, "pause", state, until, whole=board.limits.flat)
    known = {name: list(rows) for name, rows in groupby(reply.rows, lambda row: row["deployment"])}
    asked = _asked(board.request, {name: rows[0]["wallet"] for name, rows in known.items()})
    others = {name: rows[0] for name, rows in known.items() if name not in asked and rows[0]["status"] not in ENDED}
    board.update(deployments=board.deployments | {name: _deployment(known[name], others) for name in asked})


def _asked(request: Request, wallets: Mapping[str, str | None]) -> set[str]:
    """The deployments a request is for, of those that have these wallets."""
    if request.everything:
        return set(wallets)
    shared = wallets.get(str(request.deployment)) if request.wallet else None
    return {name for name, wallet in wallets.items() if name == request.deployment or (shared and wallet == shared)}


def _deployment(states: Sequence[Row], others: Mapping[str, Row]) -> Deployment:
    """What the rows of `sent_state` tell of one deployment; ``others`` are those that were not asked for."""
    pauses = [row for row in states if row["kind"] == PAUSE]
    flattens = [row for row in states if row["kind"] == FLATTEN]
    row = states[0]
    return Deployment(
        row["deployment"],
        row["broker"],
        row["status"],
        row["wallet"],
        paused=any(took_effect(PAUSE, pause) for pause in pauses),
        flattened=bool(flattens) and all(map(acknowledged, flattens)),
        positions=row["positions"],
        others=tuple(name for name, other in others.items() if row["wallet"] and other["wallet"] == row["wallet"]),
    )


def _addresses(services: Services, board: Board) -> set[str]:
    """Wallets whose flatness is to be proven: those of the deployments asked for or, of everything, every one."""
    own = {known.wallet for known in board.deployments.values() if known.wallet and not known.others}
    if not board.request.everything:
        return own
    ever = look(services, board, "pause", live_wallets(), board.limits.pause, whole=board.limits.flat)
    return own | {str(wallet) for wallet in ever.column("wallet")} | named(services)


def named(services: Services) -> set[str]:
    """The profile's own wallet, if it names one."""
    wallet = services.settings.hyperliquid.wallet
    return {wallet.lower()} if wallet else set()


def _first(board: Board, key: str) -> Sql:
    """Pause and flatten; whose wallet others use is left alone (C37): its runner would close their positions too."""
    pairs = [(name, PAUSE) for name in board.deployments]
    if board.request.mode == "halt":
        pairs += [(name, FLATTEN) for name, known in board.deployments.items() if not known.others]
    return send_commands(pairs, key=key, issuer=ISSUER)


def _again(board: Board, key: str, deployments: Sequence[str]) -> Sql:
    alone = [name for name in deployments if not board.deployments[name].others]
    return send_commands([(name, FLATTEN) for name in alone], key=key, issuer=ISSUER)
