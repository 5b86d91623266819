"""Show the button of a step. A press writes to the ledger, and the widgets show only what the ledger holds."""

from __future__ import annotations

import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.errors import RunbookError
from runbook_lib.steps.display.arming import Field, after
from runbook_lib.steps.display.ticker import ticking

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.steps.display.cards import Card

CALM = 0.5  # seconds after a failed press
VIEW = "application/vnd.jupyter.widget-view+json"


class Live:
    """A displayed card or note that can be replaced later.

    With a kernel, a page shows a widget; without a kernel, static HTML.
    """

    def __init__(self, shown: Any) -> None:
        self._shown, self.box = shown, widgets.HTML(shown._repr_html_())

    def __repr__(self) -> str:
        return repr(self._shown)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return _twinned(self.box, self._shown)

    def update(self, shown: Any) -> None:
        """Replace what the widget displays with ``shown``."""
        self._shown, self.box.value = shown, shown._repr_html_()


class StepButton:
    """A step's card with a button below it. If ``accepts`` is given, a person must type a text to arm the button.

    ``card(busy)`` returns the step's card as the ledger has it now. ``press(typed)`` does the work of the button, and
    raises if the work fails. ``accepts`` judges the typed text; an accepted text counts for ``lasts`` seconds.
    ``clean`` redacts secrets in the text of an error.
    """

    def __init__(
        self,
        label: str,
        card: Callable[[bool], Card],
        press: Callable[[str], None],
        *,
        hint: str = "",
        accepts: Callable[[str], bool] | None = None,
        lasts: float | None = None,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._card, self._work, self._clean = card, press, clean
        self._pressing, self._busy = threading.Lock(), False
        self.shown = widgets.HTML()
        self.button = widgets.Button(
            description=label, tooltip=label, layout=widgets.Layout(width="auto", flex="0 0 auto")
        )
        self.button.button_style = "danger" if lasts else "primary"
        self.note = widgets.HTML()
        self.handle: Any = None  # of its display; set by whoever displays it
        self.field = Field(hint, accepts, self._typed, lasts=lasts) if accepts else None
        row = [self.field.box] if self.field else []
        row += [self.button, self.note]
        self.box = widgets.VBox([self.shown, widgets.HBox(row, layout=_row())])
        self.button.disabled = self.field is not None
        self.button.on_click(lambda _: self.press())
        if self.field:
            self.field.on_enter(self.press)
        self.draw()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return the button's widget for a page with a kernel, and static HTML for any other page.

        Both show the same.
        """
        return _twinned(self.box, self._card(self._busy))

    def draw(self) -> None:
        """Redraw the card above the button from the ledger."""
        self.shown.value = self._card(self._busy)._repr_html_()

    def say(self, words: str) -> None:
        """Show ``words`` as the note beside the button."""
        self.note.value = f"<div style='font-size:13px;line-height:1.4'>{escape(words)}</div>" if words else ""

    def press(self) -> None:
        """Do the button's work. Ignore the press if earlier work is still running or has succeeded."""
        if self.button.disabled or not self._pressing.acquire(blocking=False):
            return
        try:
            if self.field and not self.field.counts:
                self.field.clear("what was typed no longer counts: type it again")
                self._typed()
                return
            self._busy = self.button.disabled = True
            if self.field:
                self.field.box.disabled = True
            self._timed(self.field.text if self.field else "")
        finally:
            self._pressing.release()

    def _timed(self, typed: str) -> None:
        """Do the button's work, and meanwhile show how many seconds have passed."""
        started = time.monotonic()

        def tick() -> None:
            self.say(f"{int(time.monotonic() - started)} s")
            self.draw()

        try:
            with ticking(tick):
                self._work(typed)
        except RunbookError as error:  # a callback has no cell to fail in: the ledger has it, the next step refuses
            self._ended(again=True, words=self._clean(str(error)).splitlines()[0])
        except BaseException as error:
            self._ended(again=True, words=self._clean(f"{type(error).__name__}: {error}"))
            raise
        else:
            self._ended(again=False, words="")

    def _ended(self, *, again: bool, words: str) -> None:
        self._busy = False
        self.draw()
        if self.field:
            self.field.box.disabled = not again
            self.field.clear()
        self.say(words)
        if again and not self.field:
            # Not at once: clicks that came while it was busy are still to be handled, and are no wish to press again.
            after(CALM, self._enable)
        if self.handle:  # what is saved with the notebook: the twin alone once nothing is left to press
            self.handle.update(self if again else self._card(False))

    def _typed(self) -> None:
        """Enable the button if the field is armed, otherwise disable the button. Show the field's note."""
        if self.field and not self._busy:
            self.button.disabled = not self.field.counts
            self.say(self.field.note)

    def _enable(self) -> None:
        self.button.disabled = False


def _row() -> Any:
    """Return the layout for a row of widgets. On a narrow page the row wraps."""
    return widgets.Layout(align_items="center", flex_flow="row wrap")


def _twinned(box: Any, twin: Any) -> dict[str, Any]:
    return {VIEW: box._repr_mimebundle_()[VIEW], "text/html": twin._repr_html_(), "text/plain": repr(twin)}
