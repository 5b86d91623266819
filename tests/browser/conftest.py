"""A real browser for the notebooks an operator steps through."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.driving import Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

AXE = (
    os.environ.get("NODE_PATH", "node_modules"),
    "node_modules",
    "/usr/lib/node_modules",
    "/usr/local/lib/node_modules",
)
GRAVE = ("serious", "critical")
OPTIONS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


# For a module, not for the session: while playwright runs, its event loop is the thread's, and no other can run there.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium. Without it the tests are skipped, loudly; in CI that is a failure."""
    program = shutil.which("chromium")
    if program is None:
        missing = "chromium is not installed: nothing was proven in a browser (apt-get install chromium)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=list(OPTIONS))
        yield found
        found.close()


@pytest.fixture
def tab(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Tab]]:
    """Opens a tab on a notebook's address; a picture of each is left when the test ends."""
    opened: list[Tab] = []

    def open_one(url: str) -> Tab:
        opened.append(Tab(browser, url))
        return opened[-1]

    yield open_one
    for number, one in enumerate(opened):
        if not one.page.is_closed():
            one.picture(f"{request.node.name}-{number}")
        one.page.context.close()


@pytest.fixture(scope="session")
def axe() -> Callable[[Page, str], list[str]]:
    """Judges part of a page by WCAG AA: a line for each serious finding.

    Needs axe-core, which CI does not bring: without it the test is skipped, loudly, unless NODE_PATH names its folder.
    """
    script = next((path for folder in AXE for path in [Path(folder, "axe-core", "axe.min.js")] if path.exists()), None)
    if script is None:
        missing = "axe-core is not installed: nothing was proven of contrast and labels (npm install axe-core)"
        (pytest.fail if os.environ.get("NODE_PATH") else pytest.skip)(missing)

    def judge(page: Page, selector: str) -> list[str]:
        page.add_script_tag(path=script)
        run = "(within) => axe.run(within, {runOnly: ['wcag2a', 'wcag2aa']})"
        serious = [one for one in page.evaluate(run, selector)["violations"] if one["impact"] in GRAVE]
        return [
            f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in serious for node in one["nodes"]
        ]

    return judge
