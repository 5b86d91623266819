"""A press that waited while the kernel stood still is known for what it is."""

from __future__ import annotations

from runbook_lib.console import pulse
from runbook_lib.console.pulse import Pulse


def test_what_comes_right_after_a_standstill_may_have_waited_in_it(monkeypatch):
    now = [100.0, 5000.0]
    monkeypatch.setattr(pulse, "_clocks", lambda: tuple(now))
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now[0])
    made = Pulse()
    for seconds, waking in ((2.0, False), (7.9, False), (8.1, True), (1.0, True), (0.6, False)):
        now[0] += seconds
        now[1] += seconds
        assert made.waking == waking, now
    now[1] += 3600.0  # the machine slept, and the monotonic clock with it
    assert made.waking
