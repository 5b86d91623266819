"""What the venue itself says of every wallet, and what an operator's key can do about it.

Flat means: asked after nobody could place an order any more, the venue showed no position and no resting order. A
venue that does not answer is never flat.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import http
from runbook_lib.errors import ConfigError, ServiceError
from runbook_lib.halt.operator_key import acting
from runbook_lib.halt.runners import named
from runbook_lib.halt.sending import Purse
from runbook_lib.halt.state import Order, Wallet

if TYPE_CHECKING:
    from runbook_lib.halt.operator_key import Key
    from runbook_lib.halt.state import Board
    from runbook_lib.services.services import Services


PAGE = "https://app.hyperliquid.xyz/portfolio"
AT_ONCE = 8  # wallets that are looked at at the same time
FIRST, MOST = 0.05, 1.0  # seconds between two looks at a wallet, at first and at most
STATE, ORDERS = 2, 20  # weights of the two questions (facts 4.5)
BY_KEY = 3  # times the key is used for one wallet


def venue(services: Services, board: Board) -> None:
    """Follow every wallet until it is flat or the time is over (parts ``cancel`` and ``flat``)."""
    board.wait(lambda: board.database != "awaited", board.limits.pause + board.limits.answer)
    if board.database != "answered":
        board.update(addresses=named(services))
    if not board.addresses:
        _no_wallet(board)
        return
    purse, hand, delay = Purse(), Hand(services), FIRST
    until = board.limits.flat
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="venue") as pool:
        while not _over(board) and board.now() < until:
            left = sorted(board.addresses - board.flat.keys())
            list(pool.map(lambda wallet: _look(services, board, purse, wallet), left))
            if _over(board) or (not hand.ready and _nobody(board)):
                break
            _act(services, board, hand)
            board.rest(delay)
            delay = min(delay * 1.2, MOST)
    _judge(board)


class Hand:
    """The operator's key, taken up only when there is something for it to do; ``used`` counts how often it acted."""

    def __init__(self, services: Services) -> None:
        self.services, self.used = services, 0
        self.ready = services.settings.hyperliquid.operator_key is not None
        self._key: Key | None = None

    def key(self) -> Key | None:
        """The key; None if the environment has none, or the venue does not know it. What remains is named anyhow."""
        if self._key is None and self.ready:
            with suppress(ConfigError, ValueError):
                self._key = acting(self.services)
            self.used += 1
            self.ready = self._key is not None or self.used < BY_KEY
            self.used = 0 if self._key is not None else self.used
        return self._key


def _no_wallet(board: Board) -> None:
    shared = [one for one in board.deployments.values() if one.others]
    for part in ("cancel", "flat"):
        if board.database != "answered":
            why = "no wallet is known: the database does not answer, and the profile names none"
            board.end(part, "unknown", complaint=why)
        elif shared:
            board.end(part, "failed", complaint=_shared(board))
        else:
            board.end(part, "passed", "no wallet trades: nothing is live")


def _look(services: Services, board: Board, purse: Purse, address: str) -> None:
    """Ask for positions and, once nobody can place any, for resting orders."""
    fenced, at = _fenced(board, address), board.now()
    before = board.wallets.get(address)
    try:
        purse.pay(STATE)
        positions = _positions(_ask(services, "clearinghouseState", address))
        orders = before.orders if before and address in board.orderless else None
        if fenced and address not in board.orderless:
            purse.pay(ORDERS)
            orders = _orders(_ask(services, "frontendOpenOrders", address))
    except (ServiceError, KeyError, TypeError, ValueError) as error:
        known = before or Wallet(address)
        said = str(error) if isinstance(error, ServiceError) else f"the answer reads strangely: {error!r}"
        board.saw(Wallet(address, known.positions, known.orders, known.at, said), orderless=False, flat=False)
        return
    clean = fenced and orders is not None and not _to_cancel(board, orders)
    found = Wallet(address, positions, orders, at, None)
    board.saw(found, orderless=clean, flat=clean and not positions)


def _ask(services: Services, kind: str, address: str) -> list[dict[str, Any]]:
    reply = services.look(http("hyperliquid", "POST /info", json={"type": kind, "user": address}, reads=True))
    if reply.error:
        raise ServiceError(f"{kind}: {reply.error}")
    return list(reply.rows)


def _positions(rows: list[dict[str, Any]]) -> dict[str, str]:
    held = [row["position"] for row in rows[0]["assetPositions"]] if rows else None
    if held is None:
        raise ValueError("no account state")
    return {one["coin"]: str(one["szi"]) for one in held if float(one["szi"])}


def _orders(rows: list[dict[str, Any]]) -> tuple[Order, ...]:
    return tuple(_order(row) for row in rows)


def _order(row: dict[str, Any]) -> Order:
    side = "buy" if row["side"] == "B" else "sell"
    protective = bool(row.get("reduceOnly") or row.get("isPositionTpsl"))
    text = f"{side} {row['sz']} {row['coin']} at {row['limitPx']} (order {row['oid']})"
    return Order(str(row["coin"]), int(row["oid"]), text, protective)


def _to_cancel(board: Board, orders: tuple[Order, ...]) -> list[Order]:
    """All of them or, to reduce only, those that would add risk."""
    return [one for one in orders if board.request.mode == "halt" or not one.protective]


def _fenced(board: Board, address: str) -> bool:
    """Whether no deployment of the wallet can place an order any more; unknown ones cannot be told."""
    if board.database != "answered":
        return board.running is not None and not board.running
    return all(board.fenced(one.id) for one in board.users(address))


def _over(board: Board) -> bool:
    """End what is proven; whether everything is."""
    _end(board, "cancel", board.orderless, "without resting orders")
    _end(board, "flat", set(board.flat), "flat")
    return all(board.parts[name].outcome is not None for name in ("cancel", "flat") if name in board.parts)


def _end(board: Board, part: str, proven: set[str], word: str) -> None:
    board.tell(part, f"{len(proven)} of {len(board.addresses)} wallets {word}")
    if board.addresses <= proven:
        if shared := _shared(board):
            board.end(part, "failed", f"{len(proven)} wallets {word}", shared)
            return
        only = "" if board.database == "answered" else "; the profile's own, others are not known"
        board.end(part, "passed", f"{len(board.addresses)} wallets {word}{only}")


def _shared(board: Board) -> str | None:
    """Wallets that were left alone because other deployments use them (C37)."""
    shared = [one for one in board.deployments.values() if one.others]
    words = [f"{one.wallet} of {one.id} is also used by {', '.join(one.others)}" for one in shared]
    return f"left alone: {'; '.join(words)}; --wallet acts on it and halts them too" if words else None


def _nobody(board: Board) -> bool:
    """Whether nothing is left that could change anything: no machine runs (or no runner cancels by choice)."""
    asked = all(wallet in board.wallets and board.wallets[wallet].error is None for wallet in board.addresses)
    idle = board.running is not None and not any(board.alive(one.id) for one in board.deployments.values())
    seen = all(board.wallets[w].orders is not None for w in board.addresses if w in board.wallets)
    return asked and seen and (idle or board.request.mode == "reduce")


def _act(services: Services, board: Board, hand: Hand) -> None:
    """Let the operator's key cancel, and close what no runner closes, in the one wallet it acts for."""
    to_do = {address: _by_hand(board, address) for address in board.addresses - board.flat.keys()}
    if not any(orders or positions for orders, positions in to_do.values()) or (key := hand.key()) is None:
        return
    orders, positions = to_do.get(key.master, ([], {}))
    if not (orders or positions) or hand.used >= BY_KEY:
        return
    hand.used += 1
    for part, words in key.reduce(services, board, orders, positions):
        board.tell(part, words)


def _by_hand(board: Board, address: str) -> tuple[list[Order], dict[str, str]]:
    """The orders and positions of a wallet that nobody else will see to."""
    found = board.wallets.get(address)
    if found is None or found.error or not _fenced(board, address) or _in_hand(board, address):
        return [], {}
    return _to_cancel(board, found.orders or ()), found.positions if board.request.mode == "halt" else {}


def _in_hand(board: Board, address: str) -> bool:
    """Whether a runner may still close the position, and cancel, itself."""
    if board.now() >= board.limits.pause or board.request.mode == "reduce":
        return False
    return any(board.alive(one.id) and not one.flattened for one in board.users(address))


def _judge(board: Board) -> None:
    """Time is over, or nobody is left: what remains is named, with the page to remove it on."""
    silent = {a: w.error for a in board.addresses if (w := board.wallets.get(a, Wallet(a))).error}
    if silent:
        words = "; ".join(f"{address}: {why}" for address, why in sorted(silent.items())[:3])
        for part in ("cancel", "flat"):
            board.end(part, "unknown", complaint=f"the venue does not tell of {len(silent)} wallets: {words}")
    holding = [board.wallets[address] for address in sorted(board.addresses - board.flat.keys())]
    resting = [f"{w.address}: {o.text}" for w in holding for o in _to_cancel(board, w.orders or ())]
    unasked = [w.address for w in holding if w.orders is None]
    unasked_words = [f"not proven for {', '.join(unasked)}: its runner may still place orders"] if unasked else []
    board.end("cancel", "failed", complaint="; ".join([*resting, *unasked_words, f"remove them at {PAGE}"]))
    held = [f"{w.address} holds {szi} {coin}" for w in holding for coin, szi in w.positions.items()]
    why = "; ".join([*held, *resting, *unasked_words]) or "flat when last seen, but a runner may still place orders"
    board.end("flat", "failed", complaint=f"{why}; close it at {PAGE}")
