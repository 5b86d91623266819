"""What a ledger says happened, judged from its events alone."""

from __future__ import annotations

import pytest

from runbook_lib.records.history import History


def outcome(step, word, **facts):
    return {"event": "outcome", "step": step, "outcome": word, "at": "2026-01-01T00:00:00Z", **facts}


def sending(step, verb="act"):
    return {"event": "sending", "step": step, "verb": verb, "title": "t", "at": "2026-01-01T00:00:00Z", "commands": []}


def test_an_act_sent_without_an_outcome_is_unknown_and_a_check_is_nothing():
    found = History([sending("1a", "check"), sending("1b")], [])
    assert {k: v["outcome"] for k, v in found.outcomes().items()} == {"1b": "unknown"}
    assert "no answer was recorded" in found.outcomes()["1b"]["complaint"]
    assert found.outcomes()["1b"]["fix"] == "Send it again: what took effect is not done twice."
    assert found.unsettled("1b") and not found.settled("1b")


def test_what_passed_before_a_change_is_overtaken_and_what_came_after_it_is_not():
    passed, later = outcome("1a", "passed"), outcome("1c", "passed")
    for change in (sending("1b"), sending("1b", "confirm"), {"event": "vouched", "step": "1b"}, {"event": "undoing"}):
        assert History([passed, change, later], []).overtaken("1a") == passed
        assert History([], [passed, change, later]).overtaken("1a") == passed
        assert History([{**passed, "recalled": "then"}], [passed, change]).overtaken("1a") == passed
        assert History([passed, change, later], []).overtaken("1c") is None
        assert History([outcome("1a", "failed"), change], []).overtaken("1a") is None
        assert History([passed, change, passed], []).overtaken("1a") is None
    assert History([passed, sending("1c", "check"), later], []).overtaken("1a") is None
    assert History([], []).overtaken("1a") is None


def test_an_act_sent_again_after_it_passed_is_unknown_again():
    found = History([sending("1b")], [outcome("1b", "passed")])
    assert found.settled("1b") is None and found.unsettled("1b")


@pytest.mark.parametrize("word", ["failed", "waiting", "unknown"])
def test_only_the_newest_outcome_settles(word):
    assert History([outcome("1b", word)], [outcome("1b", "passed")]).settled("1b") is None
    assert History([outcome("1b", "passed")], [outcome("1b", word)]).settled("1b")["outcome"] == "passed"


def test_a_reply_comes_from_the_newest_outcome():
    facts = {"status": None, "error": None, "text": "", "at": 0.0, "seconds": 0.0}
    older, newer = ({"rows": [{"n": n}], **facts} for n in (1, 2))
    found = History([outcome("1a", "failed", replies=[newer])], [outcome("1a", "passed", replies=[older])])
    assert found.reply("1a").value("n") == 2
    assert History([], found.before).reply("1a").value("n") == 1
    assert found.reply("1a", 1) is None and found.reply("1b") is None


def test_a_check_ages_from_its_newest_look_that_was_not_taken_over():
    looked = outcome("1a", "passed", verb="check")
    taken = {**looked, "at": "2026-01-01T00:59:59Z", "recalled": looked["at"]}
    for past in (History([looked, taken], []), History([taken], [looked]), History([looked], [])):
        assert not past.aged("1a", "2026-01-01T00:15:00Z", 900)
        assert past.aged("1a", "2026-01-01T00:15:01Z", 900)


def test_a_check_that_failed_or_that_a_clock_set_back_makes_of_the_future_counts_as_aged():
    looked, failed = outcome("1a", "passed", verb="check"), outcome("1a", "failed", verb="check")
    assert History([looked, failed], []).aged("1a", looked["at"], 900)
    assert not History([failed, looked], []).aged("1a", looked["at"], 900)
    assert History([looked], []).aged("1a", "2025-12-31T23:59:59Z", 900)


def test_only_checks_age():
    assert not History([outcome("1a", "passed", verb="act")], []).aged("1a", "2027-01-01T00:00:00Z", 900)
    assert not History([], []).aged("1a", "2027-01-01T00:00:00Z", 900)
