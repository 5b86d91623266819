"""Judge what a live deployment reports when it starts, and whether its positions are those at the venue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers
from runbook_lib.agentic_trading.venue_books import info
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CENT = 0.01


def started_flat(balance: float) -> Expectation:
    """Expect that a live deployment started and then reconciled, with no position and an equity of ``balance`` (2.5).

    ``balance`` is what the venue said; it must match to the cent. Reply: a row ``broker_started_at``, ``reconciled_at``
    (ISO 8601), ``positions``, ``equity_usd``.
    """

    def test(reply: Reply) -> Finding:
        row = _first(reply)
        started, done = row.get("broker_started_at"), row.get("reconciled_at")
        if not started or not done or str(done) < str(started):
            return Finding("", f"expected broker_started, then reconciled; found {started} and {done}")
        held, equity = venue_answers.number(row.get("positions")), venue_answers.number(row.get("equity_usd"))
        seen = f"positions={row.get('positions')}, equity_usd={row.get('equity_usd')}"
        if held != 0:
            return Finding(
                seen, f"the first reconciliation found {row.get('positions')} positions, expected 0", final=True
            )
        if equity is None or abs(equity - balance) > CENT + 1e-9:
            said = f"the first reconciliation says equity ${row.get('equity_usd')}, the venue said ${balance:.2f}"
            return Finding(seen, said, final=True)
        return Finding(seen)

    return over_each("broker_started, then reconciled flat", test)


def same_positions(wallet: str) -> Expectation:
    """Expect that each position of a live deployment has the same size at the venue and in ``agent_state``.

    Replies: ``clearinghouseState``, and a row ``positions``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        bad = venue_answers.differing_sizes(_first(replies[0]), _first(replies[1]).get("positions"))
        held = _first(replies[0]).get("assetPositions")
        seen = ", ".join(map(venue_answers.held, held)) if isinstance(held, list) and held else "flat in the main book"
        return Finding(seen, "; ".join(bad) or None)

    about = [info("clearinghouseState", user=wallet)]
    return over_all("the same positions in the venue's main book and in agent_state", test, about=about)


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}
