"""Commands to runners: one insert, one state and one judgement, whoever sends them."""

from __future__ import annotations

import uuid

import pytest

from runbook_lib.agentic_trading import runner_commands
from runbook_lib.agentic_trading.runner_commands import Target
from runbook_lib.commands.command import http, sql
from runbook_lib.errors import ConfigError
from runbook_lib.services.services import Services

OURS = "7eff8d84-e69a-43a3-9302-1851bc1eae35"
ROW = {
    "seconds": 0.1,
    "status": "error",
    "positions": 1,
    "written_after": False,
    "restarted_after": None,
    "revoked_at": None,
}
# What each command brings about, and what falls short of it by a hair.
EFFECTS = {
    "pause": ([{"status": "paused"}, {"status": "halted"}, {"status": "stopped"}], [{"status": "running"}]),
    "resume": ([{"status": "running"}], [{"status": "paused"}]),
    "clear_halt": ([{"status": "running"}, {"status": "paused"}], [{"status": "halted"}]),
    "flatten": ([{"status": "paused", "positions": 0}], [{"status": "paused"}, {"status": "running", "positions": 0}]),
    "stop": ([{"status": "stopped"}], [{"status": "paused"}]),
    "snapshot": ([{"written_after": True}], [{"written_after": None}]),
    "revoke": ([{"status": "stopped", "revoked_at": "2026-11-22T20:00:00Z"}], [{"status": "stopped"}]),
}


@pytest.fixture
def services(on_paper):
    opened = Services(on_paper)
    yield opened
    opened.close()


@pytest.fixture
def deployment(services):
    return services.look(sql("select id from public.deployments order by created_at limit 1")).value("id")


# --- judging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EFFECTS)
def test_a_command_took_effect_once_it_shows_and_the_runner_acknowledged_it(kind):
    reached, short = EFFECTS[kind]
    for change in reached:
        assert runner_commands.took_effect(kind, {**ROW, **change})
        assert not runner_commands.took_effect(kind, {**ROW, **change, "seconds": None})
    for change in short:
        assert not runner_commands.took_effect(kind, {**ROW, **change})


def test_a_kill_is_never_acknowledged_and_shows_when_the_runner_starts_again_or_is_gone():
    row = {**ROW, "seconds": None, "status": "running"}
    assert not runner_commands.took_effect("kill", row)
    assert runner_commands.took_effect("kill", {**row, "restarted_after": 1.9})
    assert runner_commands.took_effect("kill", {**row, "status": "error"})


def test_an_effect_is_told_in_words_and_a_kill_as_what_it_is():
    def words(kind, **changed):
        return runner_commands.effect(kind, {**ROW, "status": "running", **changed})

    assert words("kill", restarted_after=1.94) == "killed; the machine started again after 1.9 s; it trades"
    assert words("kill", restarted_after=1.94, status="paused").endswith("status paused")
    assert words("kill", status="error") == "killed; status error, and no runner started again"
    assert words("pause", status="halted") == "status halted"


def test_every_gesture_says_what_it_does_and_what_it_does_not():
    for gesture in runner_commands.GESTURES:
        assert "not" in gesture.does.lower() or "nothing" in gesture.does or "stay" in gesture.does, gesture
    kill = next(gesture for gesture in runner_commands.GESTURES if gesture.kind == "kill")
    assert kill.tone == "" and "kill" not in kill.label.lower()


# --- sending ----------------------------------------------------------------------------------------------------------


def test_a_command_carries_the_steps_key_and_says_whom_it_is_aimed_at():
    command = runner_commands.send_command("pause", OURS)
    assert command.filled(lambda name: f"<{name}>").values["key"] == "<key>"
    assert runner_commands.aimed_at(command) == ("pause", OURS)
    command.refuse_control(changes=True)


@pytest.mark.parametrize("command", [sql("select 1"), http("fly", "GET /x"), runner_commands.revoke("0x1")])
def test_what_is_no_command_to_one_runner_is_aimed_at_none(command):
    assert runner_commands.aimed_at(command) is None


def test_an_unknown_command_names_those_there_are():
    with pytest.raises(ConfigError, match="no command 'explode': choose one of stop, pause"):
        runner_commands.send_command("explode", OURS)


@pytest.mark.parametrize(
    ("kind", "targets", "words"),
    [
        ("pause", [], "to 0 deployments"),
        ("revoke", [Target(OURS)], "7eff8d84 has no agent"),
        ("revoke", [Target(OURS, "0x1"), Target(OURS, "0x2")], "these have 2 agents"),
    ],
)
def test_what_deployments_cannot_do_is_refused_before_anything_is_sent(kind, targets, words):
    with pytest.raises(ConfigError, match=words):
        runner_commands.command_for(kind, targets, key="k", issuer="i")


def test_a_command_sent_twice_is_one_row_whoever_sends_it(services, deployment):
    key = str(uuid.uuid4())
    one = runner_commands.command_for("snapshot", [Target(deployment)], key=key, issuer="the console")
    another = runner_commands.send_commands([(deployment, "snapshot")], key=key, issuer="the halt")
    made = services.change(one)
    assert len(made.rows) == 1 and made.value("notified") == "by trigger"
    assert services.change(one).rows == services.change(another).rows == ()
    state = services.look(runner_commands.sent_state(["snapshot"], [deployment], keys=[key]))
    assert [(row["id"], row["kind"], row["issued_by"]) for row in state.rows] == [
        (made.value("id"), "snapshot", "the console")
    ]
    assert services.look(runner_commands.command_state("snapshot", deployment)).value("id") == made.value("id")
    [row] = services.look(runner_commands.sent_state(["snapshot"], [], keys=[key], everyone=True)).rows
    assert (row["deployment"], row["id"]) == (deployment, made.value("id"))


def test_a_deployment_that_was_sent_nothing_is_in_the_state_without_a_command(services, deployment):
    [row] = services.look(runner_commands.sent_state(["pause"], [deployment], keys=["nothing"])).rows
    assert row["id"] is None and row["status"] and not runner_commands.took_effect("pause", row)
