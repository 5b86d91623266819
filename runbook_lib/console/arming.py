"""Arming in production: what ends something is typed for first, for what it will act on, and not for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import ipywidgets as widgets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runbook_lib.agentic_trading.runner_commands import Target
    from runbook_lib.settings.profiles import Settings

__all__ = ["Arming"]

ARMED = 30.0  # seconds after the typing
UNARMED = ("pause", "snapshot")  # what never has to be armed: stopping comes first, and looking harms nobody


class Arming:
    """The field that is typed into, and what it allows. In rehearsal everything is allowed."""

    def __init__(self, settings: Settings, changed: Callable[[], None]) -> None:
        self.settings, self._changed = settings, changed
        self.needed = settings.kind == "production"
        self.field = widgets.Text(layout=widgets.Layout(width="430px"))
        self._typed_at = 0.0
        self.field.observe(lambda _: self._typing(), "value")

    def allows(self, kind: str, chosen: Sequence[Target]) -> bool:
        """Whether a button may be pressed now, for these."""
        return not self.needed or kind in UNARMED or self._typed == _password(chosen)

    def allows_halt(self) -> bool:
        """Whether everything may be halted now: the same word as the command line asks for."""
        return not self.needed or self._typed == self.settings.name

    def ask(self, chosen: Sequence[Target]) -> None:
        """Say what is to be typed, and forget what was typed too long ago."""
        self.field.placeholder = f"to arm the others type {_password(chosen)}; to halt, {self.settings.name}"
        if self.field.value and time.monotonic() - self._typed_at > ARMED:
            self.clear()

    def clear(self) -> None:
        self.field.value = ""

    @property
    def _typed(self) -> str:
        fresh = time.monotonic() - self._typed_at <= ARMED
        return str(self.field.value).strip() if fresh else ""

    def _typing(self) -> None:
        self._typed_at = time.monotonic()
        self._changed()


def _password(chosen: Sequence[Target]) -> str:
    """The beginning of the deployment or, of several, how many they are."""
    return chosen[0].id[:4] if len(chosen) == 1 else str(len(chosen))
