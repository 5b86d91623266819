"""The console in JupyterLab, in a real browser: a click pauses a runner while every chart is being drawn again."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from runbook_lib.records import ledger, plan, verify
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.settings.profiles import load
from tests.browser.driving import pictures
from tests.core_fixtures import connect, eventually

SETTINGS = {"fetchNews": "false", "checkForUpdates": False}  # JupyterLab's own: nobody is asked for news
# Charts one after another without a rest, so that a press meets one for sure.
HURRIED = "from runbook_lib.console import page\n\npage.CHARTS = 0.0"
OWN = 2.0  # seconds from the click to its effect on the page; the machine may be busy, the benchmark measures


@pytest.fixture
def live(tmp_path):
    before = dict(os.environ)
    with rehearse(state="paper_running") as running:
        os.environ.update(running.environment, RUNBOOK_RECORDS=str(tmp_path / "records"), RUNBOOK_OPERATOR="ada")
        yield running
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def lab(live, tmp_path):
    """A JupyterLab on a copy of the notebook; its address and its token."""
    book = json.loads(plan.notebook("console").read_text())
    first = next(place for place, cell in enumerate(book["cells"]) if cell["cell_type"] == "code")
    book["cells"].insert(first + 1, {**book["cells"][first], "id": "hurry", "metadata": {}, "source": [HURRIED]})
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "console.ipynb").write_text(json.dumps(book))
    news = tmp_path / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps(SETTINGS))
    token = secrets.token_urlsafe(16)
    places = {f"JUPYTER_{one}_DIR": str(tmp_path / one.lower()) for one in ("CONFIG", "DATA", "RUNTIME")}
    places |= {f"JUPYTERLAB_{one}_DIR": str(tmp_path / one.lower()) for one in ("SETTINGS", "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0"]
    command += [f"--ServerApp.root_dir={tmp_path / 'desk'}", "--KernelManager.transport_encryption=required"]
    environment = {**os.environ, **places, "JUPYTER_TOKEN": token, "IPYTHONDIR": str(tmp_path / "ipython")}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield eventually(lambda: address(tmp_path / "runtime", process), "JupyterLab"), token
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
def page(browser, lab):
    """The notebook, connected to an idle kernel: what is run before that is lost without a word."""
    url, token = lab
    tab = browser.new_context(viewport={"width": 1400, "height": 2600}).new_page()
    tab.goto(f"{url}doc/tree/console.ipynb?token={token}")

    def idle():
        found = httpx.get(f"{url}api/sessions", headers={"Authorization": f"token {token}"}).json()
        return any(one["kernel"]["execution_state"] == "idle" and one["kernel"]["connections"] for one in found)

    eventually(idle, "an idle kernel")
    yield tab
    tab.screenshot(path=pictures() / "console.png")
    tab.context.close()


def test_a_click_pauses_a_runner_while_charts_refresh(page, live, tmp_path):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    choices = page.locator(".widget-select-multiple select")
    choices.locator("option").first.wait_for(state="attached")
    images = page.locator("img.widget-image")
    eventually(lambda: images.count() == 4 and drawn(images), "four charts")
    choices.select_option(index=0)
    page.get_by_role("button", name=re.compile("^Pause [0-9a-f]{8}$")).click()
    page.wait_for_function("() => /effect \\d+ ms/.test(document.body.innerText)", polling="raf")
    told = re.search(r"effect (\d+) ms", page.inner_text("body"))
    assert told and int(told[1]) < 1000 * OWN
    with connect(live) as connection:
        assert connection.execute("select status from public.deployments").fetchall() == [("paused",)]
    before = images.first.get_attribute("src")
    eventually(lambda: images.first.get_attribute("src") != before, "the charts go on")
    eventually(lambda: re.search(r"\bpaused\b", page.locator("table", has_text="heartbeat").inner_text()), "on screen")
    press = [one for one in ledger.every(tmp_path / "records") if one.opened()["mode"] == "press"]
    assert [one.opened()["operator"] for one in press] == ["ada"]
    eventually(press[0].sealed, "the seal")
    assert verify.verify(press[0].folder) == [] and load("rehearsal").name == press[0].profile


def drawn(images):
    return all(one.evaluate("image => image.naturalWidth") for one in images.all())
