"""Stop all trading without a Jupyter kernel or a browser, even if half of the platform does not answer.

Parts run in parallel, and each has its own outcome: a service that does not answer stops only its own part. Where
safety needs an order, parts wait for what others have learnt (`state.Halting`): pause, cancel, flatten, prove flat at
the venue, stop the machine. A halt that runs twice, or from two terminals, leaves the same state.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RunbookError
from runbook_lib.halt.halt_record import Book, hold
from runbook_lib.halt.machines import machines
from runbook_lib.halt.runners import runners
from runbook_lib.halt.state import Halting, Part, Request
from runbook_lib.halt.switches import fly_switch, switches
from runbook_lib.halt.venue import judge, venue
from runbook_lib.records import record_folder
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from runbook_lib.records.record_folder import Record
    from runbook_lib.settings.profiles import Settings


EXIT = {"passed": 0, "failed": 1, "unknown": 4}
GRACE = 0.5  # seconds beyond its time after which a part without an outcome is ended as unknown
LOOK = 0.1  # seconds between two calls of ``show``

TITLES = {
    "switches": "No new deployments: switch set, redeployed",
    "fly": "No new machine trades live",
    "pause": "No runner takes new orders",
    "cancel": "No resting orders",
    "flatten": "Runners closed their positions",
    "flat": "Flat at the venue",
    "machines": "Every machine stopped",
    "refusal": "A new deployment is refused",
}
Work = Callable[[Services, Halting], None]
WORK: dict[Work, tuple[str, ...]] = {
    switches: ("switches", "refusal"),
    fly_switch: ("fly",),
    runners: ("pause", "flatten"),
    venue: ("cancel", "flat"),
    machines: ("machines",),
}
REDUCED = ("switches", "pause", "cancel", "refusal")  # parts of mode "reduce": positions and machines stay
PLATFORM = ("switches", "fly", "refusal")  # parts that concern every deployment: left out when one is named


@dataclass(frozen=True)
class Done:
    """The result of stopping all trading. If the halt's record is missing or incomplete, ``complaint`` says why."""

    outcome: str
    parts: tuple[Part, ...]
    record: Record | None
    seal: dict[str, Any] | None
    complaint: str | None


def parts_of(request: Request) -> list[tuple[str, str]]:
    """Return the names and titles of a halt's parts, in the order of display."""
    names = REDUCED if request.mode == "reduce" else tuple(TITLES)
    return [(name, TITLES[name]) for name in names if request.everything or name not in PLATFORM]


def halt(
    settings: Settings,
    request: Request,
    *,
    root: Path | None = None,
    press: float | None = None,
    show: Callable[[Halting], None] = lambda _: None,
) -> Done:
    """Stop the trading that the request names. Ten times a second, call ``show`` with the halt's state.

    ``press`` is the moment of the operator's command, on the monotonic clock. No error is raised for a service that
    fails: the outcome of each part says what became of the part.
    """
    press, root = press or time.monotonic(), root or record_folder.records_root()
    held = hold(root, settings.name, alone=False)
    hurried = settings.model_copy(
        update={"budgets": settings.budgets.model_copy(update={"answer": settings.budgets.halt.answer})}
    )
    book = Book(hurried, root, asdict(request))
    halting = Halting(hurried, request, parts_of(request), book, press)
    if request.everything:
        book.owe()
    run_parts(halting, WORK, show)
    return _finish(halting, held)


def run_parts(halting: Halting, work: Mapping[Work, tuple[str, ...]], show: Callable[[Halting], None]) -> None:
    """Run each piece of a halt's ``work`` in its own thread. Return when every part of the halt has ended.

    Work without a part in this halt is left out. A part whose time is over is ended here, even if its work still waits
    for something: the work's thread is then abandoned, and the venue's parts tell what it has seen.
    """
    for piece, parts in work.items():
        if set(parts) & halting.parts.keys():
            _start(halting, piece, parts)
    while any(part.outcome is None for part in halting.parts.values()):
        show(halting)
        halting.rest(LOOK)
        for name, part in list(halting.parts.items()):
            if part.outcome is None and halting.now() > (limit := time_of(halting, name)) + GRACE:
                if name in WORK[venue] and halting.addresses:
                    judge(halting)
                halting.end(name, "unknown", complaint=f"no verdict within {limit:g} s")
    show(halting)


def time_of(halting: Halting, part: str) -> float:
    """Return when a part of the halt must have ended, in seconds after the operator's command."""
    limits = halting.limits
    times = {
        "switches": halting.settings.budgets.redeploy,
        "refusal": halting.settings.budgets.redeploy + limits.answer,
        "fly": limits.stop,
        # A machine is stopped once its wallet is flat, or the time for that is over.
        "machines": max(limits.flat, limits.stop) + limits.stop,
    }
    return times.get(part, limits.flat)


def _start(halting: Halting, work: Work, parts: tuple[str, ...]) -> None:
    """Start one piece of a halt's work in a new thread, with new connections."""
    threading.Thread(target=_guarded, args=(halting, work, parts), name=parts[0], daemon=True).start()


def _guarded(halting: Halting, work: Work, parts: tuple[str, ...]) -> None:
    """Run one piece of a halt's work. Then give the outcome "unknown" to each of its parts that has not ended.

    The complaint of such a part names the error, if the work raised one.
    """
    services = Services(halting.settings)
    try:
        work(services, halting)
        words = "it ended without a verdict"
    except RunbookError as error:
        words = str(error)
    except Exception as error:  # noqa: BLE001 - a mistake in one part must not end the others
        words = f"a mistake in this program: {error!r}"
    finally:
        services.close()
    for part in parts:
        halting.end(part, "unknown", complaint=words)


def _finish(halting: Halting, held: int | None) -> Done:
    outcome = halting.outcome
    seal = halting.book.finish(outcome, **({} if held is not None else {"beside": "an undoing of a halt was running"}))
    if held is not None:
        os.close(held)
    return Done(outcome, tuple(halting.parts.values()), halting.book.record, seal, halting.book.complaint)
