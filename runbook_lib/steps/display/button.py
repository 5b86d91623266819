"""Buttons: the only module that knows ipywidgets. A press writes the ledger; the widgets only show what it holds."""

from __future__ import annotations

import threading
import time
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.errors import RunbookError
from runbook_lib.steps.display.ticker import ticking

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.steps.display.cards import Card

__all__ = ["Live", "Panel"]

CALM = 0.5  # seconds after a failed press
VIEW = "application/vnd.jupyter.widget-view+json"


class Live:
    """Something shown in every tab as it is now: a widget where its kernel lives, its static twin everywhere else."""

    def __init__(self, shown: Any) -> None:
        self._shown, self.box = shown, widgets.HTML(shown._repr_html_())

    def __repr__(self) -> str:
        return repr(self._shown)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return _twinned(self.box, self._shown)

    def update(self, shown: Any) -> None:
        """Show this from now on."""
        self._shown, self.box.value = shown, shown._repr_html_()


class Panel:
    """A step's card with one button below it, and a field that must be filled in before it can be pressed.

    ``card()`` is the step as the ledger tells it now, with whether it is busy. ``press(typed)`` does the work and
    raises if that fails. ``accepts`` judges what is typed, None where nothing need be; what is typed counts for
    ``lasts`` seconds.
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
    ) -> None:
        self._card, self._work, self._accepts, self._lasts = card, press, accepts, lasts
        self._pressing, self._busy, self._armed_at = threading.Lock(), False, 0.0
        self._disarming: threading.Timer | None = None
        self.shown = widgets.HTML()
        self.button = widgets.Button(
            description=label, tooltip=label, layout=widgets.Layout(width="auto", flex="0 0 auto")
        )
        self.button.button_style = "danger" if lasts else "primary"
        self.typed = widgets.Text(placeholder=hint, layout=_sized("21em"))
        self.note = widgets.HTML()
        self.place: Any = None  # where it is displayed; set by whoever displays it
        row = [self.typed, self.button, self.note] if accepts else [self.button, self.note]
        self.box = widgets.VBox([self.shown, widgets.HBox(row, layout=widgets.Layout(align_items="center"))])
        self.button.disabled = accepts is not None
        self.typed.observe(self._arm, "value")
        self.button.on_click(lambda _: self.press())
        self.draw()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The widget where its kernel lives; its static twin everywhere else."""
        return _twinned(self.box, self._card(self._busy))

    def draw(self) -> None:
        """Show the step as the ledger tells it now."""
        self.shown.value = self._card(self._busy)._repr_html_()

    def say(self, words: str) -> None:
        """Put a remark beside the button."""
        self.note.value = f"<div style='font-size:13px;line-height:1.4'>{escape(words)}</div>" if words else ""

    def press(self) -> None:
        """Do the work, once at a time; after a failure the button may be pressed again, after a success not."""
        if self.button.disabled or not self._pressing.acquire(blocking=False):
            return
        try:
            if self._accepts and not self._counts():
                self._disarm()
                self.say("what was typed no longer counts: type it again")
                return
            self._busy, self.button.disabled, self.typed.disabled = True, True, True
            self._watched()
        finally:
            self._pressing.release()

    def _watched(self) -> None:
        started = time.monotonic()

        def tick() -> None:
            self.say(f"{int(time.monotonic() - started)} s")
            self.draw()

        try:
            with ticking(tick):
                self._work(self.typed.value.strip())
        except RunbookError as error:  # a callback has no cell to fail in: the ledger has it, the next step refuses
            self._ended(again=True, words=str(error).splitlines()[0])
        except BaseException as error:
            self._ended(again=True, words=f"{type(error).__name__}: {error}")
            raise
        else:
            self._ended(again=False, words="")

    def _ended(self, *, again: bool, words: str) -> None:
        self._busy = False
        self.say(words)
        self.draw()
        self.typed.disabled = not again
        if again:
            self._disarm()
        if again and not self._accepts:
            # Not at once: clicks that came while it was busy are still to be handled, and are no wish to press again.
            _after(CALM, self._enable)
        if self.place:  # what is saved with the notebook: the twin alone once nothing is left to press
            self.place.update(self if again else self._card(False))

    # --- what must be typed first ---------------------------------------------------------------------------------

    def _arm(self, _: Any) -> None:
        good = bool(self._accepts and self._accepts(self.typed.value.strip()))
        self._armed_at = time.monotonic() if good else 0.0
        self.button.disabled = not good
        if self._disarming:
            self._disarming.cancel()
        if self.typed.value and not good:
            self.say(self.typed.placeholder)  # which a field that is filled in hides
        if good and self._lasts:
            self.say(f"armed for {self._lasts:.0f} s")
            self._disarming = _after(self._lasts, self._expire)

    def _counts(self) -> bool:
        return bool(self._armed_at) and (self._lasts is None or time.monotonic() - self._armed_at < self._lasts)

    def _expire(self) -> None:
        """Disarm when the time is over, unless it was pressed in it."""
        if self._pressing.acquire(blocking=False):
            try:
                if self._armed_at and not self._counts():
                    self._disarm()
                    self.say("no longer armed: type it again")
            finally:
                self._pressing.release()

    def _enable(self) -> None:
        self.button.disabled = False

    def _disarm(self) -> None:
        self._armed_at = 0.0
        self.typed.value = ""
        self.button.disabled = True


def _sized(width: str) -> Any:
    """A place in a row that is not squeezed by what stands beside it."""
    return widgets.Layout(width=width, flex="0 0 auto")


def _twinned(box: Any, twin: Any) -> dict[str, Any]:
    return {VIEW: box._repr_mimebundle_()[VIEW], "text/html": twin._repr_html_(), "text/plain": repr(twin)}


def _after(seconds: float, work: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
    return timer
