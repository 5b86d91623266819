"""Ask the venue about the wallets of all live deployments, and judge their agents, positions and fills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers, venue_books
from runbook_lib.agentic_trading.venue_books import info
from runbook_lib.checklist.agent_approval import agent_known
from runbook_lib.commands.command import Http, Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def agent_questions(live: Reply) -> list[Http]:
    """Ask the venue which agents each live deployment's wallet has, and what role the deployment's agent has.

    ``live`` has ``wallet`` and ``agent`` for each deployment.
    """
    asked = ((info("extraAgents", user=wallet), info("userRole", user=agent)) for wallet, agent in _pairs(live))
    return [question for questions in asked for question in questions]


def agents_known(live: Reply) -> Expectation:
    """Expect that the venue knows the agent of every live deployment's wallet. Replies: the answers to
    `agent_questions`.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        pairs = _pairs(live)
        answered = zip(pairs, zip(replies[::2], replies[1::2], strict=True), strict=True)
        findings = [(agent, agent_known(agent, wallet).judge(both)) for (wallet, agent), both in answered]
        bad = [f"{agent}: {finding.complaint}" for agent, finding in findings if finding.complaint]
        return Finding("; ".join(finding.seen for _, finding in findings), "; ".join(bad) or None)

    return over_all("the venue knows every live agent", test)


def position_questions(live: Reply) -> list[Http]:
    """Ask what each live deployment's wallet holds on the main exchange, where the runners trade, and in spot. Leave
    out deployments still booting, which have written no state yet.
    """
    return [question for wallet in _booted(live) for question in venue_books.equity_questions(wallet)]


def positions_agree(live: Reply) -> Expectation:
    """Expect that each live deployment's wallet holds what ``agent_state`` says, with at most the allowed leverage.

    Sizes are not compared while an order of the wallet is under way (``moving``); equity is. Replies: rows ``wallet``,
    ``positions``, ``equity_usd``, ``max_leverage``, ``moving``, then those of `position_questions`. If two deployments
    share a wallet, their positions cannot be told apart, so that a shared wallet is a complaint.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        states, *answers = replies
        bad = []
        for wallet, *account in zip(_booted(live), answers[::3], answers[1::3], answers[2::3], strict=True):
            states_of_wallet = [row for row in states.rows if row.get("wallet") == wallet]
            if len(states_of_wallet) == 1:
                differing = _differing(states_of_wallet[0], account)
                bad += [f"{wallet} {difference}" for difference in differing]
            else:
                bad.append(f"{wallet}: expected one deployment with a state, found {len(states_of_wallet)}")
        return Finding(f"{len(answers) // 3} wallets as agent_state says", "; ".join(bad) or None)

    about = position_questions(live)
    phrase = "every wallet in the main book as agent_state says, no more levered than its Skill allows"
    return over_all(phrase, test, empty=True, about=about)


def _differing(state: Mapping[str, Any], account: Sequence[Reply]) -> list[str]:
    """Return what differs between a wallet's ``agent_state`` and the venue's answers."""
    perp, (_, held) = _first(account[1]), venue_books.mode_and_equity(account)
    sizes = [] if state.get("moving") else venue_answers.differing_sizes(perp, state.get("positions"))
    equity = venue_answers.differing_equity(held, perp, state.get("equity_usd"))
    return [*sizes, *equity, *venue_answers.over_levered(perp, state.get("max_leverage"))]


def fill_questions(live: Reply) -> list[Http]:
    """Ask the venue for the fills of every live deployment's wallet."""
    return [info("userFills", user=wallet) for wallet in _wallets(live)]


def _wallets(live: Reply) -> list[str]:
    return list(dict.fromkeys(wallet for wallet, _ in _pairs(live)))


def _booted(live: Reply) -> list[str]:
    return list(dict.fromkeys(str(row["wallet"]) for row in live.rows if row.get("status") != "provisioning"))


def _pairs(live: Reply) -> list[tuple[str, str]]:
    """Return each live deployment's pair of wallet and agent. List equal pairs once."""
    return list(dict.fromkeys((str(row["wallet"]), str(row["agent"])) for row in live.rows))


def fills_have_rows(settled: float, live: Reply) -> Expectation:
    """Expect that every fill of the live deployments' wallets has an order in ``mainnet_orders``.

    A very new fill may lack its order, and so may a fill from before the wallet's first deployment (``first_ms`` in
    ``live``, in ms): its owner traded by hand.

    Replies: a row ``cloid`` for every order of the wallets, then each wallet's ``userFills`` (``time`` in ms, UTC). The
    row of a fill may come up to ``settled`` seconds after the fill.
    """
    first = {str(row["wallet"]): venue_answers.number(row.get("first_ms")) or 0 for row in live.rows}

    def test(replies: Sequence[Reply]) -> Finding:
        orders, *fills = replies
        known = {str(cloid) for cloid in orders.column("cloid") if cloid}
        strange = [
            row
            for wallet, reply in zip(_wallets(live), fills, strict=True)
            for row in reply.rows
            if _due(row, reply.at, settled, known) and not _before(row, first[wallet])
        ]
        named = [
            venue_answers.of_no_order(row)
            or f"{row.get('side')} {row.get('sz')} {row.get('coin')} (order {row.get('oid')})"
            for row in strange
        ]
        count = sum(len(reply.rows) for reply in fills)
        return Finding(f"{count} fills", f"fills without a row: {', '.join(named)}" if named else None)

    return over_all("a row for every fill", test, empty=True, about=fill_questions(live))


def _due(fill: Mapping[str, Any], now: float, settled: float, known: set[str]) -> bool:
    """Return whether a fill should have an order's row by now and has none.

    The row of a very recent fill may still come.
    """
    age = now - (venue_answers.number(fill.get("time")) or 0) / 1000
    return str(fill.get("cloid")) not in known and not -settled <= age <= settled


def _before(fill: Mapping[str, Any], moment: float) -> bool:
    """Return whether a fill is older than ``moment`` (ms). A fill that does not tell its time is not."""
    at = venue_answers.number(fill.get("time"))
    return at is not None and at < moment


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}
