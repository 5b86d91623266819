"""Hold what a halt knows so far: its parts, deployments, wallets and machines. All threads of the halt share it.

Each thread writes what it has learnt and wakes the others; none waits for another without a time limit of its own.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.runner_commands import ACTIVE
from runbook_lib.agentic_trading.venue_books import MAIN, SPOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from runbook_lib.halt.halt_record import Book
    from runbook_lib.settings.profiles import Settings

LOOKS = 2  # successive looks that prove something: one answer may come from a cache, or be a moment old


@dataclass(frozen=True)
class Request:
    """The request that a halt carries out: which deployment or everything, and in which mode.

    Without a ``deployment``, the request is for all deployments and for the platform's switches.

    ``wallet``: act also on a wallet that other deployments use, and halt those deployments as well. ``stop_anyway``:
    stop the machine of a deployment even if the deployment did not get flat.
    """

    deployment: str | None = None
    mode: str = "halt"  # or "reduce": no new risk, protective orders and positions stay
    wallet: bool = False
    stop_anyway: bool = False

    @property
    def everything(self) -> bool:
        """Return whether the halt's request is to stop the whole platform."""
        return self.deployment is None


@dataclass(frozen=True)
class Part:
    """One part of a halt, such as ``pause`` or ``flat``. ``outcome`` is None until the part ends.

    The press is the moment of the operator's command.
    """

    name: str
    title: str
    outcome: str | None = None
    seen: str = ""
    complaint: str | None = None
    began: float = 0.0
    ended: float | None = None


@dataclass(frozen=True)
class Deployment:
    """What a halt knows of one deployment, as the database last reported it. ``wallet`` is in lower case, and None on
    paper.

    ``paused`` and ``flattened`` are true if the runner acknowledged the command and the deployment's row agrees.
    ``others`` are deployments that use the same wallet and are not to be halted.
    """

    id: str
    broker: str
    status: str
    wallet: str | None = None
    paused: bool = False
    flattened: bool = False
    positions: int = 0
    others: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """Return whether the deployment's runner should be running, judging by the status that the halt has read."""
        return self.status in ACTIVE


@dataclass(frozen=True)
class Order:
    """A resting order that a halt has seen. If ``protective`` is true, the order can only reduce a position."""

    coin: str
    oid: int
    text: str
    protective: bool


@dataclass(frozen=True)
class Account:
    """What a halt knows of a wallet in one book (a perp exchange or spot): the positions and orders that the venue last
    reported.

    ``positions`` maps coin -> signed size as the venue writes it. ``orders`` is None until the orders were asked for.
    ``moment`` is the answer's own time, in epoch milliseconds. ``flat`` counts the successive looks that saw no
    position and no order, ``orderless`` those that saw no order, each look of a later moment than the one before.
    ``flat_at`` is when the first look that ``flat`` counts was sent, in seconds after the press.
    """

    positions: dict[str, str] = field(default_factory=dict)
    orders: tuple[Order, ...] | None = None
    moment: int = 0
    flat: int = 0
    orderless: int = 0
    flat_at: float | None = None
    at: float = -1.0
    error: str | None = "not asked yet"


class Halting:
    """The state of one halt, which its threads share. Every method may be called from any thread."""

    def __init__(
        self, settings: Settings, request: Request, parts: Iterable[tuple[str, str]], book: Book, press: float
    ) -> None:
        self.settings, self.request, self.book = settings, request, book
        self.limits = settings.budgets.halt
        self.press = press  # on the monotonic clock
        self.parts = {name: Part(name, title) for name, title in parts}
        self.database = "awaited"  # then "answered", or "silent" once the time for pausing is over
        self.told_at: float | None = None  # seconds after the press when the database had taken the commands
        self.deployments: dict[str, Deployment] = {}
        self.addresses: set[str] = set()  # wallets whose flatness is to be proven
        self.books: tuple[str, ...] | None = None  # every book of the venue; None until it listed them
        self.accounts: dict[tuple[str, str], Account] = {}  # by wallet and book
        self.running: set[str] | None = None  # deployments whose machine runs; None until Fly listed the machines
        self._changed = threading.Condition()

    # --- time -----------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the seconds since the operator commanded the halt."""
        return time.monotonic() - self.press

    def wait(self, true: Callable[[], Any], until: float) -> bool:
        """Wait until ``true()`` returns a true value, but not after ``until`` (seconds after the operator's command).

        Return ``true()``.
        """
        with self._changed:
            return bool(self._changed.wait_for(true, max(0.0, until - self.now())))

    def rest(self, seconds: float) -> None:
        """Wait for this many seconds, or until anything in the halt's state changes."""
        with self._changed:
            self._changed.wait(seconds)

    def wait_for_database(self) -> None:
        """Wait until the database has answered the halt, or the halt has given the database up."""
        self.wait(lambda: self.database != "awaited", self.limits.flat)

    # --- the parts ------------------------------------------------------------------------------------------------

    def tell(self, name: str, seen: str) -> None:
        """Set the progress text of a part of the halt, unless the part has ended."""
        with self._changed:
            if name in self.parts and self.parts[name].outcome is None:
                self.parts[name] = replace(self.parts[name], seen=seen)

    def end(self, name: str, outcome: str, seen: str = "", complaint: str | None = None) -> None:
        """Set the outcome of a part of the halt. If the part has an outcome already, change nothing."""
        with self._changed:
            part = self.parts.get(name)
            if part is None or part.outcome is not None:
                return
            part = replace(part, outcome=outcome, seen=seen, complaint=complaint, ended=self.now())
            self.parts[name] = part
            self._changed.notify_all()
        self.book.ended(part)

    @property
    def outcome(self) -> str:
        """Return the worst outcome of all parts of the halt.

        Return ``unknown`` while any part has no outcome.
        """
        outcomes = {part.outcome for part in self.parts.values()}
        return next((word for word in (None, "unknown", "failed") if word in outcomes), "passed") or "unknown"

    # --- what is known --------------------------------------------------------------------------------------------

    def update(self, **known: Any) -> None:
        """Set attributes of the halt's state, and wake the threads that wait for a change."""
        with self._changed:
            for name, value in known.items():
                setattr(self, name, value)
            self._changed.notify_all()

    def account(self, wallet: str, book: str = MAIN) -> Account:
        """Return what the halt knows of a wallet in one book (a perp exchange or spot)."""
        return self.accounts.get((wallet, book), Account())

    def saw(self, wallet: str, book: str, account: Account) -> None:
        """Store what the venue has just told the halt of a wallet in one book (a perp exchange or spot)."""
        with self._changed:
            self.accounts[wallet, book] = account
            self._changed.notify_all()

    def every_book(self) -> tuple[str, ...]:
        """Return the venue's books (perp exchanges and spot) that the halt knows. The main exchange comes first."""
        return (MAIN, SPOT) if self.books is None else self.books

    def flat(self, wallet: str) -> bool:
        """Return whether the halt has proven a wallet flat on the main exchange, the only one where runners trade."""
        return self.account(wallet).flat >= LOOKS

    def alive(self, deployment: str) -> bool:
        """Return whether a deployment's machine runs, as far as the halt has seen.

        The answer is true until Fly has listed the machines.
        """
        return self.running is None or deployment in self.running

    def fenced(self, deployment: str) -> bool:
        """Return whether the halt has seen that a deployment can place no order.

        The deployment is then paused, or its machine does not run.
        """
        known = self.deployments.get(deployment)
        return (known is not None and known.paused) or not self.alive(deployment)

    def settled(self, deployment: Deployment) -> bool:
        """Return whether the halt has seen that a deployment has no open position.

        A deployment with a wallet has its positions at the venue, one on paper has them in the database.
        """
        if deployment.wallet is None:
            return deployment.positions == 0 and self.fenced(deployment.id)
        return self.flat(deployment.wallet)

    def users(self, wallet: str) -> list[Deployment]:
        """Return the deployments that use a wallet, among those that the halt knows."""
        return [deployment for deployment in list(self.deployments.values()) if deployment.wallet == wallet]
