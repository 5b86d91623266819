"""What the console shows, from rows alone: trouble first and in words, nothing as markup, nothing hidden."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook_lib.agentic_trading.runner_commands import Target
from runbook_lib.console import markup
from runbook_lib.console.overview import Overview, worries
from runbook_lib.console.sent_commands import Press
from runbook_lib.records.alarms import Alarm
from runbook_lib.settings import profiles

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


def row(**changed):
    return {
        "id": "7f3c2222-0000-0000-0000-000000000001",
        "status": "running",
        "error_text": None,
        "broker": "paper",
        "skill": "Momentum",
        "version": 3,
        "agent": None,
        "equity_usd": 10000.0,
        "positions": [],
        "seconds_stale": 12.0,
        "limit_seconds": 900.0,
        "cap_usd": 10.0,
        "month_usd": 1.5,
        "unpriced": 0,
        "tick_at": (NOW - timedelta(minutes=3)).isoformat(),
        "action": "open",
        "verdict": "rejected",
        "reason": "max_position",
        "problems": 0,
        "newest": None,
        "unheard": 0,
        **changed,
    }


def seen(*rows, **changed):
    facts = {"log": (), "ticks": (), "at": NOW, "seconds": 0.02, **changed}
    return Overview(rows, **facts)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seconds_stale": 901.0}, "no heartbeat for 901 s"),
        ({"seconds_stale": None}, "never beat"),
        ({"status": "error", "error_text": "heartbeat lost: 20 min"}, "heartbeat lost: 20 min"),
        ({"status": "error"}, "error without words"),
        ({"status": "halted"}, "halted by its own limits"),
        ({"unheard": 2}, "2 commands not acknowledged"),
        ({"month_usd": 10.0}, "monthly cap reached"),
        ({"unpriced": 4}, "4 ticks without a price"),
        ({"problems": 3, "newest": "state_drift"}, "3 in the log this hour, last state_drift"),
    ],
)
def test_each_thing_that_can_be_wrong_is_an_alarm_in_words(changed, said):
    assert said in worries(row(**changed))
    assert said in markup.deployments(seen(row(**changed)), ())


@pytest.mark.parametrize(
    "changed",
    [{}, {"status": "stopped", "seconds_stale": 9e9}, {"cap_usd": None, "month_usd": 99.0}, {"month_usd": None}],
)
def test_what_is_as_it_should_be_is_none(changed):
    assert worries(row(**changed)) == []


def test_whoever_has_an_alarm_stands_first_and_is_counted():
    html = markup.deployments(seen(row(), row(id="bbbbbbbb-1", status="error", error_text="died")), ())
    assert (
        html.index("bbbbbbbb") < html.index("7f3c2222") and "2 deployments: 1 running, 1 error; 1 with an alarm" in html
    )


def test_a_row_tells_what_an_operator_asks_first():
    held = [{"side": "long", "sizeBase": 0.5000000000000001, "symbol": "BTC"}]
    html = markup.deployments(seen(row(positions=held)), {row()["id"]})
    for said in (
        "12 s ago (limit 900 s)",
        "$1.50 of $10",
        "long 0.5 BTC",
        "$10,000.00",
        "open rejected (max_position)",
    ):
        assert said in html
    assert "3 min ago" in html and "▶" in html


def test_what_is_not_known_is_not_shown_as_nought():
    html = markup.deployments(seen(row(month_usd=None, seconds_stale=None, equity_usd=None, tick_at=None)), ())
    assert "? of $10" in html and "never" in html and "none yet" in html and "$0" not in html


def test_nothing_that_comes_from_outside_is_markup():
    bad = "<img src=x onerror=alert(1)>"
    entry = {"ts": NOW.isoformat(), "id": row()["id"], "level": "warn", "event": bad, "message": bad}
    one = row(skill=bad, status="error", error_text=bad, reason=bad, positions=[{"symbol": bad}])
    press = Press("pause", (Target(bad),), "failed", words=bad, unrecorded=bad)
    shown = [
        markup.deployments(seen(one), ()),
        markup.log([entry]),
        markup.presses([("20:00:00", press)]),
    ]
    assert all("<img" not in html for html in shown)


def test_an_open_alarm_of_the_watch_says_how_it_is_taken_over_and_by_whom_it_was():
    alarm = Alarm("4.3g", "Every tick is priced", "2 <unpriced>", "mend it", "2026-11-22T20:00:00Z", None, True)
    html = markup.ringing([alarm])
    assert "open alarm: 4.3g" in html and "2 &lt;unpriced&gt;" in html and "./runbook ack 4.3g --as NAME" in html
    assert "acknowledged by ada" in markup.ringing([replace(alarm, acked_by="ada")])
    assert markup.ringing([]) == ""


def test_lamps_light_one_by_one():
    one = Press("pause", (Target(row()["id"]),), sent=0.012)
    assert "sent 12 ms" in markup.presses([("20:00:00", one)]) and "under way" in markup.presses([("", one)])
    kill = Press("kill", (Target(row()["id"]),))
    assert "acknowledged" not in markup.presses([("20:00:00", kill)])  # it never is


def test_an_old_picture_says_so_and_production_is_red(monkeypatch):
    monkeypatch.delenv("RUNBOOK_REHEARSAL", raising=False)
    chosen = profiles.load("rehearsal")
    html = markup.bar(chosen, "al", seen(), "lost since 20:00:00 UTC: gone", "database: no answer")
    assert "What is shown below is old: database: no answer" in html and "as of <b>20:00:00 UTC</b>" in html
    assert markup.RED not in markup.bar(chosen, "al", seen(), "listens since 20:00:00 UTC", "")
    production = chosen.model_copy(update={"kind": "production", "name": "production"})
    assert markup.RED in markup.bar(production, "al", seen(), "listens since 20:00:00 UTC", "")
