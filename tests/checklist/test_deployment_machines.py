"""Machines of a deployment: found by the id they carry, exactly one that runs, or none that is left."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.checklist.deployment_machines import (
    each_machine,
    machine_down,
    machine_gone,
    machine_id,
    machine_of,
    owned_machines,
)
from runbook_lib.commands.command import Reply
from runbook_lib.errors import ConfigError
from tests.judging import complaint

DIGEST = "sha256:" + "a" * 64
PINNED = Reply(({"key": "FLY_LIVE_RUNNER_IMAGE", "target": ["production"], "value": f"registry.fly.io/app@{DIGEST}"},))
OURS = "7eff8d84-e69a-43a3-9302-1851bc1eae35"


def machine(
    deployment: str | None = OURS, state: str = "started", digest: str = DIGEST, name: str = "m1"
) -> dict[str, Any]:
    env = {"DEPLOYMENT_ID": deployment} if deployment else {}
    return {"id": name, "state": state, "config": {"env": env}, "image_ref": {"digest": digest}}


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        ((machine(), machine("another", name="m2"), machine(None, name="m3")), ""),
        ((), "found 0"),
        ((machine("another"),), "found 0"),
        ((machine(), machine(name="m2")), "found 2"),
        ((machine(state="stopped"),), "machine m1 is stopped, expected started"),
        ((machine(digest="sha256:" + "b" * 64),), "FLY_LIVE_RUNNER_IMAGE names"),
        (
            ({"id": "m1", "config": {"env": {"DEPLOYMENT_ID": OURS}}, "state": "started", "image_ref": None},),
            "runs None",
        ),
    ],
)
def test_exactly_one_started_machine_on_the_pinned_image(machines: tuple[dict[str, Any], ...], words: str) -> None:
    found = complaint(machine_of(OURS), Reply(machines), PINNED)
    assert words in found and bool(words) == bool(found)


def test_a_machine_is_found_by_the_id_it_carries_whatever_its_place() -> None:
    assert machine_id(Reply((machine("another", name="m2"), machine(name="m7"))), OURS) == "m7"
    for rows in ((), (machine(), machine(name="m2"))):
        with pytest.raises(ConfigError, match="expected exactly 1"):
            machine_id(Reply(rows), OURS)


@pytest.mark.parametrize(
    ("machines", "words"),
    [
        ((), ""),
        ((machine(state="destroyed"), machine("another", name="m2")), ""),
        ((machine(state="stopped"),), "still there: m1 is stopped"),
        ((machine(),), "still there: m1 is started"),
        (({"unexpected": "row"},), "no machine"),
    ],
)
def test_only_a_destroyed_machine_is_gone(machines: tuple[dict[str, Any], ...], words: str) -> None:
    found = complaint(machine_gone(OURS), Reply(machines))
    assert words in found and bool(words) == bool(found)


def test_every_live_deployment_that_is_not_booting_needs_its_machine_and_a_previews_image_counts_for_nothing():
    preview = {"key": "FLY_LIVE_RUNNER_IMAGE", "target": ["preview"], "value": "registry.fly.io/app@sha256:00"}
    variables = Reply((*PINNED.rows, preview))
    live = Reply(({"id": OURS, "status": "running"}, {"id": "d9", "status": "provisioning"}))
    assert each_machine(live).judge([Reply((machine(),)), variables]).complaint is None

    live = Reply(({"id": OURS, "status": "running"}, {"id": "d9", "status": "paused"}))
    assert "machine of d9, found 0" in each_machine(live).judge([Reply((machine(),)), variables]).complaint


@pytest.mark.parametrize("state", ["stopped", "suspended", "failed", "destroyed"])
def test_a_machine_is_down_in_states_it_stays_in(state):
    assert machine_down(OURS).judge([Reply((machine(state=state),))]).complaint is None


@pytest.mark.parametrize("state", ["started", "starting", "stopping", "replacing", "a state of tomorrow", None])
def test_every_other_state_may_run(state):
    assert "m1" in machine_down(OURS).judge([Reply((machine(state=state),))]).complaint


def test_machines_of_others_and_none_at_all_are_none_of_its():
    assert machine_down(OURS).judge([Reply((machine("another"),))]).complaint is None
    assert machine_down(OURS).judge([Reply()]).complaint is None
    assert machine_down(OURS).judge([Reply(({"id": "1", "config": None},))]).complaint


# --- machines of nobody


def carrying(name: str, **env: str) -> dict[str, Any]:
    return {"id": name, "state": "started", "config": {"env": env}}


ROWS = Reply(({"id": "d1", "status": "running"}, {"id": "d2", "status": "stopped"}))


def unowned(*machines: dict[str, Any]) -> str:
    return owned_machines().judge([Reply(machines), ROWS]).complaint or ""


def test_machines_of_deployments_pass_and_so_does_none() -> None:
    stopped = {**carrying("148f", DEPLOYMENT_ID="d2"), "state": "stopped"}
    for machines in ((), (carrying("148e", DEPLOYMENT_ID="d1"),), (carrying("148e", DEPLOYMENT_ID="d1"), stopped)):
        assert unowned(*machines) == ""


@pytest.mark.parametrize(
    "stray",
    [
        carrying("x"),
        carrying("x", DEPLOYMENT_ID=""),
        carrying("x", DEPLOYMENT_ID="d9"),  # it carries an id, and no row has it
        {"id": "x"},
        {"id": "x", "config": None},
        {"id": "x", "config": {"env": [1]}},
    ],
)
def test_a_machine_of_no_deployment_is_named(stray: dict[str, Any]) -> None:
    assert "machine x is of no deployment" in unowned(carrying("148e", DEPLOYMENT_ID="d1"), stray)


def test_a_machine_that_is_up_for_a_deployment_that_has_stopped_is_named() -> None:
    assert "machine x is started, and its deployment d2 has stopped" in unowned(carrying("x", DEPLOYMENT_ID="d2"))
