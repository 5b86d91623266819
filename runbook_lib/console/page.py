"""The console's widgets: they show what was read, and hand what is pressed to `console_presses` and `halt`.

Nothing here blocks the kernel: reading, sending and halting run in threads, and come back to the kernel's own loop,
which alone touches widgets.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from runbook_lib.agentic_trading.runner_commands import Target
from runbook_lib.console import halt_button, markup, sent_commands
from runbook_lib.console.arming import Arming
from runbook_lib.console.background import Tasks, aside
from runbook_lib.console.charts import DRAWN, png
from runbook_lib.console.overview import LEVELS, Overview, Reader
from runbook_lib.console.sent_commands import Press
from runbook_lib.errors import RunbookError
from runbook_lib.records import run_record
from runbook_lib.records.alarms import open_alarms
from runbook_lib.services.notifications import Listener

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from runbook_lib.settings.profiles import Settings

__all__ = ["Panel"]

EVERY = 2.0  # seconds between two looks when nothing wakes us
LEAST = 0.2  # seconds between two looks, however much is notified
SLOW = 5.0  # seconds after which a look that has not come back is told
CHARTS = 10.0  # seconds between two drawings
ALARMS = 5.0  # seconds between two looks at what the watch has written down
SHOWN = 8  # presses on the screen; each has its record
STYLES = {"flatten": "warning", "stop": "warning", "revoke": "danger", "kill": "danger", "pause": "primary"}
FULL = widgets.Layout(width="99%")


class Panel:
    """One console on the screen. It lives on the running loop until `close`."""

    def __init__(self, settings: Settings, *, operator: str, root: Path, chosen: Iterable[str] = ()) -> None:
        self.settings, self.operator, self.root = settings, operator, root
        self.overview: Overview | None = None
        self.trouble = self.mistake = ""  # why what is shown is old; what went wrong in here
        self.pressed: deque[list[Any]] = deque(maxlen=SHOWN)  # [time, Press], newest first
        self.looks = 0
        self._wanted = list(chosen)  # chosen before they were seen
        self._busy: set[tuple[str, str]] = set()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._tasks = Tasks(self._failed)
        self._clean = settings.redactor().text  # a mistake may quote anything
        run_record.versions()  # looked up now, and not between a press and its sending
        self._make()
        self._reader = Reader(settings)
        self._listener = Listener(settings, self._heard)
        self._tasks.spawn(self._live())
        self._tasks.spawn(self._draw())
        self._tasks.spawn(self._ring())

    def close(self) -> None:
        """End what runs; the widgets stay as they are. Commands under way go on to their end."""
        self._tasks.end()
        self._listener.close()
        threading.Thread(target=self._reader.close, daemon=True).start()  # a look may be under way

    # --- the widgets ----------------------------------------------------------------------------------------------

    def _make(self) -> None:
        self._bar, self._presses, self._table, self._log = (widgets.HTML(layout=FULL) for _ in range(4))
        self._halted, self._ringing = (widgets.HTML(layout=FULL) for _ in range(2))
        self._filter = widgets.Text(placeholder="filter: id, Skill, broker", layout=widgets.Layout(width="330px"))
        self._picker = widgets.SelectMultiple(rows=7, layout=widgets.Layout(width="330px"))
        self._about = widgets.HTML()
        self._arming = Arming(self.settings, self._paint_buttons)
        self._buttons = {kind: self._button(kind) for kind in sent_commands.KINDS}
        self._halt = widgets.Button(description="HALT EVERYTHING", button_style="danger", layout=_wide())
        self._level = widgets.Dropdown(options=[(f"{one} and above", one) for one in LEVELS], value="info")
        self._images = [widgets.Image(format="png", layout=widgets.Layout(width="49%")) for _ in DRAWN]
        self._halt.on_click(lambda _: self._press_halt())
        self._picker.observe(lambda _: self._chosen_changed(), "value")
        self._filter.observe(lambda _: self._paint_picker(), "value")
        self._level.observe(lambda _: self._wake.set(), "value")
        self.box = self._laid_out()
        self._paint()

    def _button(self, kind: str) -> Any:
        button = widgets.Button(button_style=STYLES.get(kind, ""), layout=_wide())
        button.on_click(lambda _: self._press(kind))
        return button

    def _laid_out(self) -> Any:
        rows = [self._buttons[kind] for kind in sent_commands.KINDS]
        typed = [self._arming.field] if self._arming.needed else []
        acting = [self._about, *typed, _flow(rows), _flow([self._halt]), self._presses]
        choosing = widgets.VBox([self._filter, self._picker], layout=widgets.Layout(flex="0 0 auto"))
        top = widgets.HBox([choosing, widgets.VBox(acting, layout=_grow())])
        table = widgets.VBox([self._table], layout=widgets.Layout(max_height="340px", overflow="auto", width="99%"))
        log = widgets.VBox([self._log], layout=widgets.Layout(max_height="300px", overflow="auto", width="99%"))
        return widgets.VBox([self._bar, self._ringing, top, self._halted, table, _flow(self._images), self._level, log])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.box._repr_mimebundle_(**options)

    # --- looking --------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        """Look, show, wait for a word or for the time; a look that fails is told, and made again."""
        while True:
            self._wake.clear()
            chosen, level = self.chosen, self._level.value
            look = asyncio.ensure_future(aside(partial(self._reader.read, chosen, level)))
            try:
                await self._patiently(look)
                self.overview, self.trouble = look.result(), ""
                self._listener.follow(f"agent_commands_{row['id']}" for row in self.overview.rows)
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
        """Wait for a look, and say so when it takes long: a picture that stands still must not look alive."""
        begun = time.monotonic()
        while not (await asyncio.wait([look], timeout=SLOW))[0]:
            self.trouble = f"the database has not answered for {time.monotonic() - begun:.0f} s"
            self._paint()

    async def _draw(self) -> None:
        """Draw each chart in turn; each is made on the loop, for pyplot has no threads, and painted beside it."""
        while True:
            for image, chart in zip(self._images, DRAWN, strict=True):
                if self.overview is not None:
                    image.value = await aside(partial(png, chart(self.overview)))
                await asyncio.sleep(LEAST)
            await asyncio.sleep(CHARTS if self.overview else LEAST)

    async def _ring(self) -> None:
        """Show what the watch has found; it writes it down, whatever it judges."""
        while True:
            try:
                found = await aside(partial(open_alarms, self.settings, self.root))
                self._ringing.value = markup.ringing(alarm for _, alarm in found)
            except RunbookError as error:
                self._ringing.value = escape(f"the watch's alarms are not known: {error}")
            await asyncio.sleep(ALARMS)

    def _heard(self, _: str) -> None:
        """Something was notified, or the line was made or lost; called in the listener's thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    # --- showing --------------------------------------------------------------------------------------------------

    @property
    def chosen(self) -> tuple[str, ...]:
        """Ids of the deployments that are chosen: only what can be seen in the picker is acted upon."""
        return tuple(self._picker.value) or tuple(self._wanted)

    def _paint(self) -> None:
        listener = getattr(self, "_listener", None)
        listening = listener.state if listener else "connects"
        self._bar.value = markup.bar(
            self.settings, self.operator, self.overview, listening, self.mistake or self.trouble
        )
        if self.overview:
            self._paint_picker()
            self._table.value = markup.deployments(self.overview, self.chosen)
            self._log.value = markup.log(self.overview.log)
        self._paint_buttons()
        self._presses.value = markup.presses(tuple(one) for one in self.pressed)

    def _paint_picker(self) -> None:
        """Options change only when deployments come and go, or the filter does: what is chosen stays chosen."""
        words = self._filter.value.lower().split()
        rows = self.overview.rows if self.overview else ()
        named = [(markup.label(row), row["id"]) for row in rows]
        options = tuple((text, one) for text, one in named if all(word in f"{text} {one}".lower() for word in words))
        if options != tuple(self._picker.options):
            kept, ids = self.chosen, {one for _, one in options}
            self._picker.options = options
            self._picker.value = tuple(one for one in kept if one in ids)
            self._wanted = []

    def _chosen_changed(self) -> None:
        self._arming.clear()
        self._paint()
        self._wake.set()

    def _paint_buttons(self) -> None:
        chosen = self._targets()
        who = chosen[0].id[:8] if len(chosen) == 1 else f"{len(chosen)} deployments" if chosen else ""
        self._about.value = (
            f"What is pressed goes to <b>{who or 'nothing: choose deployments'}</b> on {self.settings.name}"
        )
        self._arming.ask(chosen)
        for kind, button in self._buttons.items():
            button.description = f"{kind.capitalize()} {who}".strip()
            busy = any((kind, one.id) in self._busy for one in chosen)
            agentless = kind == "revoke" and not all(one.agent for one in chosen)
            button.disabled = not chosen or busy or agentless or not self._arming.allows(kind, chosen)
        self._halt.description = f"HALT EVERYTHING on {self.settings.name}"
        self._halt.disabled = ("halt", "") in self._busy or not self._arming.allows_halt()

    # --- pressing -------------------------------------------------------------------------------------------------

    def _targets(self) -> tuple[Target, ...]:
        agents = {row["id"]: row["agent"] for row in self.overview.rows} if self.overview else {}
        return tuple(Target(one, agents[one]) for one in self.chosen if one in agents)

    def _press(self, kind: str) -> None:
        """A click: what is under way already for one of these, or is not armed, is not sent again."""
        at, chosen = time.monotonic(), self._targets()
        marks = {(kind, one.id) for one in chosen}
        if not chosen or marks & self._busy or not self._arming.allows(kind, chosen):
            return
        self._busy |= marks
        line = [f"{datetime.now(UTC):%H:%M:%S}", Press(kind, chosen)]
        self.pressed.appendleft(line)
        self._arming.clear()
        self._paint()
        self._tasks.spawn(self._follow(line, marks, at))

    async def _follow(self, line: list[Any], marks: set[tuple[str, str]], at: float) -> None:
        def tell(now: Press) -> None:
            self._loop.call_soon_threadsafe(self._told, line, now)

        first: Press = line[1]
        try:
            done = await aside(
                lambda: sent_commands.press(
                    self.settings, first.kind, first.targets, root=self.root, pressed=at, watch=tell
                )
            )
            self._told(line, done)
        except BaseException as error:
            self._told(
                line,
                Press(first.kind, first.targets, "unknown", words=self._clean(f"a mistake in this program: {error!r}")),
            )
            raise
        finally:
            self._busy -= marks
            self._paint_buttons()
            self._wake.set()

    def _told(self, line: list[Any], now: Press) -> None:
        line[1] = now
        self._presses.value = markup.presses(tuple(one) for one in self.pressed)
        if now.outcome or now.effect:
            self._wake.set()

    def _press_halt(self) -> None:
        """The same code as ``./runbook halt --all``, with a record of its own."""
        if ("halt", "") in self._busy or not self._arming.allows_halt():
            return
        self._busy.add(("halt", ""))
        self._arming.clear()
        self._paint_buttons()
        self._tasks.spawn(self._follow_halt(time.monotonic(), f"{datetime.now(UTC):%H:%M:%S}"))

    async def _follow_halt(self, press: float, at: str) -> None:
        def show(html: str) -> None:
            self._halted.value = html

        try:
            await halt_button.follow(self.settings, self.root, press, at, show)
        finally:
            self._busy.discard(("halt", ""))
            self._paint_buttons()
            self._wake.set()

    def _failed(self, error: BaseException) -> None:
        """A mistake of ours is told on the screen, and stays there."""
        self.mistake = self._clean(f"a part of this console has stopped working: {error!r}; run its cell again")
        self._paint()


def _wide() -> Any:
    return widgets.Layout(width="auto")


def _grow() -> Any:
    return widgets.Layout(flex="1 1 0%", min_width="0", margin="0 0 0 12px")


def _flow(inside: Iterable[Any]) -> Any:
    return widgets.HBox(list(inside), layout=widgets.Layout(flex_flow="row wrap", width="99%"))
