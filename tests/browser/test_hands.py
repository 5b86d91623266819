"""What an operator's hands may do: click too often, from two tabs, while the kernel dies, unarmed, too early."""

from __future__ import annotations

import os
import re
import signal
import uuid
from pathlib import Path

import httpx
import psycopg
import pytest

from runbook_lib.records import plan, run_record
from runbook_lib.rehearsal import lifecycle
from runbook_lib.runs import attended, jupyterlab
from runbook_lib.settings import profiles
from tests.browser.driving import outcome, passed
from tests.core_fixtures import connect, eventually, write_notebook

# Settings of the production kind, on loopback: only code can make them.
PRODUCTION = """
from functools import partial
from pathlib import Path
from IPython.display import display
from runbook_lib import send_command
from runbook_lib.settings import profiles
from runbook_lib.records.record_folder import Record
from runbook_lib.steps.phase import Phase

chosen = profiles.load("rehearsal").model_copy(
    update={"kind": "production", "name": "production", "allow": [], "person": None})
phase = Phase("phase_try", chosen, Record(Path.cwd(), chosen.redactor()), mode="attended",
              display=partial(display, display_id=True))
phase.head()
"""
INSERT = """phase.act("1a", "Insert a row", sql(
    "insert into public.{table} (id, word) values (%(key)s, 'x') on conflict do nothing", key="{{key}}"))"""
CHECK = """phase.check("{number}", "The row is there", sql("select word from public.{table}"),
    expect=value("{word}", "word"), within={within}, fix="Insert the row (1a), then run this cell again.")"""
CLICKS = "(button) => { for (let i = 0; i < 25; i++) button.click(); }"


class Desk:
    """One JupyterLab and one rehearsal with a paper deployment that runs."""

    def __init__(self, running, served, root):
        self.running, self.lab, self.root = running, served, root

    def record(self, *cells, opening=True, **changes):
        """A record to be stepped through, and the address of its notebook."""
        chosen = profiles.load("rehearsal").model_copy(update=changes)
        made = run_record.begin(chosen, "phase_try", root=self.root, mode="attended")
        write_notebook(made.folder / "phase_try.ipynb", *cells, opening=opening).rename(made.notebook)
        return made, self.lab.url(made.notebook.relative_to(self.root))

    def kernels(self):
        """Pids of the kernels that run now."""
        tasks = Path(f"/proc/{self.lab.process.pid}/task").glob("*/children")
        return {int(pid) for task in tasks for pid in task.read_text().split()}

    def rows(self, statement):
        with connect(self.running) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    root = tmp_path_factory.mktemp("hands")
    before = dict(os.environ)
    with lifecycle.rehearse(state="paper_running") as running:
        os.environ.update(running.environment, RUNBOOK_OPERATOR="ada", RUNBOOK_RECORDS=str(root))
        os.environ["RUNBOOK_MODE"] = "attended"
        with jupyterlab.serving(root, os.environ) as served:
            yield Desk(running, served, root)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def one_writer(desk):
    """No kernel of an earlier test holds the writing lock."""
    yield
    headers = {"Authorization": f"token {desk.lab.token}"}
    for one in httpx.get(f"{desk.lab.address}api/sessions", headers=headers).json():
        httpx.delete(f"{desk.lab.address}api/sessions/{one['id']}", headers=headers, timeout=30)


@pytest.fixture
def table(desk):
    name = f"try_{uuid.uuid4().hex[:12]}"
    desk.rows(f"create table public.{name} (id uuid primary key, word text)")
    return name


def sendings(record):
    return [e for e in record.ledger.events() if e["event"] == "sending" and e["step"] == "1a"]


def test_fifty_clicks_in_two_tabs_after_a_tab_was_closed_make_one_row(desk, tab, table):
    record, url = desk.record(INSERT.format(table=table))
    first = tab(url)
    for place in range(3):
        first.run(place)
    first.button(2).wait_for()
    first.page.keyboard.press("Control+s")
    eventually(lambda: "not sent yet" in record.notebook.read_text(), "the notebook is saved")
    first.page.close()

    tabs = [tab(url), tab(url)]
    for one in tabs:
        one.button(2).wait_for()
    for one in tabs:
        one.button(2).evaluate(CLICKS)
    passed(record, "1a")
    for one in tabs:
        one.cell(2).get_by_text("pressed by ada at").wait_for()
        assert one.button(2).is_disabled()
    assert desk.rows(f"select count(*) from public.{table}") == [(1,)] and len(sendings(record)) == 1
    assert sum(event["event"] == "pressed" for event in record.ledger.events()) == 1


def test_a_kernel_killed_between_click_and_answer_leaves_one_row_and_no_lie(desk, tab, table):
    record, url = desk.record(INSERT.format(table=table))
    before = desk.kernels()
    page = tab(url)
    for place in range(3):
        page.run(place)
    (kernel,) = desk.kernels() - before
    with psycopg.connect(
        desk.running.addresses["database"], password=desk.running.environment["SUPABASE_DB_PASSWORD"]
    ) as held:
        held.execute(f"lock table public.{table} in access exclusive mode")
        page.button(2).click()
        eventually(lambda: sendings(record), "it is sent")
        page.cell(2).get_by_text("asking").wait_for()
        os.kill(kernel, signal.SIGKILL)
        eventually(lambda: kernel not in desk.kernels(), "the kernel is gone")
    assert outcome(record, "1a") == "unknown"

    page.page.get_by_role("button", name=re.compile("Ok", re.IGNORECASE)).click()
    page.ready()
    for place in range(3):
        page.run(place)
    page.cell(2).get_by_text("no answer was recorded").wait_for()
    page.picture("kernel-killed")
    page.press(2)
    passed(record, "1a")
    assert desk.rows(f"select count(*) from public.{table}") == [(1,)] and len(sendings(record)) == 2


def test_run_all_stops_at_the_first_thing_that_needs_a_person_and_says_so(desk, tab, table):
    check = CHECK.format(number="1b", table=table, word="x", within=0)
    record, url = desk.record(INSERT.format(table=table), check, "phase.close()")
    page = tab(url)
    page.page.get_by_role("menuitem", name="Run", exact=True).click()
    page.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    said = page.cell(3).get_by_text("1b waits for 1a, which is not pressed: press its button above")
    said.wait_for()
    page.picture("run-all-stopped")
    assert page.cell(4).locator(".jp-OutputArea-output").count() == 0
    page.press(2)
    passed(record, "1a")
    page.run(3)
    passed(record, "1b")
    page.cell(1).get_by_text("2 of 2 passed").wait_for()


def test_a_wait_is_live_and_a_failure_says_what_to_do(desk, tab, table):
    record, url = desk.record(
        CHECK.format(number="1a", table=table, word="x", within=60),
        CHECK.format(number="1b", table=table, word="y", within=0),
    )
    page = tab(url)
    page.run(0)
    page.run(1)
    page.begin(2)
    page.cell(2).get_by_text(re.compile("[1-9] s of at most 60 s")).wait_for()
    page.picture("waiting")
    desk.rows(f"insert into public.{table} values (gen_random_uuid(), 'x')")
    passed(record, "1a")
    page.run(3)
    page.cell(3).get_by_text("Insert the row (1a), then run this cell again.").first.wait_for()
    page.picture("failed")
    assert outcome(record, "1b") == "failed" and page.cell(1).get_by_text("1 of 2 passed").count() == 1


def test_in_production_a_button_is_armed_by_the_deployments_first_characters(desk, tab):
    [(deployment,)] = desk.rows("select id::text from public.deployments where status = 'running'")
    record, url = desk.record(
        PRODUCTION,
        f'phase.act("1a", "Pause the deployment", send_command("pause", "{deployment}"))',
        opening=False,
        name="production",
    )
    page = tab(url)
    for place in range(3):
        page.run(place)
    button = page.button(2, re.compile(f"Pause the deployment {deployment[:8]}… on production"))
    assert button.is_disabled()
    field = page.cell(2).get_by_placeholder(f"to arm it, type {deployment[:4]}…")
    field.fill("zzzz")
    page.picture("production-not-armed")
    field.fill(deployment[:4])
    page.cell(2).get_by_text("armed for 20 s").wait_for()
    page.picture("production-armed")
    button.click()
    passed(record, "1a")
    page.cell(2).get_by_text("effect").wait_for()
    page.cell(2).get_by_text("status paused").wait_for()
    page.picture("production-pressed")
    attended.close(record, profiles.load("rehearsal"))
    assert plan.steps(record.notebook)[0].number == "1a"
    shown = record.notebook.read_text()
    assert "pressed by ada at" in shown and "widget-view" not in shown and "paper, nothing there" in shown
