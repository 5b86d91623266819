"""A press does the work once, in the ledger; the next step refuses until it did."""

from __future__ import annotations

import ipywidgets as widgets
import pytest

from runbook_lib.agentic_trading.runner_commands import send_command
from runbook_lib.commands.command import http, sql
from runbook_lib.errors import RunbookError, StepPending
from runbook_lib.records import seal_chain
from runbook_lib.steps import buttons
from runbook_lib.steps.display import button_widget
from tests.core_fixtures import at, eventually, phase_of, reopened
from tests.steps.test_phase import check, outcomes, proof

VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def attended(chosen, tmp_path, vendor):
    steps = ("act 1a", "check 1b", "confirm 1c")
    return phase_of(at(chosen, vendor), tmp_path, *steps, mode="attended")


def offered(phase):
    return next(shown for shown in reversed(phase.shown) if isinstance(shown, button_widget.StepButton))


def offer(phase, request="POST /things/a", **options):
    phase.act("1a", "make a", http("openrouter", request), **(options or {"repeatable": True}))
    return offered(phase)


def events(phase, kind):
    return [event for event in phase.record.ledger.events() if event["event"] == kind]


def can_be_pressed(one):
    eventually(lambda: not one.button.disabled, "it can be pressed again")


def test_an_act_is_sent_by_the_press_and_not_before(attended, vendor):
    one = offer(attended)
    assert vendor.requests == []
    assert one.button.description == "make a, project abcdefgh… on rehearsal"
    with pytest.raises(StepPending, match="1b waits for 1a, which is not pressed: press its button above"):
        check(attended, "1b")
    one.button.click()
    assert vendor.things == {"a"} and one.button.disabled and outcomes(attended) == {"1a": "passed"}
    assert "passed" in one.shown.value and "pressed by" in one.shown.value
    check(attended, "1b")


def test_a_button_names_what_a_runner_is_told_where_its_title_does_not(attended):
    attended.act("1a", "Do what the sheet says first", send_command("flatten", "7f3c0000-0000-4000-8000-000000000000"))
    label = offered(attended).button.description
    assert label == "Do what the sheet says first, flatten, deployment 7f3c0000… on rehearsal"


def test_fifty_clicks_on_two_buttons_of_one_act_send_it_once(attended, vendor):
    first, second = offer(attended), offer(attended)
    for _ in range(25):
        first.button.click()
        second.button.click()
    assert vendor.sent("POST") == 1 and len(events(attended, "pressed")) == 2
    attended.act("1a", "make a", http("openrouter", "POST /things/a"), repeatable=True)
    assert "not sent again" in repr(attended.shown[-1]) and "pressed by" in repr(attended.shown[-1])


def test_a_failed_press_says_so_and_can_be_pressed_again_but_not_by_the_clicks_of_before(attended, vendor):
    one = offer(attended, "POST /status/503")
    one.button.click()
    one.button.click()
    assert "HTTP 503" in one.shown.value and "1a failed" in one.note.value
    assert outcomes(attended) == {"1a": "failed"} and vendor.sent("POST") == 1
    can_be_pressed(one)
    one.button.click()
    assert vendor.sent("POST") == 2


def test_an_unknown_press_is_settled_by_the_next(attended, vendor):
    one = offer(attended, "POST /lost/b", proof=proof("a"))
    one.button.click()
    assert "unknown" in one.shown.value
    vendor.things.add("a")
    can_be_pressed(one)
    one.button.click()
    assert outcomes(attended) == {"1a": "passed"} and vendor.sent("POST") == 1


def test_an_exception_of_any_kind_is_shown_written_and_raised(attended, monkeypatch):
    one = offer(attended)
    monkeypatch.setattr(buttons.press_effects, "follow", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        one.press()
    assert "ZeroDivisionError" in one.note.value and not one._busy
    assert [event["error"] for event in events(attended, "press failed")] == ["ZeroDivisionError: division by zero"]


def test_the_command_is_shown_as_text_not_as_markup(attended):
    attended.act("1a", "compare", sql("select 1 where 1 <> 2 and '<b>' <> %(key)s", key="{key}"))
    html = offered(attended).shown.value
    assert "&lt;b&gt;" in html and "<b>'" not in html


def test_where_no_kernel_is_the_widget_has_a_static_twin(attended):
    one = offer(attended)
    bundle = one._repr_mimebundle_()
    assert set(bundle) == {VIEW, "text/html", "text/plain"}
    assert "not sent yet: press “make a, project abcdefgh… on rehearsal”" in bundle["text/plain"]


def test_a_person_vouches_with_initials_and_no_others(attended):
    offer(attended).button.click()
    check(attended, "1b")
    attended.confirm("1c", "a backup exists")
    one = offered(attended)
    assert one.button.disabled
    one.press()
    assert events(attended, "vouched") == []
    one.field.box.value = " AL "
    one.button.click()
    assert [(e["step"], e["by"]) for e in events(attended, "vouched")] == [("1c", "AL")]
    assert "vouched by AL" in one.shown.value and one.button.disabled
    attended.close()


def test_in_rehearsal_the_person_stand_in_does_what_is_vouched_for(attended):
    offer(attended).button.click()
    check(attended, "1b")
    attended.confirm("1c", "a backup exists", gesture="backup")
    one = offered(attended)
    assert "the person stand-in does it (backup)" in one.shown.value
    one.field.box.value = "AL"
    one.button.click()
    assert [(e["step"], e["by"]) for e in events(attended, "vouched")] == [("1c", "person stand-in")]
    assert [(e["step"], e["by"]) for e in events(attended, "pressed")][-1] == ("1c", "AL")


def test_a_press_that_cannot_be_written_sends_nothing_and_says_so(attended, vendor):
    one = offer(attended)
    seal_chain.seal(attended.record, "failed")
    one.button.click()
    assert "sealed" in one.note.value and vendor.requests == []
    can_be_pressed(one)


# --- production -----------------------------------------------------------------------------------------------------


@pytest.fixture
def armed(production, tmp_path, vendor):
    phase = phase_of(at(production, vendor), tmp_path, "act 1a", mode="attended")
    return phase, offer(phase)


def test_in_production_nothing_can_be_pressed_before_it_is_armed(armed, vendor):
    _, one = armed
    assert one.button.description == "make a, project abcdefgh… on production"
    assert one.field.box.placeholder == "to arm it, type abcd…" and one.button.button_style == "danger"
    one.button.click()
    for typed in ("abc", "abcz", "bcde"):
        one.field.box.value = typed
        one.button.click()
        assert "to arm it, type abcd…" in one.note.value, "the field that is filled in hides its hint"
    assert vendor.requests == [] and one.button.disabled
    one.field.box.value = "abcd"
    assert not one.button.disabled and "armed for 20 s" in one.note.value
    one.button.click()
    assert vendor.sent("POST") == 1


def test_the_armed_state_expires(armed, vendor, monkeypatch):
    _, one = armed
    one.field._lasts = 0.05
    one.field.box.value = "abcd"
    eventually(lambda: one.button.disabled, "disarmed")
    assert one.field.box.value == "" and "no longer armed" in one.note.value
    one.field.box.value = "abcd"
    one.field._over.cancel()  # a timer that is late decides nothing: the press itself looks at the time
    eventually(lambda: not one.field.counts, "its time is over")
    one.button.click()
    assert vendor.requests == [] and "type it again" in one.note.value


def test_a_press_that_fails_must_be_armed_again(production, tmp_path, vendor):
    one = offer(phase_of(at(production, vendor), tmp_path, "act 1a", mode="attended"), "POST /status/503")
    one.field.box.value = "abcd"
    one.button.click()
    one.button.click()
    assert one.button.disabled and one.field.box.value == "" and vendor.sent("POST") == 1


# --- a kernel that was restarted --------------------------------------------------------------------------------------


def test_a_restarted_kernel_offers_what_was_not_pressed_and_recalls_what_was(attended, chosen, vendor):
    offer(attended)
    again = reopened(at(chosen, vendor), attended.record.folder, mode="attended")
    offer(again).button.click()
    third = reopened(at(chosen, vendor), attended.record.folder, mode="attended")
    third.act("1a", "make a", http("openrouter", "POST /things/a"), repeatable=True)
    assert "not sent again" in repr(third.shown[-1]) and vendor.sent("POST") == 1


def test_only_one_press_at_a_time(attended):
    one = offer(attended)
    one._work = lambda _: one.press()
    one.button.disabled = False
    one.press()
    assert len(one.note.value) == 0 and one.button.disabled


def test_words_of_our_own_errors_are_one_line(attended):
    one = offer(attended)

    def work(_):
        raise RunbookError("first\nsecond")

    one._work = work
    one.press()
    assert "first" in one.note.value and "second" not in one.note.value
    assert isinstance(one.box, widgets.VBox)
