"""The wallet and its agent at the venue: what they hold, who they are, and what is to be signed.

The arithmetic is in ``venue``; here are the commands and the expectations over replies.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers, venue_books
from runbook_lib.commands.command import Http, Reply, http
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each
from runbook_lib.errors import ConfigError
from runbook_lib.steps.run_facts import told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.steps.phase import Phase

LONGEST = 181.0  # days: the venue's own limit of 180, and a day for clocks
STALE = 60.0  # seconds between an answer's own time and when it came, of which a clock's error may be the most
AGENT_DAYS = 30.0  # an agent that expires sooner stops a launch: its runner would lose the venue in the first weeks


def info(kind: str, **fields: Any) -> Http:
    """An unsigned question to the venue; it changes nothing. Ask with the master's address: an agent's is empty."""
    return http("hyperliquid", "POST /info", reads=True, json={"type": kind, **fields})


def wallet_of(phase: Phase, number: str, given: str = "") -> str:
    """The master wallet: the parameter, else the profile's, else the one the person took in step ``number``.

    Raise `ConfigError` where nobody named one: a wallet is never guessed.
    """
    address = given or phase.settings.hyperliquid.wallet or told(phase, number, "address")
    if not address:
        raise ConfigError(
            "no wallet is named: write its address into hyperliquid.wallet in the profile, or give -p wallet"
        )
    return str(address).lower()


def funded(usd: float, within: float = 1.0) -> Expectation:
    """Equity by the account's mode (C16) is ``usd``, give or take ``within``, US dollars.

    Replies: ``userAbstraction``, ``clearinghouseState``, ``spotClearinghouseState``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        mode, equity = _equity(replies)
        if equity is None:
            return Finding(mode, f"no rule for an account of mode {mode!r}, or its balances cannot be read")
        seen = f"{mode} account, equity ${equity:.2f}"
        good = abs(equity - usd) <= within
        return Finding(seen, None if good else f"{seen}: expected ${usd:.2f}, give or take ${within:.2f}")

    return over_all(f"equity of ${usd:g} by the account's mode", test)


def _equity(replies: Sequence[Reply]) -> tuple[str, float | None]:
    mode, perp, spot = replies
    name = mode.text.strip().strip('"')
    return name, venue_answers.equity(name, _first(perp), _first(spot))


def equity_before(phase: Phase, number: str) -> float:
    """The equity a `funded` step saw: before the first order, also in a run that is resumed after it."""
    equity = _equity([phase.reply(number, index) for index in range(3)])[1]
    if equity is None:
        raise ConfigError(f"step {number} has seen no equity: run it again")
    return equity


def fresh_wallet() -> Expectation:
    """Nothing is on the wallet but what this run did: no position, order, fill or agent of anybody else's.

    Replies: rows of ``cloid`` and ``agent_address`` that this run made, ``clearinghouseState``, ``frontendOpenOrders``,
    ``userFills``, ``extraAgents``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        ours, perp, resting, fills, agents = replies
        if unreadable := _unreadable(perp, resting, fills, agents):
            return Finding("", unreadable, unsure=True)
        cloids = {cloid for cloid in ours.column("cloid") if cloid}
        known = {str(address).lower() for address in ours.column("agent_address") if address}
        strange = [
            f"order {row.get('oid')} {row.get('coin')}" for row in resting.rows if row.get("cloid") not in cloids
        ]
        strange += [f"fill {row.get('tid')} {row.get('coin')}" for row in fills.rows if row.get("cloid") not in cloids]
        strange += [
            f"agent {row.get('name')} {row.get('address')}"
            for row in agents.rows
            if str(row.get("address")).lower() not in known
        ]
        held = _first(perp).get("assetPositions")
        if not isinstance(held, list) or (held and not fills.rows):
            strange.append(f"positions: {held}")
        return Finding("nothing of anybody else's", f"not a fresh wallet: {', '.join(strange)}" if strange else None)

    return over_all("a fresh wallet", test)


def holds_at_most(usd: float) -> Expectation:
    """The positions of the wallet are worth at most ``usd`` together. Reply: ``clearinghouseState``."""

    def test(reply: Reply) -> Finding:
        held = _first(reply).get("assetPositions")
        values = [
            venue_answers.number(venue_answers.inner(position, "position").get("positionValue"))
            for position in _dicts(held)
        ]
        worth = venue_answers.total(values)
        if not isinstance(held, list) or worth is None:
            return Finding("", f"expected assetPositions with their value, found {held}")
        seen = f"positions worth ${worth:.2f}"
        if worth < 0:
            return Finding(seen, f"{seen}: a value below zero cannot be")
        return Finding(seen, None if worth <= usd else f"{seen}, at most ${usd:g} for an experiment")

    return over_each(f"positions worth at most ${usd:g}", test)


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def flat() -> Expectation:
    """No position in the main book, and no order that rests there or in spot; builders' books are not read.

    Replies: ``clearinghouseState``, ``frontendOpenOrders``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        perp, resting = replies
        held = _first(perp).get("assetPositions")
        if not isinstance(held, list):
            return Finding("", "the venue's answer has no assetPositions")
        if unreadable := _unreadable(perp, resting):
            return Finding("", unreadable, unsure=True)
        left = [f"position {venue_answers.held(position)}" for position in held]
        left += [f"order {row.get('oid')} {row.get('coin')}" for row in resting.rows]
        return Finding("flat in the main book", f"not flat: {', '.join(left)}" if left else None)

    return over_all("no position and no resting order in the main book", test)


def _unreadable(perp: Reply, *listed: Reply) -> str | None:
    """Why nothing can be said to be absent: an old state, a list of something else, or one that is cut off."""
    moment = venue_answers.number(_first(perp).get("time"))
    if perp.at and (moment is None or abs(perp.at - moment / 1000) > STALE):
        return "the venue's answer is not about now"
    for reply in listed:
        if any(row.keys().isdisjoint(("coin", "oid", "tid", "address")) for row in reply.rows):
            return "the venue's list holds something that is none of its rows"
        if not venue_books.complete(reply.rows):
            return f"the venue lists the newest {len(reply.rows)}, and there may be more"
    return None


def approval_of(typed: Any) -> Expectation:
    """What the wallet shows, if a program saw it, is the approval of the agent in the reply's one row (C24).

    In production no program sees the wallet's window: the person compares it with the row that is shown.
    """

    def test(reply: Reply) -> Finding:
        if len(reply.rows) != 1:
            return Finding("", f"expected exactly 1 agent that was made now, found {len(reply.rows)}")
        row = reply.rows[0]
        if not str(row.get("agent_address")).startswith("0x") or venue_answers.number(row.get("created_ms")) is None:
            return Finding("", f"expected an agent's address and time, found {dict(row)}")
        seen = f"agent {row.get('agent_address')}, named {row.get('agent_name') or '(no name)'}"
        wrong = venue_answers.wrongly_asked(typed, row) if isinstance(typed, dict) else []
        return Finding(seen, f"do not sign: {'; '.join(wrong)}" if wrong else None)

    return over_each("the pending agent, and nothing else, is to be approved", test)


def agent_known(agent: str, master: str) -> Expectation:
    """The venue lets ``agent`` trade for ``master``, and how long (C32). Replies: ``extraAgents``, ``userRole``."""

    def test(replies: Sequence[Reply]) -> Finding:
        days = venue_answers.valid_days(replies[0].rows, agent, time.time())
        master_of = _master(replies[1])
        if days is None:
            return Finding(
                "", f"extraAgents of {master} does not list {agent}: not approved, or approved without a name"
            )
        seen = f"valid for {days:.0f} days"
        if master_of != master.lower():
            return Finding(seen, f"userRole of {agent}: expected agent of {master}, found {dict(_first(replies[1]))}")
        if days > LONGEST:
            return Finding(seen, f"{seen}: the venue approves for at most {LONGEST - 1:.0f} days, so this is no time")
        return Finding(seen, None if days >= AGENT_DAYS else f"{seen}, at least {AGENT_DAYS:.0f} are needed")

    return over_all("the venue knows the agent", test)


def agent_gone(agent: str, keeps: str, master: str) -> Expectation:
    """The venue knows ``agent`` no more, and still knows ``keeps`` (C24).

    Replies: ``extraAgents`` of the master, ``userRole`` of the one that went, ``userRole`` of the one that stays.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        listed = [str(row.get("address")).lower() for row in replies[0].rows]
        bad = [f"extraAgents still lists {agent}"] if agent.lower() in listed else []
        bad += [] if keeps.lower() in listed else [f"extraAgents lists {keeps} no more: the first agent went with it"]
        role = _first(replies[1]).get("role")
        if role != "missing" and (role == "agent" or not isinstance(role, str)):
            bad.append(f"userRole of {agent} is still {dict(_first(replies[1]))}")
        if _master(replies[2]) != master.lower():
            bad.append(f"userRole of {keeps}: expected agent of {master}, found {dict(_first(replies[2]))}")
        return Finding("gone; the first agent is still there", "; ".join(bad) or None)

    return over_all("the venue knows the revoked agent no more", test)


def _master(role: Reply) -> str | None:
    answer = _first(role)
    return str(venue_answers.inner(answer, "data").get("user")).lower() if answer.get("role") == "agent" else None


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}
