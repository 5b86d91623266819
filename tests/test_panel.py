"""A press does the work once, in the ledger; the next step refuses until it did."""

from __future__ import annotations

import ipywidgets as widgets
import pytest

from runbook_lib import records
from runbook_lib.commands import http, sql
from runbook_lib.errors import StepPending
from tests.core_fixtures import at, phase_of
from tests.test_steps import check, outcomes, proof


def found(box, kind):
    children = [c for child in box.children for c in (child, *getattr(child, "children", ()))]
    return [child for child in children if isinstance(child, kind)]


def parts(phase):
    box = phase.shown[-1]
    return found(box, widgets.Button)[0], found(box, widgets.Label)[-1]


@pytest.fixture
def attended(chosen, tmp_path, vendor):
    steps = ("act 1a", "check 1b", "confirm 1c")
    return phase_of(at(chosen, vendor), tmp_path, *steps, mode="attended")


def offer(phase, request="POST /things/a", **options):
    phase.act("1a", "make a", http("openrouter", request), **(options or {"repeatable": True}))
    return parts(phase)


def test_an_act_is_sent_by_the_press_and_not_before(attended, vendor):
    button, state = offer(attended)
    assert vendor.requests == [] and button.description == "1a  make a"
    with pytest.raises(StepPending, match="1b waits for 1a, which is not run"):
        check(attended, "1b")
    button.click()
    assert vendor.things == {"a"} and state.value == "passed" and outcomes(attended) == {"1a": "passed"}
    check(attended, "1b")


def test_two_buttons_of_one_act_send_it_once(attended, vendor):
    (first, _), (second, _) = offer(attended), offer(attended)
    for button in (first, first, second):
        button.click()
    assert vendor.sent("POST") == 1
    attended.act("1a", "make a", http("openrouter", "POST /things/a"), repeatable=True)
    assert "not sent again" in repr(attended.shown[-1])


def test_a_failed_press_says_so_and_can_be_pressed_again(attended, vendor):
    button, state = offer(attended, "POST /status/503")
    button.click()
    assert "1a failed: HTTP 503" in state.value and not button.disabled
    assert outcomes(attended) == {"1a": "failed"}
    button.click()
    assert vendor.sent("POST") == 2


def test_an_unknown_press_is_settled_by_the_next(attended, vendor):
    button, state = offer(attended, "POST /lost/b", proof=proof("a"))
    button.click()
    assert "unknown" in state.value
    vendor.things.add("a")
    button.click()
    assert state.value == "passed" and vendor.sent("POST") == 1


def test_the_command_is_shown_as_text_not_as_markup(attended):
    attended.act("1a", "compare", sql("select 1 where 1 <> 2 and '<b>' <> %(key)s", key="{key}"))
    html = found(attended.shown[-1], widgets.HTML)[0].value
    assert "1 &lt;&gt; 2" in html and "<b>" not in html


def test_a_person_vouches_with_initials(attended):
    offer(attended)[0].click()
    check(attended, "1b")
    attended.confirm("1c", "a backup exists", gesture="backup")
    button, state = parts(attended)
    name = found(attended.shown[-1], widgets.Text)[0]
    button.click()
    assert state.value == "your initials are needed" and not button.disabled
    name.value = " AL "
    button.click()
    assert state.value == "vouched"
    vouched = [e for e in attended.record.ledger.events() if e["event"] == "vouched"]
    assert [(e["step"], e["by"]) for e in vouched] == [("1c", "AL")]
    attended.close()


def test_a_press_that_cannot_be_written_sends_nothing_and_says_so(attended, vendor):
    button, state = offer(attended)
    records.seal(attended.record, "failed")
    button.click()
    assert "sealed" in state.value and vendor.requests == [] and not button.disabled
