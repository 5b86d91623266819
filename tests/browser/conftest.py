"""A real browser for the notebooks an operator steps through."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.driving import Tab

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

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
