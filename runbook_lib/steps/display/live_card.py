"""Show the cards of an attended run. A card with a step's verdict replaces the card shown while the step ran."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.steps.display.cards import Bar, Card
from runbook_lib.steps.display.run_progress import progress
from runbook_lib.steps.display.ticker import ticking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from runbook_lib.commands.expectations import Finding


@dataclass(frozen=True)
class Awaited:
    """The card of a check in progress. It shows the seconds so far, the time limit, and the newest complaint."""

    card: Card
    seconds: float
    within: float
    complaint: str = ""

    @property
    def words(self) -> str:
        budget = f" of at most {self.within:.0f} s" if self.within else ""
        return f"{int(self.seconds)} s{budget}"

    def __repr__(self) -> str:
        return "\n".join(filter(None, (repr(self.card), self.words, self.complaint)))

    def _repr_html_(self) -> str:
        shown = replace(self.card, seen=self.words, complaint=self.complaint or None)
        share = self.seconds / self.within if self.within else 0
        return shown._repr_html_() + progress(share)


class Stage:
    """The display of an attended run. It replaces the card of a running step with the card that shows the verdict.

    It also redraws the bar at the top. ``display`` shows an output and returns a handle with ``update``, or None;
    without a handle, each update is displayed as a new output.
    """

    def __init__(self, display: Callable[[Any], Any], bar: Callable[[], Bar]) -> None:
        self._display = display
        self._bar = bar
        self._top: Any = None  # the bar's live twin
        self._awaited: Any = None  # the handle of what is awaited

    def __call__(self, shown: Any) -> Any:
        """Display a card, a bar or a button. Return the handle by which the display can be replaced."""
        handle, self._awaited = self._awaited, None
        if isinstance(shown, Bar):
            return self._display(self._bar_of(shown))
        if handle is None:
            handle = self._display(shown)
        else:
            handle.update(shown)
        self.refresh()
        return handle

    def _bar_of(self, bar: Bar) -> Any:
        from runbook_lib.steps.display.button_widget import Live  # noqa: PLC0415 - widgets only where a person is

        self._top = Live(bar)
        return self._top

    def refresh(self) -> None:
        """Redraw the bar above the cards from the ledger."""
        if self._top is not None:
            self._top.update(self._bar())

    @contextmanager
    def live(self, card: Card, within: float) -> Iterator[Callable[[Finding], None]]:
        """Keep a check's card up to date while the block runs, with the seconds so far.

        Yield a function that takes each finding.
        """
        complaint, started = "", time.monotonic()

        def awaited() -> Awaited:
            return Awaited(card, time.monotonic() - started, within, complaint)

        def heard(finding: Finding) -> None:
            nonlocal complaint
            complaint = finding.complaint or ""

        handle = self._awaited = self._display(awaited())
        try:
            with ticking(lambda: handle.update(awaited()) if handle else None):
                yield heard
        except BaseException as error:  # interrupted, say: the card must not go on saying that it looks
            self._awaited = None
            if handle:
                why = f"not judged after {awaited().words}: {type(error).__name__}"
                handle.update(replace(card, outcome="missing", seen=why))
            raise
