"""A clock beside work: it ticks while the work lasts, and not after it."""

from __future__ import annotations

import time

import pytest

from runbook_lib.steps.display import ticker
from tests.core_fixtures import eventually


def test_it_ticks_while_the_block_runs_and_not_after_it(monkeypatch):
    monkeypatch.setattr(ticker, "TICK", 0.001)
    ticks = []
    with ticker.ticking(lambda: ticks.append(1)):
        eventually(lambda: len(ticks) > 2, "ticks")
    seen = len(ticks)
    time.sleep(0.02)
    assert len(ticks) == seen


def test_it_ends_with_a_block_that_fails():
    with pytest.raises(ZeroDivisionError), ticker.ticking(list):
        1 / 0  # noqa: B018
