"""Buttons: the only module that knows ipywidgets. A press writes the ledger; the widget only shows it."""

from __future__ import annotations

import threading
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.errors import RunbookError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.acts import Act

__all__ = ["ask", "offer"]

WIDE = {"width": "auto"}


def offer(act: Act, text: str, perform: Callable[[], None], display: Callable[[Any], object]) -> None:
    """Show an act's command with one button that names it; a press sends it once."""
    button = widgets.Button(description=f"{act.number}  {act.title}", layout=widgets.Layout(**WIDE))
    state = widgets.Label(value="not sent yet; the next step waits for this one")
    _on_press(button, state, perform, "passed")
    display(widgets.VBox([widgets.HTML(f"<pre>{escape(text)}</pre>"), button, state]))


def ask(number: str, statement: str, vouch: Callable[[str], None], display: Callable[[Any], object]) -> None:
    """Ask a person to vouch for ``statement`` with their name."""
    name = widgets.Text(placeholder="your initials")
    button = widgets.Button(description=f"{number}  I vouch for it", layout=widgets.Layout(**WIDE))
    state = widgets.Label(value="nobody vouched yet; the next step waits for this one")

    def named() -> None:
        if not name.value.strip():
            raise RunbookError("your initials are needed")
        vouch(name.value.strip())

    _on_press(button, state, named, "vouched")
    display(widgets.VBox([widgets.Label(value=statement), widgets.HBox([name, button]), state]))


def _on_press(button: Any, state: Any, work: Callable[[], None], done: str) -> None:
    """Let one press at a time do the work; after a failure the button may be pressed again."""
    pressing = threading.Lock()

    def press(_: Any) -> None:
        if button.disabled or not pressing.acquire(blocking=False):
            return
        try:
            button.disabled, state.value = True, "sending"
            work()
            state.value = done
        except RunbookError as error:  # a callback has no cell to fail in: the ledger has it, the next step refuses
            button.disabled, state.value = False, str(error)
        except BaseException as error:
            button.disabled, state.value = False, f"{type(error).__name__}: {error}"
            raise
        finally:
            pressing.release()

    button.on_click(press)
