"""A console is live for a person, and a still picture for a headless run."""

from __future__ import annotations

import asyncio

from runbook_lib.console import console
from runbook_lib.console.console import open_console
from tests.core_fixtures import phase_of


def test_a_headless_console_is_a_picture_without_widgets_and_is_on_the_record(on_paper, tmp_path):
    phase = phase_of(on_paper, tmp_path, "check 1a")
    shown = open_console(phase)
    assert repr(shown).startswith("1 deployment: 1 running")
    html = shown._repr_html_()
    assert "rehearsal" in html and "heartbeat" in html and "<script" not in html
    assert not hasattr(shown, "_repr_mimebundle_")
    assert phase.record.ledger.events()[-1]["event"] == "shown"


def test_a_console_that_is_opened_again_ends_the_one_before(on_paper, tmp_path):
    async def main():
        phase = phase_of(on_paper, tmp_path, "check 1a", mode="attended")
        first = open_console(phase)
        second = open_console(phase)
        await asyncio.sleep(0)
        assert [second] == console.OPEN and not first._listener._thread.is_alive()
        await asyncio.sleep(0)
        assert not first._tasks._running
        console.OPEN.pop().close()

    asyncio.run(main())
