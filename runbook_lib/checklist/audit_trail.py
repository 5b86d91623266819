"""Compare each order's row in the platform's database with the runner's log and with the venue's lists (C21).

Functions are pure: they take rows, and return one line for each mismatch. Orders are compared in all directions: a row
may lack its log or its order at the venue, a log line its row, an order or a fill at the venue its row.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.venue_answers import CLOSE, inner, number, of_no_order, same, total
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Claim, Expectation, Finding, over_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    Row = Mapping[str, Any]

SHOWN = 12  # mismatches a complaint lists
PLACED, ENDED = "order_placed", {"order_filled": "filled", "order_cancelled": "cancelled", "order_rejected": "rejected"}
SIDES = {"B": "buy", "A": "sell"}
NOBODY = "None"  # the key of rows without a client order id
ENDS_AT_VENUE = {"filled": "filled", "open": "open", "canceled": "cancelled", "rejected": "rejected"}


def trails_agree(due: str) -> Expectation:
    """Expect that database rows, runner log and venue agree on every order, its fills and its fees (C21).

    If there is no order yet, this stays unproven, for the step ``due`` to prove. Replies: ``mainnet_orders`` of the
    wallet, the ``agent_logs`` of these orders, ``historicalOrders``, ``userFills``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        orders, logs, placed, fills = (reply.rows for reply in replies)
        bad = differing_trails(orders, logs, placed, fills)
        shown = "".join(f"\n  {line}" for line in bad[:SHOWN]) + (
            f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        )
        seen = f"{len(orders)} orders, {len(fills)} fills, everywhere the same"
        unproven = () if orders else (Claim("rows, log and venue tell the same of an order", "no order yet", due),)
        return Finding(seen, f"{len(bad)} mismatches:{shown}" if bad else None, unproven=unproven)

    return over_all("rows, log and venue tell the same of every order", test)


def differing_trails(
    orders: Sequence[Row], logs: Sequence[Row], placed: Sequence[Row], fills: Sequence[Row]
) -> list[str]:
    """Return a line for each mismatch in the audit trail: the platform's orders, the runner's log and the venue's
    lists.

    ``orders``: rows of ``mainnet_orders``. ``logs``: rows with ``event`` and ``cloid`` and, where the runner logs them,
    ``symbol``, ``side``, ``size_base``, ``price``. ``placed``: the venue's ``historicalOrders``, which lists an order
    once for each change of its status. ``fills``: the venue's ``userFills``.

    All four lists must be of one wallet and of one span of time: an order or a fill of anybody else is a mismatch.
    """
    trails = _Trails(orders, logs, placed, fills)
    return [f"{cloid} {words}" for cloid in trails.cloids for words in trails.of(cloid)] + trails.of_nobody()


class _Trails:
    """The rows that `differing_trails` compares: orders, log events, placed orders and fills, grouped by client order
    id.
    """

    def __init__(self, orders: Sequence[Row], logs: Sequence[Row], placed: Sequence[Row], fills: Sequence[Row]) -> None:
        self.orders = _by_cloid(orders, lambda row: row)
        self.logs = _by_cloid(logs, lambda row: row)
        self.placed = _by_cloid(_newest(placed), lambda row: inner(row, "order"))
        self.fills = _by_cloid({repr(row.get("tid")): row for row in fills}.values(), lambda row: row)
        cloids = self.orders.keys() | self.logs.keys() | self.placed.keys() | self.fills.keys()
        self.cloids = sorted(cloids - {NOBODY})

    def of(self, cloid: str) -> Iterator[str]:
        """Yield the mismatches in the audit trail of one order."""
        orders, placed = self.orders[cloid], self.placed[cloid]
        logged = [row for row in self.logs[cloid] if row.get("event") == PLACED]
        ended = [row for row in self.logs[cloid] if row.get("event") != PLACED]
        yield from _counted("row in mainnet_orders", len(orders))
        yield from _counted("order_placed in the log", len(logged))
        sent = bool(orders) and orders[0].get("status") != "rejected"
        if sent or placed or self.fills[cloid]:  # a refused order may never have got to the venue
            yield from _counted("order at the venue", len(placed))
        for order in orders[:1]:
            for row in logged[:1]:
                yield from _against_log(order, row)
            yield from _against_ends(order, ended)
            for update in placed[:1]:
                yield from _against_venue(order, inner(update, "order"), update.get("status"))
            yield from _against_fills(order, self.fills[cloid])

    def of_nobody(self) -> list[str]:
        """Describe audit trail rows without a client order id: liquidations, TWAP slices, and rows of unknown
        origin.
        """
        kinds = [of_no_order(fill) for fill in self.fills[NOBODY]]
        strange = [f"{fill.get('coin')} fill {fill.get('tid')}" for fill in self.fills[NOBODY] if not of_no_order(fill)]
        orders = [inner(update, "order") for update in self.placed[NOBODY]]
        strange += [f"{order.get('coin')} order {order.get('oid')}" for order in orders]
        strange += [f"row of {row.get('symbol')} in mainnet_orders" for row in self.orders[NOBODY]]
        strange += [f"{row.get('event')} in the log" for row in self.logs[NOBODY]]
        words = "has no client order id: nobody of this platform placed it"
        return [kind for kind in kinds if kind] + [f"{row} {words}" for row in strange]


def _newest(updates: Sequence[Row]) -> list[Row]:
    """Return the newest status update of each order.

    Of two updates at the same time, the one that is not ``open`` counts.
    """
    newest: dict[str, Row] = {}
    for update in updates:
        oid = repr(inner(update, "order").get("oid"))
        if oid not in newest or _age(update) > _age(newest[oid]):
            newest[oid] = update
    return list(newest.values())


def _age(update: Row) -> tuple[float, bool]:
    at = number(update.get("statusTimestamp"))
    return (-math.inf if at is None else at), update.get("status") != "open"


def _by_cloid(rows: Iterable[Row], order_of: Callable[[Row], Row]) -> defaultdict[str, list[Row]]:
    by_cloid: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_cloid[str(order_of(row).get("cloid"))].append(row)
    return by_cloid


def _counted(rows: str, count: int) -> Iterator[str]:
    if count != 1:
        yield f"{rows}: expected 1, found {count}"


def _against_log(order: Row, logged: Row) -> Iterator[str]:
    for name, alike in (("symbol", _equal), ("side", _equal), ("size_base", _same_number)):
        if logged.get(name) is not None and not alike(order.get(name), logged[name]):
            yield f"{name}: {order.get(name)} in the row, {logged[name]} in its order_placed"


def _against_ends(order: Row, ended: Sequence[Row]) -> Iterator[str]:
    """Compare an order's final status in its database row with the final event in the runner's log.

    The log must hold one final event, or none while the order still rests.
    """
    endings = [ENDED.get(str(row.get("event")), str(row.get("event"))) for row in ended]
    status = str(order.get("status"))
    wanted = [status] if status in ENDED.values() else []
    if endings != wanted and (status, endings) != ("rejected", []):  # the documents name no event for a refusal
        yield f"status: {status} in the row, {', '.join(endings) or 'no end'} in the log"
    for row in ended:
        for name, column in (("size_base", "filled_size_base"), ("price", "avg_fill_price")):
            if row.get(name) is not None and not _same_number(order.get(column), row[name]):
                yield f"{column}: {order.get(column)} in the row, {row[name]} in its {row.get('event')}"


def _against_venue(order: Row, placed: Row, status: Any) -> Iterator[str]:
    pairs = (
        ("symbol", order.get("symbol"), placed.get("coin"), _equal),
        ("side", order.get("side"), SIDES.get(str(placed.get("side"))), _equal),
        ("size_base", order.get("size_base"), placed.get("origSz"), _same_number),
    )
    for name, in_row, at_venue, alike in pairs:
        if not alike(in_row, at_venue):
            yield f"{name}: {in_row} in the row, {at_venue} at the venue"
    if _venue_end(str(status)) != order.get("status") and not _partly(order, str(status)):
        yield f"status: {order.get('status')} in the row, {status} at the venue"


def _venue_end(status: str) -> str:
    """Translate the venue's status of an order into the platform's: ``filled``, ``open``, ``cancelled``, ``rejected``.

    Every status that ends with ``Canceled``, and iocCancelRejected, is ``cancelled``.
    """
    if status in ENDS_AT_VENUE:
        return ENDS_AT_VENUE[status]
    if status.endswith("Canceled") or status == "iocCancelRejected":
        return "cancelled"
    return "rejected" if status.endswith("Rejected") else status


def _partly(order: Row, status: str) -> bool:
    """Return whether an order was filled in part.

    The order's row then says ``filled``, and the venue cancelled the rest.
    """
    filled, size = number(order.get("filled_size_base")), number(order.get("size_base"))
    partial = filled is not None and size is not None and 0 < filled < size
    return partial and order.get("status") == "filled" and _venue_end(status) == "cancelled"


def _against_fills(order: Row, fills: Sequence[Row]) -> Iterator[str]:
    sizes, prices, fees = ([number(fill.get(key)) for fill in fills] for key in ("sz", "px", "fee"))
    size, fee = total(sizes), total(fees)
    if size is None or fee is None or total(prices) is None:
        yield "fills: a size, price or fee at the venue is no number"
        return
    if not _same_number(order.get("filled_size_base"), size):
        yield f"filled_size_base: {order.get('filled_size_base')} in the row, {size:g} filled at the venue"
    if (asked := number(order.get("size_base"))) is not None and size > asked * (1 + CLOSE):
        yield f"filled more than ordered: {size:g} of {asked:g}"
    for fill in fills:
        if (fill.get("coin"), SIDES.get(str(fill.get("side")))) != (order.get("symbol"), order.get("side")):
            yield f"fill {fill.get('tid')}: {fill.get('side')} {fill.get('coin')} at the venue"
    if not fills:
        return
    price = sum((s or 0) * (p or 0) for s, p in zip(sizes, prices, strict=True)) / size if size else math.nan
    if not _same_number(order.get("avg_fill_price"), price):
        yield f"avg_fill_price: {order.get('avg_fill_price')} in the row, {price:g} at the venue"
    if not _same_fee(order.get("fee_usd"), fee):
        yield f"fee_usd: {order.get('fee_usd')} in the row, {fee:g} at the venue"


def _same_fee(in_row: Any, at_venue: float) -> bool:
    """Return whether two fees differ by at most one in USDC's last digit. If the first fee is in whole cents, compare
    only cents.

    A tiny order's fee is under a cent: if only cents were compared, a missing fee would look right.
    """
    fee = number(in_row)
    if fee is None:
        return False
    cents = abs(fee - round(fee, 2)) < CLOSE
    return abs(fee - at_venue) < 1.5e-6 or (cents and fee != 0 and round(fee, 2) == round(at_venue, 2))


def _equal(first: Any, second: Any) -> bool:
    return bool(first == second)


def _same_number(first: Any, second: Any) -> bool:
    return same(number(first), number(second))
