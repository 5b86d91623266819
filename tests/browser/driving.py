"""JupyterLab as an operator uses it: Shift-Enter, clicks, what can be read on the page."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx

from runbook_lib.records import history, plan
from tests.core_fixtures import NOBODY, PATIENCE, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

    from runbook_lib.records.record_folder import Record

ROOT = Path(__file__).resolve().parents[2]
WAIT = PATIENCE * 1000  # milliseconds
VIEW = {"width": 1180, "height": 900}
CELL = ".jp-Notebook .jp-Cell"
PROMPT = "document.querySelectorAll('.jp-Notebook .jp-Cell')[place].querySelector('.jp-InputPrompt')"
FORGET = f"(place) => {{ {PROMPT}.textContent = ''; }}"  # JupyterLab writes it anew when the cell is run
RAN = f"(place) => /\\[\\d+\\]/.test({PROMPT}.textContent)"


def pictures() -> Path:
    """Where screenshots are left for whoever wants to look; git ignores it."""
    folder = Path(os.environ.get("RUNBOOK_PICTURES") or ROOT / "artefacts")
    folder.mkdir(exist_ok=True)
    return folder


class Tab:
    """A tab of the browser on one notebook."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.url = url
        self.at: int | None = None  # the cell that is selected, as far as we know
        self.page = browser.new_context(viewport=VIEW).new_page()
        self.page.set_default_timeout(WAIT)
        self.page.goto(url)
        self.page.locator(CELL).first.wait_for()
        self.ready()

    def ready(self) -> None:
        """Wait until the notebook is connected to an idle kernel: what is run before that is lost without a word."""
        eventually(
            lambda: any(one["execution_state"] == "idle" and one["connections"] for one in self.kernels()), "idle"
        )

    def kernels(self) -> list[dict[str, Any]]:
        return [one["kernel"] for one in self.api("sessions")]

    def api(self, path: str, method: str = "GET") -> Any:
        parts = urlsplit(self.url)
        token = parse_qs(parts.query)["token"][0]
        address = f"{parts.scheme}://{parts.netloc}/api/{path}"
        answer = httpx.request(method, address, headers={"Authorization": f"token {token}"}, verify=NOBODY)
        return answer.json() if answer.content else None

    def cell(self, place: int) -> Locator:
        """A cell by its place in the notebook, markdown included."""
        return self.page.locator(CELL).nth(place)

    def run(self, place: int) -> None:
        """Come to a cell, press Shift-Enter, wait until it has ended."""
        self.begin(place)
        self.page.wait_for_function(RAN, arg=place, polling="raf")

    def trouble(self, place: int) -> str:
        """What a cell raised; empty if it ended well."""
        raised = self.cell(place).locator('[data-mime-type="application/vnd.jupyter.error"]')
        return raised.first.inner_text() if raised.count() else ""

    def begin(self, place: int) -> None:
        """Press Shift-Enter down to a cell and in it, without waiting for it."""
        if self.at is None or self.at > place:
            self.cell(place).locator(".jp-InputPrompt").click()
            self.at = place
        self.page.evaluate(FORGET, place)
        for _ in range(self.at, place + 1):  # what lies between is markdown
            self.page.keyboard.press("Shift+Enter")
        self.at = place + 1

    def rerun(self) -> None:
        """Restart the kernel and run all cells, by the menu."""
        self.at = None
        self.page.get_by_role("menuitem", name="Kernel", exact=True).click()
        self.page.get_by_role("menuitem", name=re.compile("^Restart Kernel and Run All Cells")).click()
        self.page.get_by_role("button", name="Confirm Kernel Restart").click()

    def press(self, place: int, initials: str = "") -> None:
        """Click a step's button, with initials where they are asked for, and wait until the press has ended."""
        self.at = None
        if initials:
            self.cell(place).get_by_placeholder("your initials").fill(initials)
        self.button(place).first.click()
        self.cell(place).get_by_text("pressed by").first.wait_for()

    def button(self, place: int, name: str | re.Pattern[str] = "") -> Locator:
        return self.cell(place).get_by_role("button", name=name or re.compile("."))

    def picture(self, name: str) -> None:
        self.page.screenshot(path=pictures() / f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}.png")


def outcome(record: Record, number: str) -> str | None:
    """How a step has ended so far, in the ledger."""
    event = history.read(record).outcomes().get(number)
    return event["outcome"] if event else None


def passed(record: Record, number: str) -> None:
    """Wait until a step has passed; it is not waited for once it has ended otherwise."""
    ended = eventually(lambda: outcome(record, number) in ("passed", "failed") and outcome(record, number), number)
    assert ended == "passed", history.read(record).outcomes()[number]["complaint"]


def place_of(record: Record, number: str) -> int:
    """Where a step stands in its notebook."""
    return next(step.cell for step in plan.steps(record.notebook) if step.number == number)


def walk(tab: Tab, record: Record, *, after: str = "", until: str = "") -> None:
    """Step through a notebook from its first cell or ``after`` a step, as an operator does: run, press, look."""
    steps = {step.cell: step for step in plan.steps(record.notebook)}
    cells = json.loads(record.notebook.read_text(encoding="utf-8"))["cells"]
    first, last = (place_of(record, number) if number else None for number in (after, until))
    for place in range(0 if first is None else first + 1, len(cells) if last is None else last + 1):
        if cells[place]["cell_type"] != "code" or not cells[place]["source"]:
            continue
        step = steps.get(place)
        recalled = step is not None and outcome(record, step.number) == "passed"
        tab.run(place)
        if step is None:
            assert not tab.trouble(place)
            continue
        if step.verb != "check" and not recalled:
            tab.press(place, "AL" if step.verb == "confirm" else "")
        passed(record, step.number)
