"""What a run knows of itself, however often it was resumed."""

from types import SimpleNamespace

import pytest

from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, Finding
from runbook_lib.errors import StepUnknown
from runbook_lib.records.history import History
from runbook_lib.steps import run_facts
from runbook_lib.steps.verdicts import Sent, Verdicts


def outcome(step, word, *rows):
    replies = [Reply(tuple(rows)).facts()]
    return {"event": "outcome", "step": step, "verb": "check", "outcome": word, "replies": replies}


OPENED = {"event": "opened", "at": "2026-11-22T10:00:00Z", "rests_on": {"record": "rehearsal/x", "seal": "ab"}}


@pytest.fixture
def phase(monkeypatch):
    """A phase whose record holds the events of ``made``, resumed from the first two of them."""

    def made(*events):
        found = History([OPENED, *events[2:]], [OPENED, *events[:2]])
        monkeypatch.setattr(run_facts.history, "read", lambda _: found)
        return SimpleNamespace(record=SimpleNamespace(opened=lambda: OPENED))

    return made


def test_a_run_began_with_its_first_record(phase):
    assert run_facts.began(phase()) == "2026-11-22T10:00:00Z"


def test_the_record_it_rests_on_is_named_with_its_seal(phase):
    assert run_facts.rests_on(phase())["seal"] == "ab"


def test_what_an_earlier_phase_recorded_is_read_from_its_newest_record_that_passed(monkeypatch):
    asked = []
    monkeypatch.setattr(run_facts.gates, "evidence", lambda *of: asked.append(of) or SimpleNamespace())
    held = {"0.3g": Reply(({"digest": "sha256:1"},))}
    monkeypatch.setattr(run_facts.history, "read", lambda _: SimpleNamespace(reply=held.get))
    here = SimpleNamespace(settings="rehearsal", record=SimpleNamespace(root="records"))

    assert run_facts.recorded(here, "phase_0_platform_prep", "0.3g", "digest") == "sha256:1"
    assert run_facts.recorded(here, "phase_0_platform_prep", "0.3x", "digest") is None
    assert asked[0] == ("rehearsal", "records", "phase_0_platform_prep")

    monkeypatch.setattr(run_facts.gates, "evidence", lambda *_: None)
    assert run_facts.recorded(here, "phase_0_platform_prep", "0.3g", "digest") is None


def test_what_the_person_told_is_none_where_nobody_but_a_person_knows(phase):
    assert run_facts.told(phase(outcome("2.4b", "passed", {"typed_data": {"a": 1}})), "2.4b", "typed_data") == {"a": 1}
    assert run_facts.told(phase(outcome("2.4b", "passed")), "2.4b", "typed_data") is None
    assert run_facts.told(phase(), "2.4b", "typed_data") is None


def test_what_nothing_tells_ends_unknown_and_says_what_to_do():
    written = []

    def append(event, **more):
        written.append({"event": event, **more})
        return written[-1]

    record = SimpleNamespace(
        ledger=SimpleNamespace(append=append, events=lambda: written), redact=None, profile="rehearsal"
    )
    verdicts = Verdicts(record, lambda _: None)

    with pytest.raises(StepUnknown, match="redeploy"):
        verdicts.judged(Sent("3.1c", "check", "the guard", fix="redeploy"), Finding("", "it did not trip", unsure=True))
    assert written[-1]["outcome"] == "unknown"


def test_what_is_known_to_be_wrong_is_wrong_whatever_else_is_unknown():
    unsure = Expectation("a", lambda _: Finding("", "who knows", unsure=True))
    wrong = Expectation("b", lambda _: Finding("", "wrong"))
    right = Expectation("c", lambda _: Finding("fine"))

    assert (unsure & right).judge([]).unsure
    assert not (unsure & wrong).judge([]).unsure
    assert not (right & right).judge([]).unsure
