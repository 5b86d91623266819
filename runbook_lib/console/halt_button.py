"""Halt from the console and show the progress. The halt runs and is recorded like ``./runbook halt --all``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runbook_lib.console import markup
from runbook_lib.console.background import aside
from runbook_lib.halt.state import Request
from runbook_lib.halt.stop import halt
from runbook_lib.settings.choice import addressed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings


async def follow(settings: Settings, root: Path, press: float, at: str, display: Callable[[str], None]) -> None:
    """Halt everything when the console's halt button is pressed, and show the progress of the halt.

    ``display`` is called on the event loop with the HTML of each stage. ``press`` is the moment of the press on the
    monotonic clock, ``at`` the same moment as text.
    """
    loop = asyncio.get_running_loop()

    def show(parts: Iterable[Any], outcome: str | None = None, words: str = "") -> None:
        display(markup.halting(at, parts, outcome, words))

    def picture(halting: Any) -> None:
        loop.call_soon_threadsafe(show, list(halting.parts.values()))

    try:
        done = await aside(lambda: halt(settings, Request(), root=root, press=press, show=picture))
    except BaseException as error:
        mistake = settings.redactor().text(f"a mistake in this program: {error!r}")
        show((), "unknown", addressed(f"{mistake}; in a terminal: ./runbook halt --all", settings.name))
        raise
    words = done.complaint or (f"record {done.record.name}" if done.record else "")
    show(done.parts, done.outcome, addressed(f"{words}. To take it back: ./runbook unhalt", settings.name))
