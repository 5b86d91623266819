"""What the runbook knows of deployments: machines by the id they carry, boot lines in order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.checklist.deployments import (
    band,
    boot_lines,
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


# --- machines


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


# --- boot lines


def log(*messages: str) -> Reply:
    return Reply(tuple({"attributes": {"message": message}} for message in messages))


WORDS = st.text("abc ", max_size=4)


@given(st.lists(WORDS, min_size=1, max_size=4), st.lists(st.lists(WORDS, max_size=2), min_size=5, max_size=5))
def test_lines_in_order_are_found_whatever_stands_between(wanted: list[str], between: list[list[str]]) -> None:
    messages = [*between[0]]
    for line, after in zip(wanted, between[1:], strict=False):
        messages += [f"[{line}]", *after]
    assert complaint(boot_lines(*wanted), log(*messages)) == ""


@given(st.lists(st.sampled_from("xyz"), unique=True, min_size=2), st.data())
def test_lines_out_of_order_or_missing_are_named(wanted: list[str], data: Any) -> None:
    lost = data.draw(st.sampled_from(wanted))
    found = complaint(boot_lines(*wanted), log(*(line for line in wanted if line != lost)))
    assert f"{lost!r} did not come" in found
    assert complaint(boot_lines(*wanted), log(*reversed(wanted))) != ""


def test_an_empty_log_says_so() -> None:
    assert complaint(boot_lines("a"), Reply()) == "'a' did not come, or not in order; the last line is 'no line at all'"


# --- costs


def test_what_a_tick_costs_is_known_by_model() -> None:
    assert band("anthropic/claude-Haiku-4.5") == (0.01, 0.10)
    with pytest.raises(ConfigError, match="no usual cost is known for model 'gpt'"):
        band("gpt")


def test_every_live_deployment_that_is_not_booting_needs_its_machine_and_a_previews_image_counts_for_nothing():
    preview = {"key": "FLY_LIVE_RUNNER_IMAGE", "target": ["preview"], "value": "registry.fly.io/app@sha256:00"}
    variables = Reply((*PINNED.rows, preview))
    live = Reply(({"id": OURS, "status": "running"}, {"id": "d9", "status": "provisioning"}))
    assert each_machine(live).judge([Reply((machine(),)), variables]).complaint is None

    live = Reply(({"id": OURS, "status": "running"}, {"id": "d9", "status": "paused"}))
    assert "machine of d9, found 0" in each_machine(live).judge([Reply((machine(),)), variables]).complaint
