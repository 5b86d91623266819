"""What the commands halt and unhalt print is judged by its parts and by the record it names."""

from __future__ import annotations

from runbook_lib.checklist.halt_command import halted
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, judge


def complaint(expect: Expectation, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


HALT = (
    "   0.4 s  passed   Switch off\n   9.1 s  failed   Machine m1  still started\n  30.0 s  unknown  Flat  no answer\n"
)


def test_a_halt_that_did_not_pass_names_the_parts_that_did_not_and_not_the_end_of_its_output():
    output = f"{HALT}failed\nrecord /r/rehearsal/2026_halt\nseal   ab\nwhat failed is done by hand\n"
    complaint = halted().judge([Reply(status=1, error="exit 1: by hand", text=output)]).complaint
    assert complaint == "exit 1: 9.1 s failed Machine m1 still started; 30.0 s unknown Flat no answer"


def test_a_halt_that_passed_names_its_record_and_one_without_is_complained_of():
    passed = halted().judge([Reply(status=0, text="record /r/rehearsal/2026_halt\n")])
    assert (passed.complaint, passed.seen) == (None, "rehearsal/2026_halt")
    assert "no record" in halted().judge([Reply(status=0, text="passed")]).complaint
