"""What a rotation sends where, and what it believes: pure functions over replies."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.checklist import rotation_machines, rotation_places
from runbook_lib.commands.command import Http, Login, Reply, Series
from runbook_lib.commands.expectations import judge
from runbook_lib.errors import ConfigError
from runbook_lib.services.secret_fields import DROPPED
from runbook_lib.settings import profiles

PROFILE = profiles.load("rehearsal")
PASSWORD, HASH, OLD = "SUPABASE_DB_PASSWORD", "a" * 64, "b" * 64
FLY = Reply(({"name": "SUPABASE_URL", "digest": "d0"}, {"name": PASSWORD, "digest": "d1"}))
VERCEL = Reply(
    (
        {"key": PASSWORD, "type": "sensitive", "target": ["production"], "updatedAt": 1},
        {"key": "POSTGRES_PASSWORD", "type": "encrypted", "target": "production", "updatedAt": 1},
        {"key": "CRON_SECRET", "type": "sensitive", "target": ["production"], "updatedAt": 1},
        {"key": PASSWORD, "type": "plain", "target": ["preview"], "updatedAt": 1},
        {"key": PASSWORD, "type": "plain", "target": [], "customEnvironmentIds": ["env_1"], "updatedAt": 1},
    )
)
NOTED = Reply(
    ({"noted_at": "2026-11-22T10:00:00Z", "running": {"d1": "running", "d2": "paused"}}, *FLY.rows, *VERCEL.rows)
)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> profiles.Settings:
    """The rehearsal's profile, with the cron secret in the environment."""
    monkeypatch.setenv("CRON_SECRET", "made-up-for-this-test")
    return PROFILE


def machine(name: str, state: str = "started", **env: str) -> dict[str, Any]:
    return {"id": name, "state": state, "config": {"image": "i", "env": {"DEPLOYMENT_ID": f"of {name}", **env}}}


def of(deployment: str, state: str = "started") -> dict[str, Any]:
    """A machine of a deployment."""
    return {**machine(f"m of {deployment}", state), "config": {"env": {"DEPLOYMENT_ID": deployment}}}


def complaint(expect: Any, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


def requests(series: Series) -> list[Http]:
    assert all(isinstance(one, Http) for one in series.commands)
    return list(series.commands)  # type: ignore[arg-type]


# --- who holds it


def test_a_secret_is_found_under_every_name_and_in_every_place() -> None:
    machines = Reply((machine("m1", POSTGRES_PASSWORD=DROPPED),))
    seen = judge(rotation_places.held(PASSWORD), [FLY, VERCEL, machines]).seen
    assert seen == f"Fly: {PASSWORD}; Vercel: {PASSWORD}, POSTGRES_PASSWORD; machines: m1"


@pytest.mark.parametrize(
    ("secret", "words"),
    [("SUPABASE_DB_PASSWROD", "is it spelled right"), ("VERCEL_TOKEN", "operator's own"), ("CRON_SECRET", "")],
)
def test_a_secret_must_be_held_by_the_platform(secret: str, words: str) -> None:
    found = complaint(rotation_places.held(secret), FLY, VERCEL, Reply())
    assert words in found and bool(words) == bool(found)


# --- changing it


def test_only_the_database_password_is_reset() -> None:
    [sent] = requests(rotation_places.reset(PASSWORD))
    assert (sent.method, sent.json) == ("PATCH", {"password": "$NEW_SECRET"})
    assert rotation_places.reset("OPENROUTER_API_KEY") == Series()


def test_every_name_is_set_where_it_is_held_and_nowhere_else() -> None:
    [staged] = requests(rotation_places.stage(FLY, PASSWORD))
    [mirrored] = requests(rotation_places.mirror(VERCEL, PASSWORD))
    assert staged.json == {"values": {PASSWORD: "$NEW_SECRET"}}
    assert {(one["key"], one["type"], one["value"]) for one in mirrored.json} == {
        (PASSWORD, "sensitive", "$NEW_SECRET"),
        ("POSTGRES_PASSWORD", "encrypted", "$NEW_SECRET"),
    }
    assert rotation_places.stage(FLY, "CRON_SECRET") == Series()
    assert rotation_places.mirror(Reply(), PASSWORD) == Series()


def test_both_sides_of_the_door_are_tried() -> None:
    assert rotation_places.logins(PASSWORD) == (Login("NEW_SECRET"), Login(PASSWORD))
    yes, no = (Reply(({"variable": "V", "accepted": accepted},)) for accepted in (True, False))
    assert complaint(rotation_places.let_in(PASSWORD), yes, no) == ""
    for wrong in ([yes, yes], [no, no], [no, yes], [yes, Reply()]):
        assert "the old one refused" in complaint(rotation_places.let_in(PASSWORD), *wrong)
    assert complaint(rotation_places.let_in("CRON_SECRET"), yes) == ""


@pytest.mark.parametrize("secret", [PASSWORD, "CRON_SECRET"])
def test_a_place_that_was_passed_over_is_named(secret: str) -> None:
    fly = Reply(tuple({**row, "digest": "new"} for row in FLY.rows))
    vercel = Reply(tuple({**row, "updatedAt": 2} for row in VERCEL.rows))
    expect = rotation_places.changed(secret, NOTED)
    assert complaint(expect, fly, vercel) == ""
    assert f"not changed since this run began: Vercel's {secret}" in complaint(expect, fly, VERCEL)
    assert "gone since this run began: " in complaint(expect, Reply(), Reply())


# --- the machines

NAMES = st.text("abcdef", min_size=1, max_size=4)
STATES = st.sampled_from(["started", "starting", "stopped", "destroyed", "failed", "replacing"])


@given(st.dictionaries(NAMES, STATES, max_size=5), st.data())
def test_every_machine_that_lacks_the_value_is_updated_once_and_no_other(there: dict[str, str], data: Any) -> None:
    machines = Reply(tuple(machine(name, state) for name, state in there.items()))
    running = [one.path.split("/")[-2] for one in requests(rotation_machines.restart(FLY, machines, PASSWORD))]
    assert running == [name for name, state in there.items() if state in ("started", "starting", "replacing")]

    right = {name for name in running if data.draw(st.booleans())}
    rows = tuple({"exit_code": 0, "stdout": f"{HASH if name in right else OLD}  -\n"} for name in running)
    answers = (Reply(rows), Reply(text=f"{HASH}  -\n"))
    updates = requests(rotation_machines.update_lacking(PROFILE, (FLY, machines), answers, PASSWORD))
    assert {one.path.split("/")[-1] for one in updates} == {n for n, s in there.items() if s != "destroyed"} - right
    assert all(("skip_launch" in one.json) == (one.path.split("/")[-1] not in running) for one in updates)
    assert judge(rotation_machines.answered(), answers).complaint is None
    assert (judge(rotation_machines.arrived(FLY, machines, PASSWORD, updated=machines), answers).complaint is None) == (
        right == set(running)
    )


def test_a_machine_without_a_hash_is_no_answer() -> None:
    here = Reply(text=f"{HASH}  -\n")
    for row in ({"exit_code": 127, "stdout": HASH}, {"exit_code": 0, "stdout": DROPPED}, {"exit_code": 0}):
        assert complaint(rotation_machines.answered(), Reply((row,)), here) == "1 of 2 gave no hash"
    assert (
        complaint(
            rotation_machines.arrived(FLY, Reply(), PASSWORD, updated=Reply()),
            Reply(({"exit_code": 0, "stdout": ""},)),
            Reply(),
        )
        == "1 of 1 machines have the new value"
    )


def test_an_update_replaces_the_value_and_sends_back_what_it_knows(chosen: profiles.Settings) -> None:
    there = machine("m1", POSTGRES_PASSWORD=DROPPED, CRON_SECRET=DROPPED, FLY_LIVE_RUNNER_APP="app")
    answers = (Reply(({"exit_code": 0, "stdout": OLD},)), Reply(text=HASH))
    [sent] = requests(rotation_machines.update_lacking(chosen, (FLY, Reply((there,))), answers, PASSWORD))
    assert sent.json["config"]["image"] == "i"
    assert sent.json["config"]["env"] == {
        "DEPLOYMENT_ID": "of m1",
        "POSTGRES_PASSWORD": "$NEW_SECRET",
        "CRON_SECRET": "$CRON_SECRET",
        "FLY_LIVE_RUNNER_APP": "app",
    }


def test_a_machine_with_a_value_nobody_here_knows_is_not_updated(chosen: profiles.Settings) -> None:
    there = machine("m1", SOMEBODY_ELSES_KEY=DROPPED)
    answers = (Reply(({"exit_code": 0, "stdout": OLD},)), Reply(text=HASH))
    with pytest.raises(ConfigError, match="machine m1 was made with values that this run does not know"):
        rotation_machines.update_lacking(chosen, (FLY, Reply((there,))), answers, PASSWORD)


@pytest.mark.parametrize("name", ["SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD"])
def test_a_machine_and_this_one_hash_the_same_value_alike(name: str) -> None:
    inside, here = rotation_machines.asked(FLY, Reply((machine("m1"),)), PASSWORD)
    [asked] = requests(inside)  # type: ignore[arg-type]
    value, nonce = "S3cret-of.today~", "0b5c"
    body = json.loads(json.dumps(asked.filled(lambda _: nonce).json))
    there = subprocess.run(
        body["command"], env={name: value, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    line = here.filled(lambda _: nonce).line  # type: ignore[union-attr]
    ours = subprocess.run(
        ["sh", "-c", line],
        env={"NEW_SECRET": value, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout == ours.stdout
    assert there.stdout[:64] == hashlib.sha256(f"{nonce}{value}".encode()).hexdigest()


# --- the runners

AWAKE = Reply((of("d1"), of("d2")))


def up(name: str, status: str, started: str = "10:00:05", reconciled: str = "10:00:06") -> dict[str, Any]:
    day = "2026-11-22T"
    return {"id": name, "status": status, "started": f"{day}{started}Z", "compared": f"{day}{reconciled}Z"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((up("d1", "running"), up("d2", "paused")), ""),
        ((up("d1", "running"), up("d2", "running")), "d2 was paused and is running"),
        ((up("d1", "error"), up("d2", "paused")), "d1 was running and is error: no error text"),
        ((up("d1", "running"),), "d2 is not in the database"),
        ((up("d1", "running", started="09:59:00"), up("d2", "paused")), "d1 has not started again"),
        ((up("d1", "running", reconciled="10:00:04"), up("d2", "paused")), "d1 has not reconciled since it started"),
    ],
)
def test_deployments_must_be_as_they_were(rows: tuple[dict[str, Any], ...], words: str) -> None:
    expect = rotation_machines.as_noted(NOTED, FLY, Reply((machine("m1"),)), PASSWORD)
    assert complaint(expect, Reply(rows), AWAKE).startswith(words)
    assert bool(complaint(expect, Reply(rows), AWAKE)) == bool(words)


def test_runners_that_were_not_restarted_need_not_start_again() -> None:
    rows = (up("d1", "running", "09:00:00", "09:59:59"), up("d2", "paused", "09:00:00", "09:59:59"))
    assert (
        complaint(rotation_machines.as_noted(NOTED, FLY, Reply((machine("m1"),)), "CRON_SECRET"), Reply(rows), AWAKE)
        == ""
    )


def test_each_deployment_gets_a_command_of_its_own() -> None:
    sent = rotation_machines.snapshot_each(["d1", "d2"]).commands
    assert [one.values["deployments"] for one in sent] == [["d1"], ["d2"]]  # type: ignore[union-attr]
    assert rotation_machines.snapshot_each([]) == Series()


@pytest.mark.parametrize(
    ("status", "commanded", "state", "right"),
    [
        ("stopped", "stop", "destroyed", True),
        ("paused", "pause", "stopped", True),
        ("paused", "pause", "started", False),  # its runner has not started again
        ("paused", None, "stopped", False),
        ("stopped", "pause", "stopped", False),
        ("running", None, "stopped", False),
    ],
)
def test_what_somebody_commanded_meanwhile_is_right(
    status: str, commanded: str | None, state: str, right: bool
) -> None:
    expect = rotation_machines.as_noted(NOTED, FLY, Reply((machine("m1"),)), PASSWORD)
    rows = Reply(({**up("d1", status, started="09:59:00"), "commanded": commanded}, up("d2", "paused")))
    assert (complaint(expect, rows, Reply((of("d1", state), of("d2")))) == "") is right


def test_a_paused_runner_that_died_of_the_restart_is_missed() -> None:
    expect = rotation_machines.as_noted(NOTED, FLY, Reply((of("d2"),)), PASSWORD)
    rows = Reply((up("d1", "running"), up("d2", "paused", started="09:59:00")))
    assert complaint(expect, rows, Reply((of("d1"), of("d2", "stopped")))) == "d2 has not started again"


def test_only_a_runner_whose_machine_is_awake_must_hear() -> None:
    rows = Reply((up("d1", "running"), up("d2", "paused"), up("d3", "stopped")))
    machines = Reply((of("d1"), of("d2", "stopped"), of("d3")))
    assert rotation_machines.listening(rows, machines) == ["d1"]


def test_a_machine_at_rest_must_have_been_updated() -> None:
    resting, here = Reply((machine("m1", "stopped"),)), Reply(text=f"{HASH}  -\n")
    known, new = (rotation_machines.arrived(FLY, resting, PASSWORD, updated=r) for r in (resting, Reply()))
    assert "at rest, updated and not asked: m1" in judge(known, [Reply(), here]).seen
    assert complaint(known, Reply(), here) == ""
    assert complaint(new, Reply(), here) == "at rest, and neither updated nor asked: m1"


def test_the_cron_endpoints_are_tried_with_the_old_secret_or_a_wrong_one() -> None:
    keys = {
        secret: (rotation_places.cron_key(secret), rotation_places.old_cron_key(secret))
        for secret in ("CRON_SECRET", PASSWORD)
    }
    assert keys == {
        "CRON_SECRET": ("Bearer $NEW_SECRET", "Bearer $CRON_SECRET"),
        PASSWORD: ("Bearer $CRON_SECRET", "Bearer not-the-secret"),
    }
