"""After a press: what was acknowledged, what is proven, and what could not be seen, each said as it is."""

from __future__ import annotations

import pytest

from runbook_lib.agentic_trading.runner_commands import send_command
from runbook_lib.commands.command import Reply, http, sql
from runbook_lib.commands.expectations import reply
from runbook_lib.records import past_presses
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.settings import profiles
from runbook_lib.steps import press_effects
from runbook_lib.steps.acts import Act, perform
from runbook_lib.steps.buttons import target
from tests.core_fixtures import at, phase_of
from tests.halting import Platform
from tests.steps.test_phase import proof

DEPLOYMENT = "7f3c2a10-0000-4000-8000-000000000001"


@pytest.fixture
def phase(chosen, tmp_path, vendor):
    return phase_of(at(chosen, vendor), tmp_path, "act 1a", mode="attended")


def act(command, **facts):
    return Act("1a", "make a", command, reply(), repeatable=True, **facts)


def lit(phase, one):
    """The lamps of an act that is pressed, by name: whether they are lit, and what they say."""
    phase.record.ledger.append("pressed", step="1a", verb="act", label="make a", by="ana")
    perform(one, phase.services, phase._verdicts)
    press_effects.follow(one, phase.services, phase.record)
    return {lamp.name: lamp for lamp in past_presses.press(phase.record.ledger.events(), "1a").lamps}


def test_a_service_acknowledges_by_its_answer_and_the_proof_shows_the_effect(phase):
    found = lit(phase, act(http("openrouter", "POST /things/a"), proof=proof("a")))
    assert [lamp.lit for lamp in found.values()] == [True, True, True, False]
    assert found["acknowledged"].milliseconds > 0 and found["acknowledged"].at > found["sent"].at
    assert found["effect"].note == "the proof shows it" and found["venue"].note == "not touched"


def test_without_a_proof_the_effect_is_the_next_steps_to_see(phase):
    found = lit(phase, act(http("openrouter", "POST /things/a")))
    assert (found["effect"].lit, found["effect"].note) == (False, "the next step looks")


def test_what_the_proof_does_not_show_is_not_called_an_effect(phase):
    found = lit(phase, act(http("openrouter", "POST /things/a"), proof=proof("b")))
    assert found["effect"].lit is None and "not proven: " in found["effect"].note


def test_what_was_so_already_was_not_sent(phase, vendor):
    vendor.things.add("a")
    found = lit(phase, act(http("openrouter", "POST /things/a"), proof=proof("a")))
    assert vendor.sent("POST") == 0 and found["sent"].note == "nothing: it was so already"
    assert [found[name].lit for name in past_presses.NAMES] == [False, False, True, False]


def test_a_runner_that_cannot_be_asked_about_leaves_its_lamps_dark_and_says_why(phase, monkeypatch):
    monkeypatch.setattr(press_effects, "LONGEST", 0.01)
    following = press_effects.Following(act(send_command("pause", DEPLOYMENT)), phase.services, phase.record)
    following.of_a_runner()
    notes = [event["note"] for event in phase.record.ledger.events() if event["event"] == "lamp"]
    assert any('relation "public.deployments" does not exist' in note for note in notes)
    assert any("the next step looks" in note for note in notes)


def test_an_answer_without_positions_is_not_called_flat(phase):
    following = press_effects.Following(act(send_command("pause", DEPLOYMENT)), phase.services, phase.record)
    following.look = lambda _: Reply(({"time": 1},))
    following._venue({"broker": "hyperliquid-mainnet", "wallet": "0x1"})
    [lamp] = [event for event in phase.record.ledger.events() if event["event"] == "lamp"][-1:]
    assert lamp["lit"] is None and "tells of no positions" in lamp["note"]


def test_what_a_live_deployment_holds_is_seen_at_the_venue(tmp_path):
    with rehearse(state="live") as up:
        platform = Platform(up)
        [deployment] = platform.live()

        def told(kind):
            phase = phase_of(profiles.load("rehearsal"), tmp_path, "act 1a", mode="attended")
            found = lit(phase, act(phase._filled(send_command(kind, deployment), "1a")))
            phase.services.close()
            return [found[name].lit for name in past_presses.NAMES], found["venue"].note

        told("pause")  # so that it holds what we buy
        platform.buy(deployment)
        [(coin, size)] = platform.positions(deployment).items()
        assert told("snapshot") == ([True] * 4, f"{size} {coin}")
        assert told("flatten") == ([True] * 4, "flat in the main book")
        platform.close()


@pytest.mark.parametrize(
    ("command", "aimed_at"),
    [
        (send_command("pause", DEPLOYMENT), ("deployment", DEPLOYMENT)),
        (http("fly", "POST /v1/apps/runner/machines/{machine}/start", machine="e286"), ("machine", "e286")),
        (sql("select 1"), ("project", "abcdefghijklmnopqrst")),
    ],
)
def test_a_button_names_what_it_is_aimed_at(chosen, command, aimed_at):
    assert target(act(command), chosen) == aimed_at
