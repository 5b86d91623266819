"""Weigh requests as the venue does. Add up the weight that each source address used in the last minute.

The weights are those of the venue's documentation (2026): 1200 a minute for all requests from one address.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

WEIGHT = 1200  # a source address may spend in a minute
USUAL = 20  # of a question
OTHERS = {"userRole": 60} | dict.fromkeys(
    ("allMids", "clearinghouseState", "exchangeStatus", "l2Book", "orderStatus", "spotClearinghouseState"), 2
)
# Lists weigh one more for so many rows.
ROWS = {
    "candleSnapshot": 60,
    "fundingHistory": 20,
    "historicalOrders": 20,
    "userFills": 20,
    "userFillsByTime": 20,
    "userNonFundingLedgerUpdates": 20,
    "userTwapSliceFills": 20,
}


def weight(path: str, ask: dict[str, Any]) -> int:
    """Return the weight of a request as far as it is known before the answer. The exchange's limits count this weight.

    `more` returns the weight that the answer's rows add.
    """
    if path == "/exchange":
        action = ask.get("action") or {}
        batch = action.get("orders") or action.get("cancels") or ()
        return 1 + len(batch) // 40
    return OTHERS.get(str(ask.get("type")), USUAL)


def more(ask: dict[str, Any], answer: Any) -> int:
    """Return the weight that an answer's rows add to a request in the exchange's limits."""
    rows = ROWS.get(str(ask.get("type")))
    return len(answer) // rows if rows and isinstance(answer, list) else 0


class Limits:
    """The request weight that each source address has used in the last ``minute`` seconds.

    If ``minute`` is None, no limit is enforced.
    """

    def __init__(self, now: Callable[[], float], minute: float | None = None) -> None:
        """Set ``now``, a clock in seconds, and ``minute``, how many seconds count as a minute. A rehearsal may set
        fewer.
        """
        self.now, self.minute = now, minute
        self._lock = threading.Lock()
        self._spent: dict[str, deque[tuple[float, int]]] = {}  # source address -> when, how much
        self.ever: Counter[str] = Counter()  # source address -> what it spent since the venue began, enforced or not

    def admit(self, source: str, amount: int) -> bool:
        """Charge a request's weight to its source address, if the limit allows it. Return whether it was charged.

        If the weight would exceed the limit, add nothing and return False.
        """
        if self.minute is None:
            self.ever[source] += amount
            return True
        with self._lock:
            if self.spent(source) + amount > WEIGHT:
                return False
            self.spend(source, amount)
        return True

    def spend(self, source: str, amount: int) -> None:
        """Charge a request's weight to its source address, even if that exceeds the limit.

        An answer's rows are weighed only after the request was admitted, so their weight may exceed the limit.
        """
        self.ever[source] += amount
        if amount and self.minute is not None:
            self._spent.setdefault(source, deque()).append((self.now(), amount))

    def spent(self, source: str) -> int:
        """Return the request weight that a source address has used in the last minute."""
        entries, begin = self._spent.setdefault(source, deque()), self.now() - (self.minute or 0)
        while entries and entries[0][0] <= begin:
            entries.popleft()
        return sum(amount for _, amount in list(entries))
