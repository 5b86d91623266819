"""Command the runners through the database: pause and flatten all in one statement, then await acknowledgements."""

from __future__ import annotations

from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.deployment_queries import live_wallets
from runbook_lib.agentic_trading.runner_commands import (
    ENDED,
    FLATTEN,
    PAUSE,
    acknowledged,
    send_commands,
    sent_state,
    took_effect,
)
from runbook_lib.errors import ServiceError
from runbook_lib.halt.machines import listed
from runbook_lib.halt.retries import insist, look
from runbook_lib.halt.state import Deployment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.commands.command import Sql
    from runbook_lib.halt.state import Halting, Request
    from runbook_lib.services.services import Services

FIRST, MOST = 0.05, 1.0  # seconds between two looks at the acknowledgements, at first and at most
ROUNDS = 3  # times a runner is told to flatten; again only if it acknowledged and the venue still shows something
SETTLE = 0.5  # seconds a closing order may take to show at the venue after the acknowledgement
ISSUER = "launch-runbook halt"
Row = dict[str, Any]


def runners(services: Services, halting: Halting) -> None:
    """Pause and flatten the runners, and follow their acknowledgements (parts ``pause`` and ``flatten``)."""
    key = halting.book.key
    try:
        _learn(services, halting, [key], halting.limits.pause)
        _tell(services, halting, "pause", _first(halting, key), halting.limits.pause)
        halting.update(told_at=halting.now())
        _learn(services, halting, [key], halting.limits.pause)
        halting.update(addresses=_addresses(services, halting))
    except ServiceError as error:
        _silent(halting, error)
        return
    halting.update(database="answered")
    if not _asked_for(halting):
        return
    _follow(services, halting, key)


def _tell(services: Services, halting: Halting, part: str, command: Sql, until: float) -> None:
    """Write a halt's commands for the runners into the database.

    Raise `ServiceError` if the database does not accept the commands.
    """
    reply = insist(services, halting, part, command, until, answer_by=halting.limits.flat)
    if reply.error:
        raise ServiceError(f"database: {reply.error}")


def _silent(halting: Halting, error: ServiceError) -> None:
    """End the parts ``pause`` and ``flatten``, because the database takes no commands.

    The other parts learn from the halt's state that the database is silent.
    """
    halting.update(database="silent")
    outcome, why = "unknown" if error.sent else "failed", f"the database commands no runner: {error}"
    if halting.wait(lambda: halting.running is not None and not halting.running, halting.limits.flat):
        why += "; every machine that was listed is stopped instead"
    halting.end("pause", outcome, complaint=why)
    halting.end("flatten", outcome, complaint=f"the database commands no runner: {error}")


def _asked_for(halting: Halting) -> bool:
    """Return False if the halt's request names a deployment that does not exist. Otherwise return True.

    If the deployment does not exist, end the parts ``pause`` and ``flatten`` as failed.
    """
    asked = halting.request.deployment
    if asked is None or asked in halting.deployments:
        return True
    for part in ("pause", "flatten"):
        halting.end(part, "failed", complaint=f"no deployment {asked} that is not stopped already")
    return False


def _follow(services: Services, halting: Halting, key: str) -> None:
    """Read the runners' state until every runner is paused and flat, or until the time is over.

    A runner that reported to have flattened while the venue still shows something open is told to flatten again.
    """
    keys, acknowledged_at, delay = [key], dict[str, float](), FIRST
    until = halting.limits.flat if halting.request.mode == "halt" else _heard(halting)
    while not _over(halting, until):
        halting.rest(delay)
        delay = min(delay * 1.2, MOST)
        try:
            _learn(services, halting, keys, halting.now())
        except ServiceError as error:
            halting.tell("pause", f"waits: {error}")
            continue
        if halting.request.mode == "reduce":  # no other part lists machines then; a runner without one needs no pause
            with suppress(ServiceError):
                listed(services, halting, halting.now())
        for deployment in halting.deployments.values():
            if deployment.flattened:
                acknowledged_at.setdefault(deployment.id, halting.now())
        open_still = [name for name, at in acknowledged_at.items() if _holds_on(halting, name, at)]
        if open_still and len(keys) < ROUNDS:
            keys.append(f"{key}:{len(keys) + 1}")
            with suppress(ServiceError):
                _tell(services, halting, "flatten", _again(halting, keys[-1], open_still), until)
            acknowledged_at.clear()
    _judge(halting)


def _heard(halting: Halting) -> float:
    """Return the time limit for pausing the runners, in seconds after the operator's command to halt.

    A runner's time to pause begins when it was told, which a slow database makes later than the press.
    """
    return min((halting.told_at or 0.0) + halting.limits.pause, halting.limits.flat)


def _over(halting: Halting, until: float) -> bool:
    """End the parts ``pause`` and ``flatten`` if the runners prove them. Return whether both have ended or the time is
    over.

    Return whether both have ended or the time is over.
    """
    _end_pause(halting)
    _end_flatten(halting)
    parts = [halting.parts[name].outcome for name in ("pause", "flatten") if name in halting.parts]
    return None not in parts or halting.now() >= until


def _end_pause(halting: Halting) -> None:
    left = _unfenced(halting)
    paused = sum(deployment.paused for deployment in halting.deployments.values())
    halting.tell("pause", f"{paused} paused, {len(left)} to go")
    if not left:
        unpaused = sum(known.active and not known.paused for known in halting.deployments.values())
        gone = f", {unpaused} without a running machine" if unpaused else ""
        halting.end("pause", "passed", f"{paused} paused{gone}")


def _unfenced(halting: Halting) -> list[str]:
    """Return the deployments whose runners may still place orders.

    A deployment in error, whose runner should be dead, counts only if its machine is known to run.
    """
    lively = halting.running or set()
    both = [known.id for known in halting.deployments.values() if known.active or known.id in lively]
    return [deployment for deployment in both if not halting.fenced(deployment)]


def _end_flatten(halting: Halting) -> None:
    left = [known.id for known in halting.deployments.values() if _unflattened(halting, known)]
    halting.tell("flatten", f"{len(left)} to go")
    if not left and halting.parts["pause"].outcome is not None:
        done = sum(known.flattened for known in halting.deployments.values())
        halting.end("flatten", "passed", f"{done} runner{'s' * (done != 1)} said so")


def _unflattened(halting: Halting, known: Deployment) -> bool:
    """Return whether a deployment may still have a position that its runner has not reported as closed."""
    lives = known.active or known.id in (halting.running or set())
    said = known.flattened and (known.wallet is not None or known.positions == 0)
    return lives and not said and not halting.settled(known)


def _judge(halting: Halting) -> None:
    """End the parts ``pause`` and ``flatten`` as failed: the time is over, and the runners have not proven them.

    Name the runners that did not obey.
    """
    deaf = _unfenced(halting)
    halting.end("pause", "failed", complaint=f"not paused within {halting.limits.pause:g} s: {', '.join(deaf)}")
    words = [f"{known.id}{_why(known)}" for known in halting.deployments.values() if _unflattened(halting, known)]
    halting.end("flatten", "failed", complaint=f"not flattened by its runner: {', '.join(words)}")


def _why(left: Deployment) -> str:
    if left.others:
        return f" shares {left.wallet} with {', '.join(left.others)}: left alone; --wallet acts on it and on them"
    if left.wallet is None and left.positions:
        return f" holds {left.positions} paper positions"
    return ""


def _holds_on(halting: Halting, deployment: str, acknowledged_at: float) -> bool:
    """Return whether the venue still shows a position or an order long after the runner reported that none is left."""
    account = halting.account(halting.deployments[deployment].wallet or "")
    if account.error is not None or account.at <= acknowledged_at + SETTLE:
        return False
    return bool(account.positions or account.orders)


def _learn(services: Services, halting: Halting, keys: Sequence[str], until: float) -> None:
    """Read the state of the deployments to be halted, and the state of the commands sent to their runners."""
    state = sent_state([PAUSE, FLATTEN], list(halting.deployments), keys=keys, everyone=True)
    reply = look(services, halting, "pause", state, until, answer_by=halting.limits.flat)
    known = {name: list(rows) for name, rows in groupby(reply.rows, lambda row: row["deployment"])}
    asked = _asked(halting.request, {name: rows[0]["wallet"] for name, rows in known.items()})
    others = {name: rows[0] for name, rows in known.items() if name not in asked and rows[0]["status"] not in ENDED}
    halting.update(deployments=halting.deployments | {name: _deployment(known[name], others) for name in asked})


def _asked(request: Request, wallets: Mapping[str, str | None]) -> set[str]:
    """Return the deployments that a halt's request is for. ``wallets`` maps each deployment to its wallet."""
    if request.everything:
        return set(wallets)
    shared = wallets.get(str(request.deployment)) if request.wallet else None
    return {name for name, wallet in wallets.items() if name == request.deployment or (shared and wallet == shared)}


def _deployment(states: Sequence[Row], others: Mapping[str, Row]) -> Deployment:
    """Make a `Deployment` from its rows of `sent_state`. ``others`` are the deployments that the halt leaves alone."""
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
        others=tuple(name for name, its in others.items() if row["wallet"] and its["wallet"] == row["wallet"]),
    )


def _addresses(services: Services, halting: Halting) -> set[str]:
    """Return the wallets for which the halt must prove that they have no position and no order.

    They are the wallets of the deployments to be halted, without those that other deployments use too. If everything is
    halted, all wallets that ever traded live and the profile's own wallet are added.
    """
    asked_for = {known.wallet for known in halting.deployments.values() if known.wallet and not known.others}
    if not halting.request.everything:
        return asked_for
    ever = look(services, halting, "pause", live_wallets(), halting.limits.pause, answer_by=halting.limits.flat)
    return asked_for | {str(wallet) for wallet in ever.column("wallet")} | named(services)


def named(services: Services) -> set[str]:
    """Return the wallet that the profile names, as a set. If the profile names no wallet, return an empty set."""
    wallet = services.settings.hyperliquid.wallet
    return {wallet.lower()} if wallet else set()


def _first(halting: Halting, key: str) -> Sql:
    """Make the halt's first commands: pause every runner, and flatten runners whose wallet no other deployment uses
    (C37).

    Flattening closes the positions of all deployments that use the wallet.
    """
    pairs = [(name, PAUSE) for name in halting.deployments]
    if halting.request.mode == "halt":
        pairs += [(name, FLATTEN) for name, known in halting.deployments.items() if not known.others]
    return send_commands(pairs, key=key, issuer=ISSUER)


def _again(halting: Halting, key: str, deployments: Sequence[str]) -> Sql:
    alone = [name for name in deployments if not halting.deployments[name].others]
    return send_commands([(name, FLATTEN) for name in alone], key=key, issuer=ISSUER)
