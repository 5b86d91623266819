"""Runners as real processes against the rehearsed database: boot, ticks, commands, failures."""

import time
from itertools import pairwise

import pytest

from runbook_lib.rehearsal.runner.runner_faults import runner_fault
from tests.rehearsal.conftest import eventually
from tests.rehearsal.operated import Operated, changed


@pytest.fixture(scope="module")
def operated(migrated):
    operated = Operated(migrated)
    yield operated
    operated.close()


@pytest.fixture
def running(operated):
    """A paper deployment in its tick loop: (deployment, machine)."""
    deployment = operated.deployment()
    return deployment, operated.start(deployment)


def last(operated, deployment, event):
    """The newest log of an event, waited for."""
    return eventually(lambda: operated.logs(deployment, event))[-1]


def equity(operated, deployment):
    return operated.row("select * from public.agent_state where deployment_id = %(id)s", id=deployment)


# -- boot


def test_a_paper_runner_says_its_boot_lines_in_order_and_runs(operated, running):
    deployment, machine = running

    wanted = [
        f"live-runner: booting deployment {deployment}",
        "live-runner: loaded skill Test v1 (broker=paper)",
        "live-runner: status=running; entering tick loop",
    ]
    eventually(lambda: operated.logs(deployment, "tick"))
    console = operated.console(machine)
    assert [line for line in console if line in wanted] == wanted
    assert any(line.startswith("live-runner: reconciled") for line in console), "events can be searched for"
    assert [one["event"] for one in operated.logs(deployment)][:2] == ["runner_started", "reconciled"]
    assert abs(equity(operated, deployment)["equity_usd"] - 10_000) < 50


@pytest.mark.parametrize(
    ("secrets", "text"),
    [
        (
            {"SUPABASE_DB_PASSWORD": None},
            "live-runner: set SUPABASE_DB_URL, or SUPABASE_URL + (SUPABASE_DB_PASSWORD | POSTGRES_PASSWORD)",
        ),
        ({"SUPABASE_DB_PASSWORD": "wrong"}, 'password authentication failed for user "postgres"'),
        ({"SUPABASE_URL": "https://zyxwvutsrqponmlkjihg.supabase.co"}, "getaddrinfo ENOTFOUND db.zyxwv"),
    ],
)
def test_a_runner_that_cannot_listen_says_why_and_ends_in_error(migrated, secrets, text):
    operated = Operated(migrated, secrets)
    deployment = operated.deployment()

    machine = operated.machine(deployment, restart={"policy": "no"})

    assert text in last(operated, deployment, "runner_fatal")["message"]
    row = eventually(
        lambda: operated.row("select * from public.deployments where id = %(id)s and status = 'error'", id=deployment)
    )
    assert text in row["error_text"]
    eventually(lambda: operated.state(machine) == "destroyed")
    operated.close()


def test_the_marketplaces_name_for_the_password_works_too(migrated):
    password = migrated.environment["SUPABASE_DB_PASSWORD"]
    operated = Operated(migrated, {"SUPABASE_DB_PASSWORD": None, "POSTGRES_PASSWORD": password})
    deployment = operated.deployment()

    operated.start(deployment)

    assert operated.status(deployment) == "running"
    operated.close()


def test_a_machine_without_a_deployment_says_so_and_is_restarted_until_the_policy_gives_up(operated):
    machine = operated.machine(None, restart={"policy": "on-failure", "max_retries": 2}, auto_destroy=False)

    eventually(lambda: operated.state(machine) == "stopped")
    assert operated.console(machine) == ["live-runner: DEPLOYMENT_ID env not injected"] * 3


def test_a_wrong_service_key_is_said_on_the_console(migrated):
    operated = Operated(migrated, {"SUPABASE_SERVICE_ROLE_KEY": "sb_secret_other"})
    deployment = operated.deployment()

    machine = operated.machine(deployment, restart={"policy": "no"}, auto_destroy=False)

    eventually(lambda: operated.state(machine) == "stopped")
    assert operated.console(machine)[-1].endswith("loadDeploymentAndSkill failed: Invalid API key")
    assert operated.status(deployment) == "error"
    operated.close()


def test_a_crash_at_boot_is_tried_again_and_recovers_when_it_is_over(operated, migrated):
    deployment = operated.deployment()

    with runner_fault(migrated.folder, deployment, crash_at_boot=True):
        machine = operated.machine(deployment)
        eventually(lambda: len(operated.logs(deployment, "runner_fatal")) >= 2)
        assert operated.status(deployment) == "error"

    eventually(lambda: operated.status(deployment) == "running")
    assert operated.state(machine) == "started"


def test_a_deployment_that_was_paused_stays_paused_over_a_restart(operated, running):
    deployment, machine = running
    operated.obeyed(deployment, "pause")

    operated.api.post(f"/v1/apps/{operated.app}/machines/{machine}/restart").raise_for_status()

    eventually(lambda: operated.console(machine).count("live-runner: status=paused; entering tick loop"))
    assert operated.status(deployment) == "paused"


# -- ticks


def test_each_tick_leaves_a_snapshot_with_tokens_a_price_and_a_verdict(operated, running):
    deployment, _ = running

    eventually(lambda: len(operated.snapshots(deployment)) >= 4)
    rows = operated.snapshots(deployment)

    assert rows[0]["verdict"]["status"] == "executed", "the first decision opens a position"
    for row in rows:
        assert 15_000 <= row["prompt_tokens"] <= 45_000
        assert 0.01 < row["cost_usd"] < 0.10
        assert (row["proposed_action"] is None) == (row["verdict"]["status"] == "noop")


def test_a_model_without_a_rate_prices_nothing(operated):
    deployment = operated.deployment(changed(model="anthropic/claude-unheard-of"))
    operated.start(deployment)

    row = eventually(lambda: operated.snapshots(deployment))[0]

    assert row["prompt_tokens"] > 0
    assert row["cost_usd"] is None


def test_the_cost_guard_pauses_within_a_tick_of_a_lowered_cap_and_says_why(operated, running):
    deployment, _ = running
    eventually(lambda: operated.snapshots(deployment))

    operated.rows(
        "update public.skill_versions v set payload = jsonb_set(payload, '{risk,maxMonthlyCostUsd}', '0.01')"
        " from public.deployments d where d.skill_id = v.skill_id and d.id = %(id)s",
        id=deployment,
    )

    eventually(lambda: operated.status(deployment) == "paused", within=3)
    row = eventually(
        lambda: operated.row(
            "select * from public.agent_commands where deployment_id = %(id)s and acked_at is not null", id=deployment
        )
    )
    assert (row["kind"], row["issued_by"]) == ("pause", "cost_guard")
    assert row["payload"]["reason"].startswith("cost_guard:")
    assert len(operated.logs(deployment, "cost_guard_tripped")) == 1


def test_a_runner_that_never_reads_the_skill_again_misses_a_lowered_cap(operated, migrated):
    deployment = operated.deployment()
    with runner_fault(migrated.folder, deployment, stale_skill=True):
        operated.start(deployment)
        operated.rows(
            "update public.skill_versions v set payload = jsonb_set(payload, '{risk,maxMonthlyCostUsd}', '0.01')"
            " from public.deployments d where d.skill_id = v.skill_id and d.id = %(id)s",
            id=deployment,
        )
        seen = len(operated.snapshots(deployment))
        eventually(lambda: len(operated.snapshots(deployment)) > seen + 3)

    assert operated.logs(deployment, "cost_guard_tripped") == []


def test_a_failed_fetch_of_mids_falls_back_and_a_symbol_without_a_mark_fails_the_tick(operated, migrated):
    deployment = operated.deployment(changed(context={"symbols": ["ETH"]}, risk={"allowedSymbols": ["BTC", "ETH"]}))
    action = {"kind": "open", "symbol": "BTC", "side": "buy", "sizeUsd": 50, "leverage": 1}

    with (
        operated.fault(service="hyperliquid", path="/info", status=503),
        runner_fault(migrated.folder, deployment, propose=action),
    ):
        operated.start(deployment)
        fetch = last(operated, deployment, "all_mids_fetch_failed")
        tick = last(operated, deployment, "tick_failed")

    assert fetch["message"] == "Hyperliquid allMids 503 Service Unavailable"
    assert tick["message"] == "paper broker: no mark price set for BTC; call setMarkPrice first"
    eventually(lambda: operated.logs(deployment, "tick"))


def test_a_proposal_over_the_caps_is_rejected_by_rule(operated, migrated):
    deployment = operated.deployment()
    action = {"kind": "open", "symbol": "BTC", "side": "buy", "sizeUsd": 2500, "leverage": 1}

    with runner_fault(migrated.folder, deployment, propose=action):
        operated.start(deployment)
        row = eventually(lambda: operated.snapshots(deployment))[0]

    assert (row["verdict"]["status"], row["verdict"]["rule"]) == ("rejected", "R3_POSITION_CAP")
    assert row["proposed_action"]["sizeUsd"] == 2500


def test_a_changed_password_fails_ticks_until_the_machine_has_the_new_one(operated, migrated, running):
    deployment, machine = running
    old = migrated.environment["SUPABASE_DB_PASSWORD"]
    operated.rows("alter role postgres password 'rotated'")
    try:
        failed = last(operated, deployment, "tick_failed")
        assert failed["message"] == 'password authentication failed for user "postgres"'

        operated.secrets(SUPABASE_DB_PASSWORD="rotated")
        config = operated.api.get(f"/v1/apps/{operated.app}/machines/{machine}").json()["config"]
        operated.api.post(f"/v1/apps/{operated.app}/machines/{machine}", json={"config": config}).raise_for_status()
        seen = len(operated.snapshots(deployment))
        eventually(lambda: len(operated.snapshots(deployment)) > seen)
    finally:
        operated.secrets(SUPABASE_DB_PASSWORD=old)
        operated.database.execute(f"alter role postgres password '{old}'")


# -- commands


def test_the_five_commands_are_obeyed_in_the_checklists_order(operated, running):
    deployment, machine = running
    eventually(lambda: operated.snapshots(deployment))

    statuses = {}
    for kind in ("pause", "resume", "snapshot", "flatten", "stop"):
        assert operated.obeyed(deployment, kind) < 1, kind
        statuses[kind] = operated.status(deployment)
        if kind == "flatten":
            assert equity(operated, deployment)["positions"] == []

    assert statuses == {"pause": "paused", "resume": "running", "snapshot": "running", "flatten": "paused"} | {
        "stop": statuses["stop"]
    }
    eventually(lambda: operated.status(deployment) == "stopped")
    eventually(lambda: operated.state(machine) == "destroyed")
    assert machine not in [one["id"] for one in operated.machines()]


def test_a_paused_deployment_beats_but_decides_nothing(operated, running):
    deployment, _ = running
    operated.obeyed(deployment, "pause")
    seen, beat = len(operated.snapshots(deployment)), equity(operated, deployment)["updated_at"]

    eventually(lambda: equity(operated, deployment)["updated_at"] > beat)

    assert len(operated.snapshots(deployment)) <= seen + 1, "a tick in progress may have ended"


def test_a_kill_is_never_acknowledged_and_the_restart_policy_brings_the_runner_back(operated, running):
    deployment, machine = running

    command = operated.command(deployment, "kill")

    eventually(lambda: operated.console(machine).count(f"live-runner: booting deployment {deployment}") == 2)
    eventually(lambda: len(operated.logs(deployment, "runner_started")) == 2)
    assert operated.acked(command) is None
    operated.api.post(f"/v1/apps/{operated.app}/machines/{machine}/stop").raise_for_status()
    eventually(lambda: operated.state(machine) == "stopped")


def test_a_stopped_machine_leaves_its_row_running_and_its_heartbeat_to_age(operated, running):
    deployment, machine = running

    operated.api.post(f"/v1/apps/{operated.app}/machines/{machine}/stop").raise_for_status()

    eventually(lambda: operated.state(machine) == "stopped")
    assert operated.console(machine)[-1] == "live-runner: signal received; draining"
    assert operated.status(deployment) == "running"


def test_a_halt_of_the_engine_is_left_by_clear_halt(operated, running):
    deployment, _ = running
    operated.rows(
        "update public.skill_versions v set payload = jsonb_set(payload, '{risk,dailyLossHaltPct}', '0.0001')"
        " from public.deployments d where d.skill_id = v.skill_id and d.id = %(id)s",
        id=deployment,
    )
    eventually(lambda: operated.status(deployment) == "halted")
    assert last(operated, deployment, "daily_loss_halt")["data"]["rule"] == "R6_DAILY_LOSS_HALT"

    operated.obeyed(deployment, "resume")
    assert operated.status(deployment) == "halted"
    operated.obeyed(deployment, "clear_halt")
    assert operated.status(deployment) in {"running", "halted"}
    eventually(lambda: len(operated.logs(deployment, "daily_loss_halt")) > 1)


# -- what can be made to go wrong


def test_a_deaf_runner_acknowledges_nothing_and_a_slow_one_late(operated, migrated, running):
    deployment, _ = running
    with runner_fault(migrated.folder, deployment, deaf=True):
        unheard = operated.command(deployment, "snapshot")
        seen = len(operated.snapshots(deployment))
        eventually(lambda: len(operated.snapshots(deployment)) > seen + 2)
        assert operated.acked(unheard) is None
    with runner_fault(migrated.folder, deployment, slow_ack=1.2):
        assert operated.obeyed(deployment, "snapshot") > 1


def test_a_silent_runner_lives_without_a_heartbeat(operated, migrated, running):
    deployment, machine = running
    with runner_fault(migrated.folder, deployment, silent=True):
        age = "select extract(epoch from clock_timestamp() - updated_at)::float8 as age from public.agent_state"
        eventually(lambda: operated.row(f"{age} where deployment_id = %(id)s", id=deployment)["age"] > 1)
        assert operated.state(machine) == "started"


def test_a_crash_in_a_tick_loses_its_snapshot_and_is_restarted(operated, migrated, running):
    deployment, _ = running
    with runner_fault(migrated.folder, deployment, crash_mid_tick=True):
        eventually(lambda: len(operated.logs(deployment, "runner_started")) > 1)

    seen = len(operated.snapshots(deployment))
    eventually(lambda: len(operated.snapshots(deployment)) > seen)


def test_a_pause_may_be_forgotten_over_a_restart(operated, migrated, running):
    deployment, machine = running
    operated.obeyed(deployment, "pause")

    with runner_fault(migrated.folder, deployment, forgets_pause=True):
        operated.api.post(f"/v1/apps/{operated.app}/machines/{machine}/restart").raise_for_status()

        eventually(lambda: operated.status(deployment) == "running")
        ticks = len(operated.snapshots(deployment))
        eventually(lambda: len(operated.snapshots(deployment)) > ticks)


def test_a_stop_may_be_forgotten_when_the_machine_starts(operated, migrated):
    deployment = operated.deployment(status="stopped")

    with runner_fault(migrated.folder, deployment, forgets_stop=True):
        operated.machine(deployment)

        eventually(lambda: operated.snapshots(deployment))


def test_a_paused_runner_may_be_mute(operated, migrated, running):
    deployment, _ = running
    with runner_fault(migrated.folder, deployment, mute_when_paused=True):
        operated.obeyed(deployment, "pause")
        time.sleep(0.3)  # a beat may have been on its way
        beat = equity(operated, deployment)["updated_at"]
        time.sleep(0.7)  # three ticks
        assert equity(operated, deployment)["updated_at"] == beat
    eventually(lambda: equity(operated, deployment)["updated_at"] > beat)


def test_a_hurrying_runner_ticks_oftener_than_its_skill_says(operated, migrated):
    deployment = operated.deployment(changed(schedule={"every": "20 seconds"}))
    with runner_fault(migrated.folder, deployment, hurries=40):
        operated.start(deployment)
        eventually(lambda: len(operated.snapshots(deployment)) >= 3, within=15)
    ticks = [row["tick_at"] for row in operated.snapshots(deployment)]
    assert min(b - a for a, b in pairwise(ticks)).total_seconds() < 10


def test_faults_are_named_and_restored(tmp_path):
    with pytest.raises(ValueError, match="unknown runner fault"), runner_fault(tmp_path, deff=True):
        pass
    with runner_fault(tmp_path, slow_ack=1):
        with runner_fault(tmp_path, slow_ack=2, deaf=True):
            assert (tmp_path / "runner-faults.json").read_text().count("2") == 1
        assert '"slow_ack": 1' in (tmp_path / "runner-faults.json").read_text()
    assert "slow_ack" not in (tmp_path / "runner-faults.json").read_text()
