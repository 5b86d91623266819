"""Show the buttons of acts and confirmations in an attended run. Write each press of a button to the ledger."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.runner_commands import aimed_at
from runbook_lib.commands.command import Http
from runbook_lib.records import history
from runbook_lib.records.record_folder import Record
from runbook_lib.steps import press_effects
from runbook_lib.steps.display import run_progress
from runbook_lib.steps.display.arming import ARMED, Word
from runbook_lib.steps.display.button_widget import StepButton
from runbook_lib.steps.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Callable

    from runbook_lib.services.services import Services
    from runbook_lib.settings.profiles import Settings
    from runbook_lib.steps.acts import Act
    from runbook_lib.steps.display.cards import Card
    from runbook_lib.steps.display.live_card import Stage

SHOWN = 8  # characters of an id on a button
MACHINE = re.compile(r"/machines/(\w+)")


@dataclass(frozen=True)
class Asking:
    """The record and the notebook display of a step that waits for a button to be pressed."""

    record: Record
    settings: Settings
    display: Stage

    def clean(self, text: str) -> str:
        """Return a button's ``text`` with every secret redacted."""
        return self.record.redact.text(text) if self.record.redact else text

    def card(self, number: str) -> Callable[[bool], Card]:
        """Return a function that builds the card of a button's step from the ledger file.

        The function opens the record anew, because threads other than the run's also call it.
        """
        apart = Record(self.record.folder)

        def now(busy: bool) -> Card:
            card = run_progress.card(history.read(apart), number, busy=busy)
            if card is None:
                raise AssertionError(f"step {number} was not offered")
            return card

        return now

    def press(self, number: str, verb: str, label: str, by: str, work: Callable[[Verdicts], None]) -> None:
        """Write to the ledger that the button was pressed, then do ``work``.

        Write an error that ``work`` raises, too.
        """
        ledger = self.record.ledger
        ledger.append("pressed", step=number, verb=verb, label=label, by=by)
        try:
            work(Verdicts(self.record, lambda _: None))
        except BaseException as error:
            ledger.append("press failed", step=number, error=f"{type(error).__name__}: {error}")
            raise
        finally:
            self.display.refresh()


def target(act: Act, settings: Settings) -> tuple[str, str]:
    """Return the kind and the id of what a button's act changes.

    It is a deployment, else a machine, else the whole project.
    """
    if aim := aimed_at(act.command):
        return "deployment", aim[1]
    if isinstance(act.command, Http) and (machine := MACHINE.search(act.command.path)):
        return "machine", machine[1]
    return "project", settings.project


def offer(act: Act, services: Services, asking: Asking, perform: Callable[[Verdicts], None]) -> None:
    """Show the button of an act. Its label says what the act does and to which deployment, machine or project.

    In production a person must arm it first. To arm a button is to type the beginning of its target's name.
    """
    kind, name = target(act, asking.settings)
    does = (aimed_at(act.command) or ("",))[0]
    deed = ", ".join([act.title, *(word for word in (does, kind) if word and word not in act.title.lower())])
    label = asking.clean(f"{deed} {name[:SHOWN]}… on {asking.settings.name}")
    armed = asking.settings.kind == "production"

    def work(verdicts: Verdicts) -> None:
        perform(verdicts)
        press_effects.follow(act, services, asking.record)

    asking.record.ledger.append(
        "offered", step=act.number, title=act.title, commands=[services.shown(act.command)], seen=_next(label)
    )
    button = StepButton(
        label,
        asking.card(act.number),
        lambda _: asking.press(act.number, "act", label, asking.record.opened()["operator"], work),
        hint=Word(name).hint if armed else "",
        accepts=Word(name).opens if armed else None,
        lasts=ARMED if armed else None,
        clean=asking.clean,
    )
    button.handle = asking.display(button)


def ask(
    number: str,
    statement: str,
    gesture: str | None,
    asking: Asking,
    vouch: Callable[[Verdicts, str], None],
    *,
    late: str = "",
) -> None:
    """Show the button of a confirmation. A person presses it and types initials to vouch for ``statement``.

    ``gesture`` names what the person stand-in does in a rehearsal when the button is pressed; ``late`` says what to do
    if the gesture is made late.
    """
    label = f"{number}: I vouch for it"
    seen = "your initials say that it is so"
    if gesture:
        seen = f"in rehearsal the person stand-in does it ({gesture}) when you vouch"
    seen = f"{seen}; {late}" if late else seen
    asking.record.ledger.append("offered", step=number, title=statement, commands=[], seen=seen)
    button = StepButton(
        label,
        asking.card(number),
        lambda typed: asking.press(number, "confirm", label, typed, lambda verdicts: vouch(verdicts, typed)),
        hint="your initials",
        accepts=bool,
        clean=asking.clean,
    )
    button.handle = asking.display(button)


def _next(label: str) -> str:
    return f"not sent yet: press “{label}”"
