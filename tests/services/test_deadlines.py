"""Time limits that hold from outside."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from runbook_lib.services.deadlines import side_by_side, start, within

LEFT_BEHIND = """
import threading
from runbook_lib.services.deadlines import within
try:
    within(0.1, threading.Event().wait)
except TimeoutError:
    print("over")
"""


def test_a_call_that_ends_in_time_gives_its_result_or_its_error():
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_call_that_does_not_end_holds_nobody():
    never, started = threading.Event(), time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.1, never.wait)
    assert time.monotonic() - started < 1
    never.set()


def test_a_call_that_was_left_behind_does_not_keep_the_process():
    ended = subprocess.run([sys.executable, "-c", LEFT_BEHIND], timeout=20, capture_output=True, text=True, check=True)
    assert ended.stdout == "over\n"


def test_calls_run_side_by_side_so_many_at_once_and_answer_in_order():
    running, most = 0, 0

    def call(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.05)
        running -= 1
        return number

    assert side_by_side([lambda number=number: call(number) for number in range(6)], 3) == list(range(6))
    assert most == 3
    assert start(lambda: 1).result(5) == 1
