"""Machines of a deployment: found by the id they carry, exactly one that runs, or none that is left."""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.checklist.deployment_machines import (
    each_machine,
    machine_gone,
    machine_id,
    machine_of,
)
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import Expectation, judge
from runbook_lib.errors import ConfigError

DIGEST = "sha256:" + "a" * 64
PINNED = Reply(({"key": "FLY_LIVE_RUNNER_IMAGE", "target": ["production"], "value": f"registry.fly.io/app@{DIGEST}"},))
OURS = "7eff8d84-e69a-43a3-9302-1851bc1eae35"


def machine(
    deployment: str | None = OURS, state: str = "started", digest: str = DIGEST, name: str = "m1"
) -> dict[str, Any]:
    env = {"DEPLOYMENT_ID": deployment} if deployment else {}
    return {"id": name, "state": state, "config": {"env": env}, "image_ref": {"digest": digest}}


def complaint(expect: Expectation, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


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
