"""Arm a button that changes production: a person must type a given text before the button can be pressed.

A person types the name of the button's target, and may then press the button for a limited time.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ipywidgets as widgets

if TYPE_CHECKING:
    from collections.abc import Callable

ARMED = 20.0  # seconds in which an armed button may be pressed
TYPED = 4  # first characters of the name that must be typed; of a shorter name all


@dataclass(frozen=True)
class Word:
    """The word that arms a button: the first characters of ``name``, or all of ``name`` if ``whole`` is true."""

    name: str
    whole: bool = False

    @property
    def hint(self) -> str:
        return f"to arm it, type {self.name if self.whole else f'{self.name[:TYPED]}…'}"

    def opens(self, typed: str) -> bool:
        """Return whether the text ``typed`` arms the button."""
        long_enough = len(typed) >= min(TYPED, len(self.name))
        return typed == self.name if self.whole else long_enough and self.name.startswith(typed)


class Field:
    """A text field that must be filled in to arm a button. An unarmed button cannot be pressed.

    ``accepts`` judges the text; an accepted text counts for ``lasts`` seconds, or for ever if that is None. ``changed``
    is called whenever the property `counts` may have changed, in the kernel's thread or in a timer's.
    """

    def __init__(
        self,
        hint: str,
        accepts: Callable[[str], bool],
        changed: Callable[[], None],
        *,
        label: str = "",
        lasts: float | None = None,
        width: str = "21em",
    ) -> None:
        self._accepts, self._changed, self._lasts = accepts, changed, lasts
        self._armed_at = 0.0
        self._over: threading.Timer | None = None
        self.note = ""  # what there is to say about what was typed
        layout = widgets.Layout(width=width, flex="0 0 auto")
        self.box = widgets.Text(
            placeholder=hint, description=label, layout=layout, style={"description_width": "initial"}
        )
        self.box.observe(lambda _: self._typed(), "value")

    @property
    def text(self) -> str:
        return str(self.box.value).strip()

    @property
    def counts(self) -> bool:
        """Return whether the button is still armed. A typed text arms the button for ``lasts`` seconds."""
        return bool(self._armed_at) and (self._lasts is None or time.monotonic() - self._armed_at < self._lasts)

    def ask(self, hint: str, accepts: Callable[[str], bool]) -> None:
        """Ask for another text to arm the button. If the new hint differs from the old one, disarm the button."""
        if hint != self.box.placeholder:
            self.box.placeholder, self._accepts = hint, accepts
            self.clear()

    def clear(self, note: str = "") -> None:
        """Disarm the button: empty the field, and set the note shown beside the field."""
        self._armed_at, self.note = 0.0, note
        self.box.value = ""

    def on_enter(self, press: Callable[[], None]) -> None:
        """Call ``press`` when Enter is pressed in the field that arms the button."""
        self.box.on_msg(lambda _, content, __: press() if content.get("event") == "submit" else None)

    def _typed(self) -> None:
        good = bool(self.text) and self._accepts(self.text)
        if self._over:
            self._over.cancel()
        if self.text:  # an empty field says what it wants by itself, and may have been emptied with a note
            self._armed_at, self.note = 0.0, self.box.placeholder
        if good:
            self._armed_at, self.note = time.monotonic(), f"armed for {self._lasts:.0f} s" if self._lasts else ""
        if good and self._lasts:
            self._over = after(self._lasts, self._expire)
        self._changed()

    def _expire(self) -> None:
        if self._armed_at and not self.counts:
            self.clear("no longer armed: type it again")


def after(seconds: float, work: Callable[[], None]) -> threading.Timer:
    """Start a timer that calls ``work`` in a new thread after ``seconds``. Return the timer."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
    return timer
