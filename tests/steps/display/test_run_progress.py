"""Where a run stands, from its ledger: the bar and each step's card."""

from __future__ import annotations

import pytest

from runbook_lib.records import history, run_record
from runbook_lib.records.plan import Step
from runbook_lib.steps.display import run_progress

STEPS = [Step("1a", "act", "make a", 1), Step("1b", "check", "look", 2)]


@pytest.fixture
def made(tmp_path):
    """A maker of records with other first facts, and events after them."""

    def make(*events, **facts):
        opened = {"project": "ref", "operator": "ana", "parent": None, "mode": "attended", **facts}
        record = run_record.create(tmp_path, "rehearsal", "phase_try", "", **opened)
        for kind, event in events:
            record.ledger.append(kind, **event)
        return record

    return make


def ended(number, outcome, **facts):
    told = {
        "seen": "",
        "complaint": None,
        "symptom": None,
        "fix": None,
        "replies": [],
        "title": "make a",
        "verb": "act",
    }
    return "outcome", {"step": number, "outcome": outcome, **told, **facts}


SENT = ("sending", {"step": "1a", "verb": "act", "title": "make a", "commands": ["select 1;"]})
OFFERED = ("offered", {"step": "1a", "title": "make a", "commands": ["select 1;"], "seen": "press it"})


def card(record, **options):
    return run_progress.card(history.read(record), "1a", **options)


def test_a_step_that_was_never_begun_has_no_card(made):
    assert card(made()) is None


def test_a_step_is_offered_sent_and_ended(made):
    assert card(made(OFFERED)).verdict == "1a  waiting  make a  press it"
    assert card(made(OFFERED, SENT), busy=True).outcome == "asking"
    assert card(made(OFFERED, SENT)).outcome == "unknown"
    found = card(made(OFFERED, SENT, ended("1a", "failed", complaint="HTTP 503", fix="Wait.")))
    assert (found.outcome, found.complaint, found.fix, found.commands) == (
        "failed",
        "HTTP 503",
        "Wait.",
        ("select 1;",),
    )


def test_what_passed_in_an_earlier_record_says_so(made):
    at = "2026-11-22T14:53:07.000000Z"
    found = card(made(ended("1a", "passed", recalled=at, recalled_from="r/d/n", why="not asked again")))
    assert found.seen == f"passed at {at} in r/d/n; not asked again"


def test_the_symptom_is_told_again_by_its_name(made):
    from runbook_lib.agentic_trading.symptoms import known

    one = known()[0]
    assert card(made(ended("1a", "failed", complaint="x", symptom=one.name))).symptom == one


def test_the_bar_counts_what_has_passed_and_names_what_comes_next(made):
    shown = run_progress.bar(made(ended("1a", "passed"), ended("1b", "failed")), STEPS, production=False)
    assert (shown.done, shown.steps, shown.following) == (1, 2, "1b look")
    assert run_progress.bar(made(ended("1a", "passed"), ended("1b", "passed")), STEPS, production=False).following == ""


def test_the_bar_says_what_opened_the_gate(made):
    def gate(**facts):
        return run_progress.bar(made(**facts), STEPS, production=False).gate

    assert gate() == "open"
    assert gate(rests_on={"record": "r/1", "seal": "0" * 64}) == "open, rests on r/1"
    assert gate(override="no time", closed=["x"]) == "broken open: no time"
    assert gate(amber=["r/0: no time"]) == "amber, open: r/0: no time"


def test_the_bar_names_undos_that_are_owed(made):
    shown = run_progress.bar(made(("owed", {"step": "3.1b", "command": {}, "text": ""})), STEPS, production=False)
    assert shown.owed == ("3.1b",)


def test_a_summary_has_a_line_for_every_step_of_the_notebook(made):
    found = history.read(made(ended("1a", "passed")))
    assert repr(run_progress.summary("phase_try", found, STEPS)).splitlines() == [
        "phase_try: 1 passed, 1 missing",
        "1a  passed  make a",
        "1b  missing  look",
    ]


def test_progress_is_drawn_only_towards_an_end() -> None:
    assert run_progress.progress(0) == ""
    assert "width:40%" in run_progress.progress(0.4) and "width:100%" in run_progress.progress(1.7)
