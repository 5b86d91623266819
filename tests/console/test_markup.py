"""What the console shows, from rows alone: trouble first and in words, nothing as markup, nothing hidden."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from runbook_lib.agentic_trading.deployment_health import worries
from runbook_lib.agentic_trading.runner_commands import Target
from runbook_lib.console import markup
from runbook_lib.console.markup import Age
from runbook_lib.console.overview import Overview
from runbook_lib.console.sent_commands import SentCommand
from runbook_lib.halt.state import Part
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


def test_live_money_stands_first_apart_from_paper_and_from_what_has_ended():
    live = row(id="11111111-1", broker="hyperliquid-mainnet")
    gone = row(id="33333333-1", status="stopped", broker="hyperliquid-mainnet")
    html = markup.deployments(seen(gone, row(status="error", error_text="died"), live), ())
    places = [html.index(word) for word in ("Live money", "11111111", "Paper", "7f3c2222", "Ended", "33333333")]
    assert places == sorted(places)
    assert "Live money" not in markup.deployments(seen(row()), ())


def test_a_row_tells_what_an_operator_asks_first():
    held = [{"side": "long", "sizeBase": 0.5000000000000001, "symbol": "BTC"}]
    html = markup.deployments(seen(row(positions=held)), {row()["id"]}, still=True)
    for said in (
        "<span>12 s</span></span> ago (limit 900 s)",
        "$1.50 of $10",
        "long 0.5 BTC",
        "$10,000.00",
        "open rejected (max_position)",
    ):
        assert said in html
    assert "<span>3 min</span></span> ago" in html and "▶" in html


# --- ages -------------------------------------------------------------------------------------------------------------


def test_an_age_counts_on_from_what_it_was_at_the_look_and_in_a_still_picture_stands():
    looked = seen(row(seconds_stale=12.0), began=time.monotonic() - 5)
    html = markup.deployments(looked, ())
    assert "<span>17 s</span>" in html and 'data-unit=" s" style="animation-delay:-16.5' in html
    assert "animation" not in markup.deployments(looked, (), still=True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3.0, "0 s"),
        (0.4, "0 s"),
        (119.9, "119 s"),
        (120.0, "2 min"),
        (7199.0, "119 min"),
        (7200.0, "2 h"),
        (2e5, "55 h"),
    ],
)
def test_an_age_is_told_in_the_unit_that_fits(seconds, words):
    assert Age(seconds).words == words


def test_a_picture_is_old_after_three_refreshes_and_at_once_where_the_newest_look_has_failed():
    looked = seen(row(), began=time.monotonic() - 5)
    drawn = [time.monotonic(), markup.deployments(looked, ()), time.monotonic()]
    delay = float(re.search(r'rb-picture" style="animation-delay:([\d.]+)s', drawn[1])[1])
    assert drawn[0] - 0.01 <= looked.began + 6 - delay <= drawn[2] + 0.01, "six seconds after it was read"
    for html in (markup.deployments(looked, (), trouble="gone"), markup.log(looked, trouble="gone")):
        assert 'rb-picture" style="animation-delay:0s' in html and "STALE: read at 20:00:00 UTC" in html


def test_the_watchdog_says_since_when_nothing_pressed_is_sent():
    html = markup.watchdog(7, NOW, "production")
    assert "In a terminal: ./runbook halt --profile production --all" in html
    assert 'data-beat="7"' in html and "not answered since 20:00:00 UTC" in html
    assert html != markup.watchdog(8, NOW, "production"), "an animation starts anew only in something new"


def test_what_is_not_known_is_not_shown_as_nought():
    html = markup.deployments(seen(row(month_usd=None, seconds_stale=None, equity_usd=None, tick_at=None)), ())
    assert "? of $10" in html and "never" in html and "none yet" in html and "$0" not in html


def test_nothing_that_comes_from_outside_is_markup(monkeypatch):
    monkeypatch.delenv("RUNBOOK_REHEARSAL", raising=False)
    bad = "<img src=x onerror=alert(1)>"
    entry = {"ts": NOW.isoformat(), "id": row()["id"], "level": "warn", "event": bad, "message": bad}
    one = row(skill=bad, status="error", error_text=bad, reason=bad, positions=[{"symbol": bad}])
    press = SentCommand("pause", (Target(bad),), "failed", words=bad, unrecorded=bad)
    shown = [
        markup.deployments(seen(one), ()),
        markup.log(seen(log=[entry])),
        markup.bar(profiles.load("rehearsal"), bad, seen(), bad, bad),
        markup.halting(bad, [Part(bad, bad, bad, bad, bad)], bad, bad),
        markup.figure(b"png", bad, 10.0, NOW),
        markup.about([bad], bad),
        markup.remark(bad),
        markup.presses([("20:00:00", press)]),
    ]
    assert all("<img src=x" not in html for html in shown)


def test_an_alarm_of_the_watch_says_how_it_is_taken_over_by_whom_it_was_and_when_it_was_over():
    alarm = Alarm("4.3g", "Every tick is priced", "2 <unpriced>", "mend it", "2026-11-22T20:00:00Z", None, True)
    html = markup.alarms([alarm], "production")
    assert (
        "open alarm: 4.3g" in html
        and "2 &lt;unpriced&gt;" in html
        and "./runbook ack --profile production 4.3g --as NAME" in html
    )
    assert "acknowledged by ada" in markup.alarms([replace(alarm, acked_by="ada")], "production")
    cleared = replace(alarm, name="4.3h", raised="2026-11-22T19:00:00Z", cleared="2026-11-22T20:05:00Z")
    both = markup.alarms([cleared, alarm], "production")
    assert "cleared alarm: 4.3h" in both and "cleared at 2026-11-22T20:05:00Z" in both
    assert both.index("open alarm") < both.index("cleared alarm")


def test_lamps_light_one_by_one():
    one = SentCommand("pause", (Target(row()["id"]),), sent=0.012)
    assert "sent 12 ms" in markup.presses([("20:00:00", one)]) and "under way" in markup.presses([("", one)])
    kill = SentCommand("kill", (Target(row()["id"]),))
    assert "acknowledged" not in markup.presses([("20:00:00", kill)])  # it never is


def test_a_button_pressed_is_named_as_it_is_labelled():
    restart = SentCommand(
        "kill", (Target(row()["id"]),), "passed", words="killed; the machine started again after 1.9 s"
    )
    html = markup.presses([("20:00:00", restart)])
    assert "<b>Restart process</b>" in html and "started again after 1.9 s" in html


def test_an_old_picture_says_so_and_production_is_red(monkeypatch):
    monkeypatch.delenv("RUNBOOK_REHEARSAL", raising=False)
    chosen = profiles.load("rehearsal")
    html = markup.bar(chosen, "al", seen(), "lost since 20:00:00 UTC: gone", "database: no answer")
    assert "What is shown below is old: database: no answer" in html and "as of <b>20:00:00 UTC</b>" in html
    assert markup.PRODUCTION not in markup.bar(chosen, "al", seen(), "listens since 20:00:00 UTC", "")
    production = chosen.model_copy(update={"kind": "production", "name": "production"})
    assert markup.PRODUCTION in markup.bar(production, "al", seen(), "listens since 20:00:00 UTC", "")
