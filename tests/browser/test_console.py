"""The console in JupyterLab, in a real browser: a click pauses a runner, and whatever stands still says so itself."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from runbook_lib.records import plan, record_folder, verify
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.settings.profiles import load
from tests.browser.driving import WAIT, pictures
from tests.core_fixtures import connect, eventually

SETTINGS = {"fetchNews": "false", "checkForUpdates": False}  # JupyterLab's own: nobody is asked for news
# Charts one after another without a rest, so that a press meets one for sure.
HURRIED = "from runbook_lib.console import page\n\npage.CHARTS = 0.0"
OWN = 2.0  # seconds from the click to its effect on the page; the machine may be busy, the benchmark measures


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def live(root):
    before = dict(os.environ)
    with rehearse(state="paper_running") as running:
        os.environ.update(running.environment, RUNBOOK_RECORDS=str(root / "records"), RUNBOOK_OPERATOR="ada")
        yield running
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def lab(live, root):
    """A JupyterLab on a copy of the notebook: its address, its token, its process."""
    book = json.loads(plan.notebook("console").read_text())
    first = next(place for place, cell in enumerate(book["cells"]) if cell["cell_type"] == "code")
    book["cells"].insert(first + 1, {**book["cells"][first], "id": "hurry", "metadata": {}, "source": [HURRIED]})
    (root / "desk").mkdir()
    (root / "desk" / "console.ipynb").write_text(json.dumps(book))
    news = root / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps(SETTINGS))
    token = secrets.token_urlsafe(16)
    places = {f"JUPYTER_{one}_DIR": str(root / one.lower()) for one in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{one}_DIR": str(root / one.lower()) for one in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={root / 'desk'}", "--KernelManager.transport_encryption=required"]
    environment = {**os.environ, **places, "JUPYTER_TOKEN": token, "IPYTHONDIR": str(root / "ipython")}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield eventually(lambda: address(root / "runtime", process), "JupyterLab"), token, process
    finally:
        process.terminate()
        process.wait(30)


def address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    assert process.poll() is None
    for path in folder.glob("jpserver-*.json"):
        try:
            return json.loads(path.read_text())["url"]
        except ValueError:
            pass  # half written
    return ""


@pytest.fixture
def theme():
    return "Light"


@pytest.fixture
def page(browser, lab, theme):
    """The console, live, in a kernel of its own."""
    url, token, _ = lab
    headers = {"Authorization": f"token {token}"}
    chosen = {"raw": json.dumps({"theme": f"JupyterLab {theme}"})}
    themes = f"{url}lab/api/settings/@jupyterlab/apputils-extension:themes"
    httpx.put(themes, json=chosen, headers=headers).raise_for_status()
    tab = browser.new_context(viewport={"width": 1400, "height": 2000}).new_page()
    tab.set_default_timeout(WAIT)
    tab.goto(f"{url}doc/tree/console.ipynb?token={token}")

    def sessions():
        return httpx.get(f"{url}api/sessions", headers=headers).json()

    def idle():
        return any(one["kernel"]["execution_state"] == "idle" and one["kernel"]["connections"] for one in sessions())

    eventually(idle, "an idle kernel")  # what is run before that is lost without a word
    tab.get_by_role("menuitem", name="Run", exact=True).click()
    tab.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    tab.locator(".widget-select-multiple select option").first.wait_for(state="attached")
    yield tab
    tab.context.close()
    for one in sessions():
        httpx.delete(f"{url}api/sessions/{one['id']}", headers=headers, timeout=30)


@pytest.fixture
def kernel(page, lab):
    """The pid of the console's kernel."""
    [pid] = children(lab[2].pid)
    return pid


def children(pid):
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def choose(page):
    page.locator(".widget-select-multiple select").select_option(index=0)
    return page.get_by_role("button", name=re.compile("^Pause [0-9a-f]{8}$"))


def counts(page, selector):
    """What the browser's own count of an age stands at now, in its unit."""
    script = """(node) => Number(getComputedStyle(node, '::after').getPropertyValue('--rb-count'))"""
    return page.locator(selector).first.evaluate(script)


def test_a_click_pauses_a_runner_while_charts_refresh(page, live, root):
    images = page.locator("img.rb-chart")
    eventually(lambda: images.count() == 4 and drawn(images), "four charts")
    choose(page).click()
    page.wait_for_function("() => /effect \\d+ ms/.test(document.body.innerText)", polling="raf")
    told = re.search(r"effect (\d+) ms", page.inner_text("body"))
    assert told and int(told[1]) < 1000 * OWN
    with connect(live) as connection:
        assert connection.execute("select status from public.deployments").fetchall() == [("paused",)]
    before = images.first.get_attribute("src")
    eventually(lambda: images.first.get_attribute("src") != before, "the charts go on")
    eventually(lambda: re.search(r"\bpaused\b", page.locator("table", has_text="heartbeat").inner_text()), "on screen")
    press = [one for one in record_folder.every(root / "records") if one.opened()["mode"] == "press"]
    assert [one.opened()["operator"] for one in press] == ["ada"]
    eventually(press[0].sealed, "the seal")
    assert verify.verify(press[0].folder) == [] and load("rehearsal").name == press[0].profile
    page.screenshot(path=pictures() / "console.png")


def drawn(images):
    return all(one.evaluate("image => image.naturalWidth") for one in images.all())


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_the_console_can_be_read_and_operated_by_everyone(page, theme, axe):
    choose(page).wait_for()
    eventually(lambda: page.locator("img.rb-chart").count() == 4, "four charts")
    for width in (1400, 900):
        page.set_viewport_size({"width": width, "height": 2000})
        box = page.locator(".rb-page").first
        box.screenshot(path=pictures() / f"console-{theme.lower()}-{width}.png")
        scrolls = box.evaluate("box => box.scrollWidth > box.clientWidth + 1")
        assert not scrolls, f"wider than a page of {width} px"
    assert axe(page, ".rb-page") == []


def test_a_kernel_that_stands_still_is_told_and_what_is_pressed_meanwhile_is_not_sent(page, kernel, live):
    count = "select count(*) from public.agent_commands"
    pause = choose(page)
    pause.wait_for()
    hung = page.locator(".rb-hung")
    assert not hung.is_visible()
    halt = page.get_by_role("button", name=re.compile("^HALT EVERYTHING"))
    place = halt.bounding_box()
    with connect(live) as connection:
        before = connection.execute(count).fetchone()
        os.kill(kernel, signal.SIGSTOP)
        try:
            pause.click()  # before the page can know
            hung.wait_for()
            assert "nothing pressed after that is sent" in hung.inner_text()
            page.locator(".rb-page .rb-old").first.wait_for()
            first = counts(page, ".rb-hung .rb-age")
            eventually(lambda: counts(page, ".rb-hung .rb-age") > first, "its age counts on")
            assert halt.bounding_box() == place
            opacity = "node => getComputedStyle(node.closest('.rb-beat-a, .rb-beat-b')).opacity"
            assert float(pause.evaluate(opacity)) < 1
            page.screenshot(path=pictures() / "console-kernel-stopped.png")
        finally:
            os.kill(kernel, signal.SIGCONT)
        hung.wait_for(state="hidden")
        page.get_by_text("it was pressed while the console stood still").wait_for()
        assert connection.execute(count).fetchone() == before
    page.locator(".rb-page .rb-old").first.wait_for(state="hidden")


def test_a_database_that_was_killed_leaves_nothing_that_looks_alive(page, live):
    """The last test of the module: the database does not come back."""
    age = ".rb-page td .rb-age"
    page.locator(age).first.wait_for()
    for path in live.folder.rglob("postmaster.pid"):
        os.kill(int(path.read_text().split()[0]), signal.SIGKILL)
    page.get_by_text("What is shown below is old").wait_for()
    page.locator(".rb-page .rb-old").first.wait_for()
    assert "STALE" in page.locator(".rb-page .rb-old").first.inner_text()
    grey = re.compile("grayscale")
    expect(page.locator(".rb-page .rb-picture", has=page.locator("td .rb-age")).first).to_have_css("filter", grey)
    first = counts(page, age)
    eventually(lambda: counts(page, age) > first + 2, "the age of the heartbeat counts on")
    assert not page.locator(".rb-hung").is_visible(), "the kernel answers: it is the database that does not"
    page.screenshot(path=pictures() / "console-database-killed.png")
