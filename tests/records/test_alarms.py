"""What a round's verdicts do to the alarms that are known: pure, so that every order of rounds can be tried."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.errors import ConfigError
from runbook_lib.records import alarms, run_record, verify
from runbook_lib.records.alarms import UNKNOWN, acknowledge, changes, fold, open_alarms, unknown_of

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUIET = {"verdict": "quiet"}
UNSURE = {"verdict": "unknown", "complaint": "database: no answer"}


def ringing(at=None, *, lasts=None):
    """An alarm's verdict; ``at`` is in seconds after the start."""
    when = (START + timedelta(seconds=at)).isoformat() if at is not None else None
    lasts = at is None if lasts is None else lasts
    return {"verdict": "alarm", "title": "t", "complaint": "c", "fix": "f", "at": when, "lasts": lasts}


def rounds(*verdicts):
    """The ledger lines of one alarm over rounds, one a second; a text is the name of who acknowledges it then."""
    lines, known = [], {}
    for number, verdict in enumerate(verdicts, 1):
        if isinstance(verdict, str):
            said = [{"event": "acked", "alarm": "a", "by": verdict}]
        else:
            moment = START + timedelta(seconds=number)
            said = list(changes(known, {"a": verdict}, moment, moment - timedelta(seconds=1)))
        known, lines = fold(said, known), lines + said
    return [line["event"] for line in lines], lines, known


def test_what_rings_is_raised_once_and_cleared_once():
    events, lines, known = rounds(QUIET, ringing(1.5), ringing(1.5), QUIET, QUIET)

    assert events == ["raised", "cleared"]
    assert lines[0]["latency"] == 0.5
    assert lines[0]["detected_at"] == (START + timedelta(seconds=2)).isoformat()
    assert not known["a"].open


def test_what_nothing_dates_happened_since_the_round_before():
    _, lines, _ = rounds(QUIET, ringing())

    assert (lines[0]["event_at"], lines[0]["latency"]) == (None, None)
    assert lines[0]["not_before"] == (START + timedelta(seconds=1)).isoformat()


def test_a_round_that_could_not_judge_neither_raises_nor_clears():
    assert rounds(UNSURE, UNSURE)[0] == []
    assert rounds(ringing(0), UNSURE, ringing(0))[0] == ["raised"]
    assert rounds(ringing(0), UNSURE, UNSURE)[2]["a"].loud


def test_what_happens_anew_is_loud_again_whoever_acknowledged_what_was_before():
    events, _, known = rounds(ringing(0), "ada", ringing(1))

    assert events == ["raised", "acked", "recurred"]
    assert known["a"].loud


def test_an_acknowledged_event_is_settled_and_its_row_in_the_window_rings_no_more():
    assert rounds(ringing(0), "ada", ringing(0), ringing(0), QUIET)[0] == ["raised", "acked", "cleared"]
    assert rounds(ringing(0), "ada", ringing(0), ringing(3))[0] == ["raised", "acked", "cleared", "raised"]


def test_an_acknowledged_state_stays_open_until_it_is_over():
    events, _, known = rounds(ringing(), "ada", ringing())

    assert events == ["raised", "acked"]
    assert known["a"].open and not known["a"].loud
    assert rounds(ringing(), "ada", ringing(), QUIET, ringing())[0] == ["raised", "acked", "cleared", "raised"]


@given(st.lists(st.sampled_from([QUIET, UNSURE, ringing(), ringing(0), ringing(0, lasts=True), ringing(5), "ada"])))
def test_whatever_comes_an_alarm_is_raised_before_it_is_cleared_and_never_twice(verdicts):
    events, _, known = rounds(*verdicts)

    turns = [event for event in events if event in ("raised", "cleared")]
    assert turns == ["raised", "cleared"] * (len(turns) // 2) + ["raised"] * (len(turns) % 2)
    assert ("a" in known and known["a"].open) == (len(turns) % 2 == 1)


@given(st.lists(st.sampled_from([QUIET, UNSURE, ringing(), ringing(0)]), min_size=1))
def test_a_clear_follows_a_quiet_look_and_nothing_else(verdicts):
    _, lines, _ = rounds(*verdicts)

    cleared = [datetime.fromisoformat(line["detected_at"]) for line in lines if line["event"] == "cleared"]
    assert all(verdicts[int((at - START).total_seconds()) - 1] == QUIET for at in cleared)


def test_what_cannot_be_judged_is_an_alarm_that_names_every_check_and_why():
    found = unknown_of({"1a": QUIET, "1b": UNSURE, "1c": UNSURE, "1d": {"verdict": "unknown", "complaint": "fly: 503"}})

    assert found["complaint"] == "cannot be judged: 1b, 1c: database: no answer; 1d: fly: 503"
    assert unknown_of({"1a": QUIET, "1b": ringing()})["verdict"] == "quiet"


# --- the watches of a profile -----------------------------------------------------------------------------------------


@pytest.fixture
def watched(chosen, tmp_path):
    """The record of a watch with one alarm open, as it stands while the watch runs."""
    record = run_record.begin(chosen, "phase_9_trial", root=tmp_path, mode=alarms.MODE)
    now = datetime.now(UTC)
    record.ledger.append("watching", every=60.0, ends=(now + timedelta(hours=1)).isoformat(), since=now.isoformat())
    for event in changes({}, {"9.1a": ringing(0)}, now, now):
        record.ledger.append(event.pop("event"), **event)
    return record


def names(chosen, root, now=None):
    return [alarm.name for _, alarm in open_alarms(chosen, root, now)]


def test_without_a_watch_nothing_is_open(chosen, tmp_path):
    assert open_alarms(chosen, tmp_path) == []


def test_an_open_alarm_is_told_and_acknowledged_while_the_watch_runs(chosen, watched, tmp_path):
    assert names(chosen, tmp_path) == ["9.1a"]

    assert acknowledge(chosen, tmp_path, "9.1a", "ada").folder == watched.folder

    [(_, alarm)] = open_alarms(chosen, tmp_path)
    assert alarm.acked_by == "ada"


def test_an_alarm_is_acknowledged_after_its_watch_has_ended_on_a_record_of_its_own(chosen, watched, tmp_path):
    alarms.close(watched, "failed")

    answer = acknowledge(chosen, tmp_path, "9.1a", "ada")

    assert answer.folder != watched.folder and verify.verify(answer.folder) == []
    assert open_alarms(chosen, tmp_path)[0][1].acked_by == "ada"


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(("name", "by", "says"), [("9.1b", "ada", "9.1a"), ("9.1a", " ", "found none")])
def test_who_acknowledges_names_an_open_alarm_and_himself(chosen, tmp_path, name, by, says):
    with pytest.raises(ConfigError, match=says):
        acknowledge(chosen, tmp_path, name, by)


def test_a_watch_that_fell_silent_before_its_time_is_an_unknown(chosen, watched, tmp_path):
    acknowledge(chosen, tmp_path, "9.1a", "ada")
    later = datetime.now(UTC) + timedelta(minutes=10)

    assert names(chosen, tmp_path, later) == ["9.1a", UNKNOWN]
    assert names(chosen, tmp_path, later + timedelta(hours=2)) == ["9.1a"]

    alarms.close(watched, "interrupted")
    assert names(chosen, tmp_path, later) == ["9.1a"]


def test_another_platforms_watch_tells_nothing_of_this_one(chosen, watched, tmp_path):
    assert names(chosen.model_copy(update={"platform": "another"}), tmp_path) == []
