"""Build the console's widgets. They show the data, and pass presses of buttons to `sent_commands` and `halt_button`.

Nothing in this module blocks the kernel: reading, sending and halting run in threads and return to the kernel's own
loop, which alone touches widgets.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.agentic_trading.deployment_queries import LEVELS
from runbook_lib.agentic_trading.runner_commands import GESTURES, Target, channel
from runbook_lib.console import halt_button, markup, overview_charts, sent_commands
from runbook_lib.console.background import Tasks, aside
from runbook_lib.console.markup import EVERY
from runbook_lib.console.overview import Overview, Reader
from runbook_lib.console.pulse import Pulse
from runbook_lib.console.sent_commands import SentCommand
from runbook_lib.errors import RunbookError
from runbook_lib.records import run_record
from runbook_lib.records.alarms import every_alarm
from runbook_lib.services.notifications import Listener
from runbook_lib.settings.choice import addressed
from runbook_lib.steps.display.arming import ARMED, Field, Word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runbook_lib.agentic_trading.runner_commands import Gesture
    from runbook_lib.settings.profiles import Settings

LEAST = 0.2  # seconds between two looks, however much is notified
SLOW = 5.0  # seconds after which a look that has not come back is told
CHARTS = 10.0  # seconds between two drawings
ALARMS = 5.0  # seconds between two looks at what the watch has written down
SHOWN = 8  # presses on the screen; each has its record
HALTING = ("everything", "")  # what is busy while a halt runs
WAITED = "it was pressed while the console stood still; look at what is shown now, then press again"
HALT_DOES = (
    "Stops every runner, cancels every order, closes every position at the market's price, stops every machine, and "
    "switches new deployments off. It is taken back with ./runbook unhalt; positions stay closed."
)
FULL = widgets.Layout(width="99%")


class Page:
    """The console's page on the screen. The page's tasks run on the current event loop until `close` is called."""

    def __init__(self, settings: Settings, *, operator: str, root: Path, chosen: Iterable[str] = ()) -> None:
        self.settings, self.operator, self.root = settings, operator, root
        self.overview: Overview | None = None
        self.trouble = self.mistake = ""  # why what is shown is old; what went wrong in here
        self.pressed: deque[list[Any]] = deque(maxlen=SHOWN)  # [time, SentCommand], newest first
        self.looks = self.beats = 0
        self.chosen = tuple(chosen)  # ids
        self._busy: set[tuple[str, str]] = set()
        self._choosing = False  # the picker is being painted: what it says is not a person's choice
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._pulse = Pulse()
        self._tasks = Tasks(self._failed)
        self._clean = settings.redactor().text  # a mistake may quote anything
        run_record.versions()  # looked up now, and not between a press and its sending
        self._make()
        self._reader = Reader(settings)
        self._listener = Listener(settings, self._heard)
        for work in (self._beat(), self._live(), self._draw(), self._ring()):
            self._tasks.spawn(work)

    def close(self) -> None:
        """End the page's tasks. The widgets stay visible, and commands already sent are followed to their end."""
        self._tasks.end()
        self._listener.close()
        threading.Thread(target=self._reader.close, daemon=True).start()  # a look may be under way

    # --- the widgets ----------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self._bar, self._watchdog, self._presses, self._table, self._log = (_html() for _ in range(5))
        self._halted, self._ringing, self._about, self._armed = (_html() for _ in range(4))
        self._figures = [
            widgets.HTML(layout=widgets.Layout(flex="1 1 420px", min_width="0")) for _ in overview_charts.DRAWN
        ]
        self._filter = widgets.Text(description="Filter", placeholder="id, Skill, broker", **_labelled("98%"))
        self._picker = widgets.SelectMultiple(description="Deployments", rows=7, **_labelled("98%"))
        self._level = widgets.Dropdown(
            description="Log", options=[(f"{level} and above", level) for level in LEVELS], value="info", **_labelled()
        )
        self._routine = widgets.Checkbox(description="hide what is routine", value=False, indent=False)
        self._field = self._guard("Arm", Word("nobody"))
        self._halt_field = self._guard("Arm the halt", Word(self.settings.name, whole=True))
        self._buttons = {gesture.kind: self._button(gesture) for gesture in GESTURES}
        self._halt = widgets.Button(
            description=f"HALT EVERYTHING on {self.settings.name}",
            tooltip=addressed(HALT_DOES, self.settings.name),
            button_style="danger",
        )
        self._halt.layout.width = "auto"
        self._halt.on_click(lambda _: self._press_halt())
        self._picker.observe(lambda _: self._picked(), "value")
        self._filter.observe(lambda _: self._paint_picker(), "value")
        for choice in (self._level, self._routine):
            choice.observe(lambda _: self._wake.set(), "value")
        self.box = self._laid_out()
        self._paint()

    def _guard(self, label: str, word: Word) -> Field:
        """Return a text field that arms buttons in production. A person arms them by typing ``word`` into the field."""

        def changed() -> None:  # also called by a timer
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._paint_buttons)

        return Field(word.hint, word.opens, changed, label=label, lasts=ARMED, width="360px")

    def _button(self, gesture: Gesture) -> Any:
        button = widgets.Button(button_style=gesture.tone, tooltip=gesture.does)
        button.layout.width = "auto"
        button.on_click(lambda _: self._press(gesture))
        return button

    def _laid_out(self) -> Any:
        """Return the page's layout. The halt button stands on top, so that it never moves when other parts grow."""
        production = self.settings.kind == "production"
        halting = _flow([self._halt, *([self._halt_field.box] if production else [])])
        typed = [self._field.box, self._armed] if production else []
        gestures = widgets.VBox([self._about, *typed, _flow(self._buttons.values()), self._presses], layout=_grow())
        choosing = widgets.VBox([self._filter, self._picker], layout=widgets.Layout(flex="1 1 340px", min_width="0"))
        self._armable = [halting, gestures]  # what turns grey when the kernel hangs
        top = widgets.HBox([choosing, gestures], layout=widgets.Layout(flex_flow="row wrap", width="99%"))
        log = widgets.VBox(
            [_flow([self._level, self._routine]), _scrolled("Log, newest first", self._log, "300px")], layout=FULL
        )
        shown = [
            self._ringing,
            self._halted,
            top,
            _scrolled("Every deployment", self._table, "420px"),
            _flow(self._figures),
            log,
        ]
        box = widgets.VBox([widgets.HTML(markup.style()), halting, self._watchdog, self._bar, *shown])
        box.add_class("rb-page")
        return box

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    # --- looking --------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew the watchdog line every few seconds. If the renewal stops, the browser turns the line red."""
        while True:
            self._pulse.beat()
            self.beats += 1
            self._watchdog.value = markup.watchdog(self.beats, datetime.now(UTC), self.settings.name)
            for box in self._armable:  # another name starts the same animation from its beginning
                box._dom_classes = ("rb-beat-a" if self.beats % 2 else "rb-beat-b",)
            await asyncio.sleep(EVERY)

    async def _live(self) -> None:
        """Read and show the data again and again. Between two reads, wait for a notification or for `EVERY` seconds.

        If a read fails, show the error and read again.
        """
        while True:
            self._wake.clear()
            read = partial(self._reader.read, self.chosen, self._level.value, routine=not self._routine.value)
            look = asyncio.ensure_future(aside(read))
            try:
                await self._patiently(look)
                self.overview, self.trouble = look.result(), ""
                self._listener.follow(channel(row["id"]) for row in self.overview.rows)
            except RunbookError as error:
                self.trouble = str(error)
            finally:
                look.cancel()  # nobody waits for it any more
            self.looks += 1
            self._paint()
            await asyncio.sleep(LEAST)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), EVERY)

    async def _patiently(self, look: asyncio.Future[Overview]) -> None:
        """Wait for a read of the data. If the database is slow, say so on the page."""
        begun = time.monotonic()
        while not (await asyncio.wait([look], timeout=SLOW))[0]:
            self.trouble = f"the database has not answered for {time.monotonic() - begun:.0f} s"
            self._paint()

    async def _draw(self) -> None:
        """Draw the page's charts one after another, again and again.

        A figure is made on the event loop, because pyplot is not thread-safe, and is turned into an image in a thread.
        """
        while True:
            for shown, chart in zip(self._figures, overview_charts.DRAWN, strict=True):
                if self.overview is not None and not self.trouble:
                    at, drawn = datetime.now(UTC), chart(self.overview)
                    data = await aside(partial(overview_charts.png, drawn))
                    shown.value = markup.figure(data, overview_charts.words(drawn), CHARTS, at)
                await asyncio.sleep(LEAST)
            await asyncio.sleep(CHARTS if self.overview else LEAST)

    async def _ring(self) -> None:
        """Show on the page the alarms from the ledger of a watch. Read the alarms again every few seconds."""
        while True:
            try:
                known = await aside(partial(every_alarm, self.settings, self.root))
                self._ringing.value = markup.alarms((alarm for _, alarm in known), self.settings.name)
            except RunbookError as error:
                self._ringing.value = markup.remark(f"the watch's alarms are not known: {error}", "red")
            await asyncio.sleep(ALARMS)

    def _heard(self, _: str) -> None:
        """Wake the page's event loop: a notification came, or the connection was made or lost.

        The listener calls this in its own thread.
        """
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    # --- showing --------------------------------------------------------------------------------------------------

    def _paint(self) -> None:
        listener = getattr(self, "_listener", None)
        listening = listener.state if listener else "connects"
        trouble = self.mistake or self.trouble
        self._bar.value = markup.bar(self.settings, self.operator, self.overview, listening, trouble)
        if self.overview:
            self._paint_picker()
            self._table.value = markup.deployments(self.overview, self.chosen, trouble=self.trouble)
            self._log.value = markup.log(self.overview, trouble=self.trouble)
        self._paint_buttons()
        self._presses.value = markup.presses(tuple(line) for line in self.pressed)

    def _paint_picker(self) -> None:
        """Show in the picker the deployments that match the filter.

        Chosen deployments are offered even without a match.
        """
        words = self._filter.value.lower().split()
        rows = self.overview.rows if self.overview else ()
        named = [(markup.label(row), row["id"]) for row in rows]
        matching = {name for text, name in named if all(word in f"{text} {name}".lower() for word in words)}
        offered = tuple((text, name) for text, name in named if name in matching or name in self.chosen)
        marked = tuple(name for _, name in offered if name in self.chosen)
        self._choosing = True
        try:
            if offered != tuple(self._picker.options):
                self._picker.options = offered
            if marked != tuple(self._picker.value):
                self._picker.value = marked
        finally:
            self._choosing = False

    def _picked(self) -> None:
        """Make the deployments that a person has chosen in the picker the targets of the page's buttons."""
        if self._choosing:
            return
        self.chosen = tuple(self._picker.value)
        self._field.clear()  # armed for one choice is not armed for another
        self._paint()
        self._wake.set()

    def _paint_buttons(self) -> None:
        chosen = self._targets()
        ids = [target.id for target in chosen]
        self._about.value = markup.about(ids, self.settings.name)
        word = Word(ids[0] if len(ids) == 1 else f"{len(ids)} deployments")
        self._field.ask(word.hint, word.opens)
        self._armed.value = markup.remark(self._field.note)
        for gesture in GESTURES:
            button = self._buttons[gesture.kind]
            button.description = f"{gesture.label} {markup.whom(ids)}".strip()
            button.disabled = not self._may(gesture, chosen)
        self._halt.disabled = HALTING in self._busy or not self._opened(self._halt_field)

    def _may(self, gesture: Gesture, chosen: tuple[Target, ...]) -> bool:
        """Return whether a button on the page may be pressed now.

        Deployments must be chosen, none may be busy with the same command, and a button that must be armed must be
        armed.
        """
        busy = any((gesture.kind, target.id) in self._busy for target in chosen)
        agentless = gesture.needs_agent and not all(target.agent for target in chosen)
        return bool(chosen) and not busy and not agentless and (not gesture.armed or self._opened(self._field))

    def _opened(self, field: Field) -> bool:
        return self.settings.kind != "production" or field.counts

    # --- pressing -------------------------------------------------------------------------------------------------

    def _targets(self) -> tuple[Target, ...]:
        agents = {row["id"]: row["agent"] for row in self.overview.rows} if self.overview else {}
        return tuple(Target(name, agents[name]) for name in self.chosen if name in agents)

    def _press(self, gesture: Gesture) -> None:
        """Send a button's command to the chosen deployments if the button may be pressed now."""
        at, chosen = time.monotonic(), self._targets()
        if not self._may(gesture, chosen):
            return
        line = [f"{datetime.now(UTC):%H:%M:%S}", SentCommand(gesture.kind, chosen)]
        self.pressed.appendleft(line)
        self._field.clear()
        if self._pulse.waking:
            line[1] = SentCommand(gesture.kind, chosen, "not sent", words=WAITED)
            self._paint()
            return
        marks = {(gesture.kind, target.id) for target in chosen}
        self._busy |= marks
        self._paint()
        self._tasks.spawn(self._follow(line, marks, at))

    async def _follow(self, line: list[Any], marks: set[tuple[str, str]], at: float) -> None:
        def show(command: SentCommand) -> None:
            self._loop.call_soon_threadsafe(self._progressed, line, command)

        pressed: SentCommand = line[1]
        send = partial(sent_commands.press, self.settings, pressed.kind, pressed.targets, root=self.root)
        try:
            self._progressed(line, await aside(partial(send, pressed=at, show=show)))
        except BaseException as error:
            words = self._clean(f"a mistake in this program: {error!r}")
            self._progressed(line, SentCommand(pressed.kind, pressed.targets, "unknown", words=words))
            raise
        finally:
            self._busy -= marks
            self._paint_buttons()
            self._wake.set()

    def _progressed(self, line: list[Any], command: SentCommand) -> None:
        line[1] = command
        self._presses.value = markup.presses(tuple(line) for line in self.pressed)
        if command.outcome or command.effect:
            self._wake.set()

    def _press_halt(self) -> None:
        """Halt everything, as ``./runbook halt --all`` does. The halt makes its own record."""
        if HALTING in self._busy or not self._opened(self._halt_field):
            return
        self._halt_field.clear()
        if self._pulse.waking:
            self._halted.value = markup.halting(f"{datetime.now(UTC):%H:%M:%S}", (), "not sent", WAITED)
            return
        self._busy.add(HALTING)
        self._paint_buttons()
        self._tasks.spawn(self._follow_halt(time.monotonic(), f"{datetime.now(UTC):%H:%M:%S}"))

    async def _follow_halt(self, press: float, at: str) -> None:
        def show(html: str) -> None:
            self._halted.value = html

        try:
            await halt_button.follow(self.settings, self.root, press, at, show)
        finally:
            self._busy.discard(HALTING)
            self._paint_buttons()
            self._wake.set()

    def _failed(self, error: BaseException) -> None:
        """Show an error of the console itself in the bar at the top, until the console is opened again."""
        self.mistake = self._clean(f"a part of this console has stopped working: {error!r}; run its cell again")
        self._paint()


def _html() -> Any:
    return widgets.HTML(layout=FULL)


def _labelled(width: str = "auto") -> dict[str, Any]:
    return {"layout": widgets.Layout(width=width), "style": {"description_width": "initial"}}


def _grow() -> Any:
    return widgets.Layout(flex="1 1 420px", min_width="0", margin="0 0 0 12px")


def _flow(inside: Iterable[Any]) -> Any:
    return widgets.HBox(list(inside), layout=widgets.Layout(flex_flow="row wrap", width="99%"))


def _scrolled(title: str, inside: Any, height: str) -> Any:
    """Return a part of the page that scrolls while the rest of the page stands still.

    Its title takes the keyboard's focus, because the title is never redrawn and so keeps the focus.
    """
    layout = widgets.Layout(max_height=height, overflow="auto", width="99%")
    return widgets.VBox([widgets.HTML(markup.heading(title)), inside], layout=layout)
