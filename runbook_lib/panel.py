"""Buttons: the only module that knows ipywidgets. A press writes the ledger; the widget only shows it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.errors import RunbookError

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.steps import Act

__all__ = ["ask", "offer"]


def offer(act: Act, text: str, perform: Callable[[], None], display: Callable[[Any], object]) -> None:
    """Show an act's command with one button that names it; a press sends it once."""
    button = widgets.Button(description=f"{act.number}  {act.title}", layout=widgets.Layout(width="auto"))
    state = widgets.Label(value="not sent yet; the next step waits for this one")
    pressing = threading.Lock()

    def press(_: widgets.Button) -> None:
        if not pressing.acquire(blocking=False):
            return
        try:
            button.disabled, state.value = True, "sending"
            perform()
            state.value = "passed"
        except RunbookError as error:  # a callback has no cell to fail in: the ledger has it, the next step refuses
            button.disabled, state.value = False, str(error)
        finally:
            pressing.release()

    button.on_click(press)
    display(widgets.VBox([widgets.HTML(f"<pre>{text}</pre>"), button, state]))


def ask(number: str, statement: str, vouch: Callable[[str], None], display: Callable[[Any], object]) -> None:
    """Ask a person to vouch for ``statement`` with their name."""
    name = widgets.Text(placeholder="your initials")
    button = widgets.Button(description=f"{number}  I vouch for it")
    state = widgets.Label(value=statement)

    def press(_: widgets.Button) -> None:
        if not name.value.strip():
            state.value = f"{statement}: initials are needed"
            return
        button.disabled = True
        vouch(name.value.strip())
        state.value = f"vouched by {name.value.strip()}"

    button.on_click(press)
    display(widgets.VBox([state, widgets.HBox([name, button])]))
