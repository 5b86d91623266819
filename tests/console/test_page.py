"""The console on a live platform: it refreshes, a pause gets through whatever refreshes, and nothing lies or leaks."""

from __future__ import annotations

import asyncio

import pytest

from runbook_lib.console import arming, page
from runbook_lib.console.page import Panel
from runbook_lib.records import ledger
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
    """Run ``work(panel)`` with a console that has painted once."""

    async def main():
        panel = Panel(on_paper, operator="al", root=root)
        try:
            await until(lambda: panel.overview or panel.trouble, "the first look")
            await work(panel)
        finally:
            panel.close()

    asyncio.run(main())


def pick(panel):
    panel._picker.value = (panel.overview.rows[0]["id"],)
    return panel._buttons


def test_it_shows_every_deployment_and_keeps_looking(on_paper, tmp_path):
    async def work(panel):
        assert panel.overview.rows and panel.overview.rows[0]["id"][:8] in panel._table.value
        looks = panel.looks
        await until(lambda: panel.looks > looks + 1, "more looks")
        await until(lambda: all(bytes(image.value).startswith(b"\x89PNG") for image in panel._images), "charts")
        assert panel.trouble == "" and "listens since" in panel._bar.value

    on(on_paper, tmp_path, work)


def test_nothing_can_be_pressed_before_somebody_is_chosen_but_halt(on_paper, tmp_path):
    async def work(panel):
        assert all(button.disabled for button in panel._buttons.values()) and not panel._halt.disabled
        buttons = pick(panel)
        name = panel.chosen[0][:8]
        assert buttons["pause"].description == f"Pause {name}" and not buttons["pause"].disabled
        assert buttons["revoke"].disabled  # a paper deployment has no agent

    on(on_paper, tmp_path, work)


def test_a_pause_takes_effect_while_a_look_hangs_and_fifty_clicks_send_one(on_paper, database, tmp_path):
    async def work(panel):
        buttons = pick(panel)
        with database.transaction():
            database.execute("lock table public.skills in access exclusive mode")
            panel._wake.set()
            await asyncio.sleep(
                0.3
            )  # the look is on its way, and waits for the lock; the runner needs no Skill to pause
            looks = panel.looks
            for _ in range(50):
                buttons["pause"].click()
            await until(lambda: panel.pressed[0][1].effect, "the effect")
            assert panel.looks == looks and len(panel.pressed) == 1
            await until(lambda: "has not answered for" in panel._bar.value, "that the picture is old")
        await until(lambda: panel.overview.rows[0]["status"] == "paused", "paused on the screen")
        assert panel.trouble == "" and "paused" in panel._table.value
        buttons["resume"].click()
        await until(lambda: panel.pressed[0][1].outcome, "the resume")
        assert panel.pressed[0][1].outcome == "passed"

    on(on_paper, tmp_path, work)
    assert sorted(record.sealed()["outcome"] for record in ledger.every(tmp_path)) == ["passed", "passed"]


def test_a_listener_that_was_cut_off_is_told_and_comes_back(on_paper, database, tmp_path):
    async def work(panel):
        await until(lambda: "listens" in panel._listener.state, "listening")
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'launch-runbook' and pid <> pg_backend_pid()"
        )
        await until(lambda: panel._listener.made == 2, "the line made anew")
        await until(lambda: "listens since" in panel._bar.value and not panel.trouble, "told on the screen")

    on(on_paper, tmp_path, work)


def test_a_command_of_somebody_else_wakes_it_at_once(on_paper, database, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "EVERY", 3600.0)

    async def work(panel):
        one = panel.overview.rows[0]["id"]
        await until(lambda: "listens" in panel._listener.state, "listening")
        await asyncio.sleep(0.6)  # it follows the channel at its next turn
        looks = panel.looks
        insert = "insert into public.agent_commands (deployment_id, kind) values (%s, 'snapshot')"
        database.execute(insert, (one,))
        await until(lambda: panel.looks > looks, "a look")

    on(on_paper, tmp_path, work)


def test_a_database_that_is_gone_is_told_in_red_and_the_old_picture_keeps_its_time(on_paper, tmp_path):
    dead = "postgresql://postgres@127.0.0.1:9/postgres"
    gone = on_paper.model_copy(update={"database": on_paper.database.model_copy(update={"url": dead})})

    async def work(panel):
        assert "What is shown below is old" in panel._bar.value and "127.0.0.1:9" in panel._bar.value

    on(gone, tmp_path, work)


def test_in_production_what_ends_something_is_armed_first_and_not_for_ever(on_paper, tmp_path, monkeypatch):
    monkeypatch.setattr(arming, "ARMED", 1.0)
    production = on_paper.model_copy(update={"kind": "production", "name": "production", "allow": [], "person": None})

    async def work(panel):
        buttons = pick(panel)
        assert not buttons["pause"].disabled and buttons["flatten"].disabled and panel._halt.disabled
        buttons["flatten"].click()
        assert not panel.pressed
        panel._arming.field.value = panel.chosen[0][:4]
        assert not buttons["flatten"].disabled and panel._halt.disabled
        await until(lambda: buttons["flatten"].disabled, "disarmed again")
        panel._arming.field.value = "production"
        assert not panel._halt.disabled and buttons["flatten"].disabled
        panel._arming.field.value = panel.chosen[0][:4]
        panel._picker.value = ()
        assert panel._arming.field.value == ""  # armed for one deployment is not armed for another choice

    on(production, tmp_path, work)


def test_the_filter_hides_and_what_is_hidden_is_not_acted_upon(on_paper, tmp_path):
    async def work(panel):
        pick(panel)
        panel._filter.value = "no such deployment"
        assert panel._targets() == () and panel._buttons["pause"].disabled
        panel._filter.value = "paper"
        assert len(panel._picker.options) == len(panel.overview.rows)

    on(on_paper, tmp_path, work)


def test_a_mistake_of_ours_is_told_on_the_screen(on_paper, tmp_path):
    async def work(panel):
        async def mistaken():
            raise ZeroDivisionError("of ours")

        panel._tasks.spawn(mistaken())
        await until(lambda: "has stopped working" in panel._bar.value, "told")
        looks = panel.looks
        await until(lambda: panel.looks > looks + 1, "more looks")
        assert "has stopped working" in panel._bar.value  # and it stays

    on(on_paper, tmp_path, work)


def test_halting_is_the_same_halt_with_its_own_record(on_paper, database, tmp_path):
    async def work(panel):
        panel._halt.click()
        panel._halt.click()
        await until(lambda: "To take it back" in panel._halted.value, "the end of the halt")
        assert "Halt at" in panel._halted.value and "No runner takes new orders" in panel._halted.value

    on(on_paper, tmp_path, work)
    halts = list(ledger.every(tmp_path))
    assert len(halts) == 1 and halts[0].opened()["phase"] == "halt" and halts[0].sealed()
    states = database.execute("select distinct status from public.deployments").fetchall()
    assert all(one["status"] in ("paused", "stopped") for one in states)
