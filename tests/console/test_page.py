"""The console on a live platform: it refreshes, a pause gets through whatever refreshes, and nothing lies or leaks."""

from __future__ import annotations

import asyncio
import time

import pytest

from runbook_lib.console import markup, page, pulse
from runbook_lib.console.page import Page
from runbook_lib.records import record_folder
from runbook_lib.services.services import Services

PATIENCE = 60


@pytest.fixture
def database(on_paper):
    with Services(on_paper).database.connect() as connection:
        yield connection


async def until(true, what):
    for _ in range(PATIENCE * 50):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what}: not within {PATIENCE} s")


def on(on_paper, root, work):
    """Run ``work(console)`` with a console that has painted once."""

    async def main():
        console = Page(on_paper, operator="al", root=root)
        try:
            await until(lambda: console.overview or console.trouble, "the first look")
            await work(console)
        finally:
            console.close()

    asyncio.run(main())


def pick(console):
    console._picker.value = (console.overview.rows[0]["id"],)
    return console._buttons


def test_it_shows_every_deployment_and_keeps_looking(on_paper, tmp_path):
    async def work(console):
        assert console.overview.rows and console.overview.rows[0]["id"][:8] in console._table.value
        looks = console.looks
        await until(lambda: console.looks > looks + 1, "more looks")
        await until(lambda: all("data:image/png;base64,iVBOR" in figure.value for figure in console._figures), "charts")
        assert console.trouble == "" and "listens since" in console._bar.value

    on(on_paper, tmp_path, work)


def test_nothing_can_be_pressed_before_somebody_is_chosen_but_halt(on_paper, tmp_path):
    async def work(console):
        assert all(button.disabled for button in console._buttons.values()) and not console._halt.disabled
        buttons = pick(console)
        name = console.chosen[0][:8]
        assert buttons["pause"].description == f"Pause {name}" and not buttons["pause"].disabled
        assert buttons["revoke"].disabled  # a paper deployment has no agent

    on(on_paper, tmp_path, work)


def test_a_pause_takes_effect_while_a_look_hangs_and_fifty_clicks_send_one(on_paper, database, tmp_path):
    async def work(console):
        buttons = pick(console)
        with database.transaction():
            database.execute("lock table public.skills in access exclusive mode")
            console._wake.set()
            await asyncio.sleep(
                0.3
            )  # the look is on its way, and waits for the lock; the runner needs no Skill to pause
            looks = console.looks
            for _ in range(50):
                buttons["pause"].click()
            await until(lambda: console.pressed[0][1].effect, "the effect")
            assert console.looks == looks and len(console.pressed) == 1
            await until(lambda: "has not answered for" in console._bar.value, "that the picture is old")
        await until(lambda: console.overview.rows[0]["status"] == "paused", "paused on the screen")
        assert console.trouble == "" and "paused" in console._table.value
        buttons["resume"].click()
        await until(lambda: console.pressed[0][1].outcome, "the resume")
        assert console.pressed[0][1].outcome == "passed"
        await until(lambda: all(record.sealed() for record in record_folder.every(tmp_path)), "both presses sealed")

    on(on_paper, tmp_path, work)
    assert [record.sealed()["outcome"] for record in record_folder.every(tmp_path)] == ["passed", "passed"]


def test_a_listener_that_was_cut_off_is_told_and_comes_back(on_paper, database, tmp_path):
    async def work(console):
        await until(lambda: "listens" in console._listener.state, "listening")
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'launch-runbook' and pid <> pg_backend_pid()"
        )
        await until(lambda: console._listener.made == 2, "the line made anew")
        await until(lambda: "listens since" in console._bar.value and not console.trouble, "told on the screen")

    on(on_paper, tmp_path, work)


def test_a_command_of_somebody_else_wakes_it_at_once(on_paper, database, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "EVERY", 3600.0)

    async def work(console):
        one = console.overview.rows[0]["id"]
        await until(lambda: "listens" in console._listener.state, "listening")
        await asyncio.sleep(0.6)  # it follows the channel at its next turn
        looks = console.looks
        insert = "insert into public.agent_commands (deployment_id, kind) values (%s, 'snapshot')"
        database.execute(insert, (one,))
        await until(lambda: console.looks > looks, "a look")

    on(on_paper, tmp_path, work)


def test_a_database_that_is_gone_is_told_in_red_and_the_old_picture_keeps_its_time(on_paper, tmp_path):
    dead = "postgresql://postgres@127.0.0.1:9/postgres"
    gone = on_paper.model_copy(update={"database": on_paper.database.model_copy(update={"url": dead})})

    async def work(console):
        assert "What is shown below is old" in console._bar.value and "127.0.0.1:9" in console._bar.value

    on(gone, tmp_path, work)


def test_in_production_what_ends_something_is_armed_first_and_not_for_ever(on_paper, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "ARMED", 1.0)
    production = on_paper.model_copy(update={"kind": "production", "name": "production", "allow": [], "person": None})

    async def work(console):
        buttons = pick(console)
        assert not buttons["pause"].disabled and buttons["flatten"].disabled and console._halt.disabled
        buttons["flatten"].click()
        assert not console.pressed
        console._field.box.value = console.chosen[0][:4]
        await until(lambda: not buttons["flatten"].disabled, "armed")
        assert console._halt.disabled
        await until(lambda: buttons["flatten"].disabled, "disarmed again")
        console._halt_field.box.value = "production"
        await until(lambda: not console._halt.disabled, "the halt armed")
        assert buttons["flatten"].disabled
        console._field.box.value = console.chosen[0][:4]
        console._picker.value = ()
        assert console._field.box.value == ""  # armed for one deployment is not armed for another choice

    on(production, tmp_path, work)


def test_a_filter_never_changes_what_is_chosen_nor_hides_it(on_paper, tmp_path):
    async def work(console):
        pick(console)
        chosen = console.chosen
        for words in ("no such deployment", "paper", ""):
            console._filter.value = words
            assert console.chosen == chosen == tuple(console._picker.value) and console._targets()
        console._picker.value = ()
        console._filter.value = "no such deployment"
        assert console._picker.options == () and console.chosen == ()

    on(on_paper, tmp_path, work)


def test_a_press_that_waited_while_the_kernel_stood_still_is_not_sent(on_paper, database, tmp_path):
    count = "select count(*) as n from public.agent_commands"

    async def work(console):
        buttons = pick(console)
        before = database.execute(count).fetchone()
        time.sleep(markup.HUNG + 0.5)  # the whole loop stands still, as in a kernel that is stopped
        buttons["pause"].click()
        console._halt.click()
        assert console.pressed[0][1].outcome == "not sent" and "while the console stood still" in console._presses.value
        assert "not sent" in console._halted.value
        await asyncio.sleep(pulse.WAKING + 0.1)
        assert database.execute(count).fetchone() == before
        buttons["pause"].click()
        await until(lambda: console.pressed[0][1].outcome, "the pause")
        assert console.pressed[0][1].outcome == "passed"
        buttons["resume"].click()
        await until(lambda: console.pressed[0][1].outcome, "the resume")

    on(on_paper, tmp_path, work)


def test_a_mistake_of_ours_is_told_on_the_screen(on_paper, tmp_path):
    async def work(console):
        async def mistaken():
            raise ZeroDivisionError("of ours")

        console._tasks.spawn(mistaken())
        await until(lambda: "has stopped working" in console._bar.value, "told")
        looks = console.looks
        await until(lambda: console.looks > looks + 1, "more looks")
        assert "has stopped working" in console._bar.value  # and it stays

    on(on_paper, tmp_path, work)


def test_halting_is_the_same_halt_with_its_own_record(on_paper, database, tmp_path):
    async def work(console):
        console._halt.click()
        console._halt.click()
        await until(lambda: "To take it back" in console._halted.value, "the end of the halt")
        assert "Halt at" in console._halted.value and "No runner takes new orders" in console._halted.value

    on(on_paper, tmp_path, work)
    halts = list(record_folder.every(tmp_path))
    assert len(halts) == 1 and halts[0].opened()["phase"] == "halt" and halts[0].sealed()
    states = database.execute("select distinct status from public.deployments").fetchall()
    assert all(one["status"] in ("paused", "stopped") for one in states)
