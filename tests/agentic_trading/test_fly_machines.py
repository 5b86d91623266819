"""A machine belongs to the deployment it carries, and is down only in a state that says so."""

from __future__ import annotations

import pytest

from runbook_lib.agentic_trading import fly_machines


def machine(name="148e", deployment="d1", state="started"):
    env = {"DEPLOYMENT_ID": deployment} if deployment else {}
    return {"id": name, "state": state, "config": {"env": env}}


@pytest.mark.parametrize(
    ("row", "deployment"),
    [
        (machine(), "d1"),
        (machine(deployment=""), None),
        ({"id": "148e", "config": {"env": {"DEPLOYMENT_ID": ""}}}, None),
        ({"id": "148e", "config": {"env": None}}, None),
        ({"id": "148e", "config": None}, None),
        ({}, None),
    ],
)
def test_a_machine_belongs_to_the_deployment_in_its_environment(row, deployment):
    assert fly_machines.deployment_of(row) == deployment


def test_machines_of_a_deployment_are_found_whatever_their_name_and_place():
    listed = [machine("d1", "d2"), machine("m2"), machine("m3", ""), machine("m4", state="destroyed")]
    assert [row["id"] for row in fly_machines.machines_of(listed, "d1")] == ["m2", "m4"]


@pytest.mark.parametrize("state", ["stopped", "suspended", "failed", "destroyed"])
def test_these_states_mean_down(state):
    assert fly_machines.is_down(machine(state=state))


@pytest.mark.parametrize("state", ["created", "starting", "started", "stopping", "destroying", "new", None])
def test_every_other_state_may_run_soon(state):
    assert not fly_machines.is_down(machine(state=state))


def test_only_a_destroyed_machine_is_gone():
    assert fly_machines.is_gone(machine(state="destroyed")) and not fly_machines.is_gone(machine(state="stopped"))


@pytest.mark.parametrize("row", [{}, {"id": "148e"}, {"config": {}}, {"id": "148e", "config": []}])
def test_a_row_without_an_id_or_a_configuration_is_no_machine(row):
    assert not fly_machines.is_machine(row)
    assert fly_machines.is_machine(machine())
