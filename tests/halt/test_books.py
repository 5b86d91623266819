"""A wallet that holds something in every book of the venue: none is overlooked, and one bad item stops nothing."""

from __future__ import annotations

import os

import pytest

from runbook_lib.halt.state import Request
from runbook_lib.halt.stop import halt
from runbook_lib.rehearsal.lifecycle import rehearse
from tests.halting import Platform


@pytest.fixture(scope="module")
def platform():
    before = dict(os.environ)
    with rehearse(state="live", tick=0.5) as running:
        made = Platform(running)
        yield made
        made.close()
    os.environ.clear()
    os.environ.update(before)


def parts(done):
    return {part.name: part.outcome for part in done.parts}


def said(done, name):
    return next(f"{part.seen} {part.complaint}" for part in done.parts if part.name == name)


def test_what_is_open_in_any_book_is_named_and_what_a_key_can_reach_is_closed(platform, tmp_path):
    live = platform.live()[0]
    platform.revive(live)
    platform.does("trade", coin="xyz:GOLD", usd=20)
    platform.does("trade", coin="flx:TSLA", usd=20, rest=True)
    platform.does("trade", coin="@107", usd=20, rest=True)

    done = halt(platform.settings(limits={"flat": 6.0}), Request(), root=tmp_path)

    assert (parts(done)["flat"], parts(done)["cancel"]) == ("failed", "failed")
    # The book that runners trade in is flat, and there is nothing more that a machine could do.
    assert (platform.positions(live), platform.state(live)) == ({}, "stopped")
    for part, words in (("flat", "xyz:GOLD"), ("cancel", "flx:TSLA"), ("cancel", "@107")):
        assert words in said(done, part)

    platform.does("trade", coin="@107", usd=20)  # a token in spot, which no key of ours can sell
    platform.revive(live)
    platform.rest(live)
    # What is asked here is what the halt says, not how soon: a busy machine needs more than the usual budget.
    settings = platform.settings(limits={"flat": 40.0, "pause": 2.0}, key=platform.key(live))
    with platform.named_fault("runner-deaf"):
        done = halt(settings, Request(), root=tmp_path)

    assert parts(done)["cancel"] == "passed", said(done, "cancel")
    assert "holds" in said(done, "flat") and "HYPE" in said(done, "flat") and "xyz:GOLD" not in said(done, "flat")
    assert (platform.positions(live), platform.orders(live)) == ({}, [])
