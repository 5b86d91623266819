"""Ask the venue about the wallet. Judge its equity, positions and orders in every book (a perp exchange or spot).

The arithmetic is in ``venue_answers``; this module holds the commands and the expectations about replies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import venue_answers, venue_books
from runbook_lib.agentic_trading.venue_books import MAIN, SPOT, info
from runbook_lib.commands.command import Http, Reply
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError
from runbook_lib.steps.run_facts import told

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from runbook_lib.steps.phase import Phase

STALE = 60.0  # seconds from an answer's own time to its arrival; most of them allow for a wrong clock


def wallet_of(phase: Phase, number: str, given: str = "") -> str:
    """Return the address of the master wallet that the launch uses.

    It is ``given``, or the profile's, or the one that the person entered in step ``number``. Raise `ConfigError` if
    there is none of these: a wallet is never guessed.
    """
    address = given or phase.settings.hyperliquid.wallet or told(phase, number, "address")
    if not address:
        raise ConfigError(
            "no wallet is named: write its address into hyperliquid.wallet in the profile, or give -p wallet"
        )
    return str(address).lower()


def funded(usd: float, wallet: str, within: float = 1.0) -> Expectation:
    """Expect that the equity of ``wallet`` is ``usd`` US dollars, give or take ``within``.

    The account's mode decides how the equity is counted (C16).

    Replies: ``userAbstraction``, ``clearinghouseState``, ``spotClearinghouseState``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        mode, equity = venue_books.mode_and_equity(replies)
        if equity is None:
            return Finding(mode, f"no rule for an account of mode {mode!r}, or its balances cannot be read")
        seen = f"{mode} account, equity ${equity:.2f}"
        good = abs(equity - usd) <= within
        return Finding(seen, None if good else f"{seen}: expected ${usd:.2f}, give or take ${within:.2f}")

    # Of an account that keeps its money elsewhere, spot tells nothing.
    return over_all(
        f"equity of ${usd:g} by the account's mode", test, empty=True, about=venue_books.equity_questions(wallet)
    )


def equity_before(phase: Phase, number: str) -> float:
    """Return the wallet's equity that a step read before the first order.

    The `funded` step ``number`` read this equity, in this or an earlier run.
    """
    _, equity = venue_books.mode_and_equity([phase.reply(number, index) for index in range(3)])
    if equity is None:
        raise ConfigError(f"step {number} has seen no equity: run it again")
    return equity


# --- every book -----------------------------------------------------------------------------------------------------


def state_questions(wallet: str, listed: Reply) -> list[Http]:
    """Ask which books exist at the venue now, and what the wallet holds in spot and in each perp book of ``listed``."""
    return [venue_books.books(), *(venue_books.state(wallet, book) for book in (SPOT, *_perpetual(listed)))]


def book_questions(wallet: str, listed: Reply) -> list[Http]:
    """Ask what `state_questions` asks, and which orders of the wallet rest in each book.

    The answer for the main book includes spot.
    """
    return [*state_questions(wallet, listed), *(venue_books.orders(wallet, book) for book in _perpetual(listed))]


def _perpetual(listed: Reply) -> list[str]:
    return [MAIN, *venue_books.names(listed)]


@dataclass(frozen=True)
class _Answers:
    """The venue's answers about a wallet: the existing books, tokens in spot, and each book's positions and orders."""

    books: Reply
    spot: Reply
    states: Mapping[str, Reply]
    orders: Mapping[str, Reply]

    @classmethod
    def of(cls, listed: Reply, replies: Sequence[Reply], *, orders: bool = True) -> _Answers:
        """Assign each reply about the wallet to its book (a perp exchange or spot).

        ``replies`` are those of `book_questions` or, without ``orders``, those of `state_questions`.
        """
        names, (books, spot, *of_books) = _perpetual(listed), replies
        states, resting = of_books[: len(names)], of_books[len(names) :]
        by_book = zip(names if orders else (), resting, strict=True)
        return cls(books, spot, dict(zip(names, states, strict=True)), dict(by_book))

    @property
    def words(self) -> str:
        """Return the names of the books (perp exchanges and spot) in which the wallet was looked up."""
        return ", ".join([*self.states, SPOT])

    def held(self, book: str) -> list[Any]:
        """Return the wallet's positions in one book (a perp exchange or spot)."""
        positions = _first(self.states[book]).get("assetPositions")
        return positions if isinstance(positions, list) else []

    def positions(self, but: Collection[str] = ()) -> list[str]:
        """Describe the wallet's positions and its tokens in spot. Leave out positions in the books ``but``."""
        read = [book for book in self.states if book not in but]
        named = [f"position {venue_answers.held(place)} in {book}" for book in read for place in self.held(book)]
        return named + self.tokens()

    def tokens(self) -> list[str]:
        """Describe the wallet's tokens in spot. Leave out tokens that count as money."""
        tokens = [row for row in _dicts(_first(self.spot).get("balances")) if row.get("coin") not in venue_books.MONEY]
        some = [row for row in tokens if venue_answers.number(row.get("total")) != 0]
        return [f"{row.get('total')} {row.get('coin')} in spot" for row in some]

    def resting(self, but: Collection[Any] = ()) -> list[str]:
        """Describe the wallet's resting orders. Leave out orders whose client order id is in ``but``."""
        rows = [(book, row) for book, reply in self.orders.items() for row in _known(reply)]
        strangers = [(book, row) for book, row in rows if row.get("cloid") not in but]
        return [f"order {row.get('oid')} {row.get('coin')} in {book}" for book, row in strangers]

    def unknown(self) -> str | None:
        """Return why the answers cannot prove that the wallet is empty. Return None if they can.

        An answer may be old, may have no readable list, or may be about other books than those that exist now.
        """
        if sorted(venue_books.names(self.books)) != sorted(book for book in self.states if book != MAIN):
            existing = ", ".join(venue_books.names(self.books)) or "none but its own"
            return f"the venue's books are now {existing}: these are not the books that were read ({self.words})"
        balances = _first(self.spot).get("balances")
        if not isinstance(balances, list) or len(_dicts(balances)) < len(balances):
            return "the venue's answer has no balances for spot"
        for book, state in self.states.items():
            if not isinstance(_first(state).get("assetPositions"), list):
                return f"the venue's answer has no assetPositions for {book}"
            if _old(state):
                return "the venue's answer is not about now"
        return _partial(*self.orders.values())


def _judged(answers: _Answers, good: str, wrong: str, left: Sequence[str], *lists: Reply) -> Finding:
    """Judge the wallet's answers. If ``left`` names anything, the finding says ``wrong``. If the lists are incomplete,
    the finding is unsure. Otherwise it says ``good``.
    """
    if left:
        return Finding("", f"{wrong}: {', '.join(left)}")
    if unknown := answers.unknown() or _partial(*lists):
        return Finding("", unknown, unsure=True)
    return Finding(f"{good} in {answers.words}")


def fresh_wallet(wallet: str, listed: Reply) -> Expectation:
    """Expect a fresh wallet: every position, order, fill and agent in it was made by this run.

    Replies: rows ``cloid`` and ``agent_address`` of what this run made, ``userFills``, ``extraAgents``, and those of
    `book_questions` about the books that ``listed`` names.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        ours, fills, agents, *books = replies
        answers = _Answers.of(listed, books)
        cloids = {cloid for cloid in ours.column("cloid") if cloid}
        known = {str(address).lower() for address in ours.column("agent_address") if address}
        # In the main book this run's own runner may hold a position; its fills are checked below.
        strange = [*answers.positions(but=[MAIN] if fills.rows else []), *answers.resting(but=cloids)]
        strange += [
            f"fill {row.get('tid')} {row.get('coin')}" for row in _known(fills) if row.get("cloid") not in cloids
        ]
        strange += [
            f"agent {row.get('name')} {row.get('address')}"
            for row in _known(agents)
            if str(row.get("address")).lower() not in known
        ]
        return _judged(answers, "nothing of anybody else's", "not a fresh wallet", strange, fills, agents)

    about = [info("userFills", user=wallet), info("extraAgents", user=wallet), *book_questions(wallet, listed)]
    return over_all("a fresh wallet in every book", test, empty=True, about=about)


def holds_at_most(usd: float, wallet: str, listed: Reply) -> Expectation:
    """Expect that the wallet's positions in all books are together worth at most ``usd`` US dollars.

    Replies: those of `state_questions`.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        answers = _Answers.of(listed, replies, orders=False)
        held = [position for book in answers.states for position in answers.held(book)]
        worth = venue_answers.total([_worth(position) for position in held])
        if worth is None:
            return Finding("", f"expected positions with their value, found {held}")
        seen = f"positions worth ${worth:.2f}"
        if worth < 0:
            return Finding(seen, f"{seen}: a value below zero cannot be")
        if worth > usd:
            return Finding(seen, f"{seen}, at most ${usd:g} for an experiment")
        # The venue gives no value for tokens in spot.
        return _judged(answers, seen, "of unknown worth", answers.tokens())

    return over_all(f"positions worth at most ${usd:g} in all books", test, about=state_questions(wallet, listed))


def _worth(position: Any) -> float | None:
    inside = venue_answers.inner(position, "position") if isinstance(position, dict) else {}
    return venue_answers.number(inside.get("positionValue"))


def flat(wallet: str, listed: Reply) -> Expectation:
    """Expect that the wallet has no position and no resting order in any book. The replies are those to
    ``book_questions(wallet, listed)``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        answers = _Answers.of(listed, replies)
        return _judged(answers, "flat", "not flat", [*answers.positions(), *answers.resting()])

    about = book_questions(wallet, listed)
    return over_all("no position and no resting order in any book", test, empty=True, about=about)


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _old(state: Reply) -> bool:
    """Return whether an answer about a wallet is stale: it holds no time, or a time that is too old."""
    moment = venue_answers.number(_first(state).get("time"))
    return bool(state.at) and (moment is None or abs(state.at - moment / 1000) > STALE)


def _known(reply: Reply) -> list[Mapping[str, Any]]:
    """Return the rows of a list that look like orders, fills or agents."""
    return [row for row in reply.rows if not row.keys().isdisjoint(("coin", "oid", "tid", "address"))]


def _partial(*listed: Reply) -> str | None:
    """Return why a venue's list may be incomplete: a row is not understood, or the list is cut off.

    Return None if the lists are complete.
    """
    for reply in listed:
        if len(_known(reply)) < len(reply.rows):
            return "the venue's list holds something that is none of its rows"
        if not venue_books.complete(reply.rows):
            return f"the venue lists the newest {len(reply.rows)}, and there may be more"
    return None


def _first(reply: Reply) -> Mapping[str, Any]:
    return reply.rows[0] if reply.rows else {}
