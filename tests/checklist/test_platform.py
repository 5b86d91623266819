"""The platform: its tools' outputs, its variables and its schedules, judged as they really look."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.checklist.platform import (
    applied,
    halted,
    image_tag,
    migration_files,
    owned_machines,
    pinned_image,
    production_variables,
    push_migrations,
    pushed,
    scheduled,
    set_variables,
    sweep_command,
    sweep_runs,
)
from runbook_lib.commands.command import Http, Reply
from runbook_lib.commands.expectations import Expectation, judge
from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import load
from runbook_lib.steps.spoiling import spoiled

NOW = datetime(2026, 11, 22, 14, 53, 57, tzinfo=UTC)
DIGEST = f"sha256:{64 * 'a'}"


def of(*rows: dict[str, Any], **facts: Any) -> Reply:
    return Reply(rows, **facts)


def complaint(expect: Expectation, *replies: Reply) -> str:
    return judge(expect, replies).complaint or ""


def can_fail(expect: Expectation, *replies: Reply) -> bool:
    return any(judge(expect, bad).complaint for _, bad in spoiled(replies))


# --- migrations

V2 = "2.122.1\nA new version of Supabase CLI is available: v3.1.0 (currently installed v2.122.1)\n"
V3 = "3.1.0\n"
LINES = "Applying migration 0001_init.sql...\nFinished supabase db push.\n"
PUSH_2 = "Connecting to remote database...\nDo you want to push these migrations to the remote database?\n" + LINES
PUSH_3 = "Target: remote (abcdefghijklmnopqrst)\n" + LINES


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        (V2, "--linked --yes"),
        ("1.200.3", "--linked --yes"),
        (V3, "--remote --yes"),
        ("supabase 10.0.1", "--remote --yes"),
    ],
)
def test_the_push_is_the_one_for_the_version_that_is_installed(version: str, flags: str) -> None:
    assert push_migrations(version).line == f"supabase db push --workdir packages/db {flags}"
    assert not push_migrations(version).read_only


@pytest.mark.parametrize("version", ["", "supabase", "three"])
def test_a_tool_that_prints_no_version_is_named(version: str) -> None:
    for build in (push_migrations, pushed):
        with pytest.raises(ConfigError, match="printed no version"):
            build(version)


@pytest.mark.parametrize(
    ("version", "output"),
    [
        (V2, PUSH_2),
        (V2, "Connecting to remote database...\nRemote database is up to date.\n"),
        (V3, PUSH_3),
        (V3, "Target: remote (localtraderabcdefghi)\nRemote database is up to date.\n"),
    ],
)
def test_a_push_to_the_project_passes(version: str, output: str) -> None:
    assert complaint(pushed(version), of(text=output, status=0)) == ""
    assert can_fail(pushed(version), of(text=output, status=0))


@pytest.mark.parametrize(
    ("version", "output", "words"),
    [
        (V3, "Target: local\n" + LINES, "found Target: local"),
        (V3, "Target: local\nLocal database is up to date.\n", "found Target: local"),
        (V3, "Target: remote (localhost:54322)\n" + LINES, "localhost"),
        (V3, PUSH_3 + "Target: local\n", "found Target: local"),
        (V3, LINES, "no Target: line"),
        (V3, "Target: remote (x)\nApplying migration 0001_init.sql...\n", "the end of a push"),
        (V2, "Connecting to local database...\nLocal database is up to date.\n", "the end of a push"),
        (V2, "Connecting to remote database...\nApplying migration 0001_init.sql...\n", "the end of a push"),
        (V2, "", "the end of a push"),
    ],
)
def test_a_push_elsewhere_or_one_that_did_not_end_is_complained_of(version: str, output: str, words: str) -> None:
    assert words in complaint(pushed(version), of(text=output, status=0))


def test_a_push_that_broke_says_what_the_tool_said() -> None:
    assert complaint(pushed(V3), of(text=PUSH_3, status=1, error="exit 1: ERROR: syntax")) == "exit 1: ERROR: syntax"


@pytest.fixture
def repository(tmp_path: Path) -> str:
    folder = tmp_path / "packages/db/supabase/migrations"
    folder.mkdir(parents=True)
    names = ("0002_more.sql", "0001_init.sql", "20261122000000_late_one.sql", "README.sql", "0009.sql", "notes.md")
    for name in names:
        (folder / name).write_text("select 1;", encoding="utf-8")
    return str(tmp_path)


VERSIONS = ["0001", "0002", "20261122000000"]


def test_files_that_the_tool_would_pass_over_are_no_migrations(repository: str) -> None:
    assert migration_files(repository) == VERSIONS


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (VERSIONS, ""),
        (VERSIONS[:2], "pending: 20261122000000"),
        ([], "pending: 0001, 0002, 20261122000000"),
        ([*VERSIONS, "20990101000000"], "not in the repository: 20990101000000"),
        (["0001", "0003"], "pending: 0002, 20261122000000; not in the repository: 0003"),
        ([*VERSIONS, None], "not in the repository: None"),
    ],
)
def test_applied_migrations_are_exactly_the_files(repository: str, versions: list[Any], words: str) -> None:
    found = of(*({"version": version} for version in versions))
    assert complaint(applied(repository), found) == words
    assert words or can_fail(applied(repository), found)


def test_a_folder_without_migrations_never_passes(tmp_path: Path) -> None:
    assert "no migration files in" in complaint(applied(str(tmp_path)), of())


# --- image

BUILD = """==> Building image
#9 [internal] load metadata for docker.io/library/node:22
--> Pushing image done
image: registry.fly.io/agentic-live-runner:deployment-01JD.x_y-Z
image size: 212 MB
"""


def test_the_tag_of_a_build_is_read_from_its_image_line() -> None:
    assert image_tag(of(text=BUILD)) == "deployment-01JD.x_y-Z"
    assert image_tag(of(text="image: 127.0.0.1:5000/agentic-live-runner:v1")) == "v1"
    assert image_tag(of(text="image: r/a:old\nimage: r/a:new\n")) == "new"


@pytest.mark.parametrize(
    "text", ["", "image size: 3 MB", "no image: a", "image: 127.0.0.1:5000/runner", f"image: r/runner@{DIGEST}"]
)
def test_a_build_without_a_tag_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="names no image"):
        image_tag(of(text=text))


def test_the_image_is_pinned_by_digest() -> None:
    pinned = pinned_image(of(text=BUILD), of({"docker_content_digest": DIGEST}))
    assert pinned == f"registry.fly.io/agentic-live-runner@{DIGEST}"


@pytest.mark.parametrize("rows", [[], [{}], [{"docker_content_digest": None}], [{"docker_content_digest": "sha256:a"}]])
def test_no_image_is_pinned_without_a_digest(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="holds no digest"):
        pinned_image(of(text=BUILD), of(*rows))


# --- machines


def machine(name: str, **env: str) -> dict[str, Any]:
    return {"id": name, "state": "started", "config": {"env": env}}


ROWS = Reply(({"id": "d1", "status": "running"}, {"id": "d2", "status": "stopped"}))


def unowned(*machines: dict[str, Any]) -> str:
    return owned_machines().judge([of(*machines), ROWS]).complaint or ""


def test_machines_of_deployments_pass_and_so_does_none() -> None:
    stopped = {**machine("148f", DEPLOYMENT_ID="d2"), "state": "stopped"}
    for machines in ((), (machine("148e", DEPLOYMENT_ID="d1"),), (machine("148e", DEPLOYMENT_ID="d1"), stopped)):
        assert unowned(*machines) == ""


@pytest.mark.parametrize(
    "stray",
    [
        machine("x"),
        machine("x", DEPLOYMENT_ID=""),
        machine("x", DEPLOYMENT_ID="d9"),  # it carries an id, and no row has it
        {"id": "x"},
        {"id": "x", "config": None},
        {"id": "x", "config": {"env": [1]}},
    ],
)
def test_a_machine_of_no_deployment_is_named(stray: dict[str, Any]) -> None:
    assert "machine x is of no deployment" in unowned(machine("148e", DEPLOYMENT_ID="d1"), stray)


def test_a_machine_that_is_up_for_a_deployment_that_has_stopped_is_named() -> None:
    assert "machine x is started, and its deployment d2 has stopped" in unowned(machine("x", DEPLOYMENT_ID="d2"))


# --- variables

WANTED = {
    "FLY_API_TOKEN": "$FLY_DEPLOY_TOKEN",
    "FLY_LIVE_RUNNER_APP": "agentic-live-runner",
    "NEXT_PUBLIC_THIRDWEB_CLIENT_ID": "$NEXT_PUBLIC_THIRDWEB_CLIENT_ID",
    "DATABASE_URL": "postgresql://postgres:$SUPABASE_DB_PASSWORD@db",
}


def variable(key: Any, target: Any = ("production",), value: Any = None) -> dict[str, Any]:
    return {"key": key, "target": list(target) if isinstance(target, tuple) else target, "value": value}


def body(command: Http) -> dict[str, str]:
    assert all(one["target"] == ["production"] for one in command.json)
    return {one["key"]: one["type"] for one in command.json}


def test_secrets_are_set_so_that_they_cannot_be_read_and_public_values_so_that_they_can() -> None:
    assert body(set_variables(of(), WANTED)) == {
        "FLY_API_TOKEN": "sensitive",
        "FLY_LIVE_RUNNER_APP": "plain",
        "NEXT_PUBLIC_THIRDWEB_CLIENT_ID": "plain",
        "DATABASE_URL": "sensitive",
    }


def test_a_secret_that_is_there_is_left_alone_and_a_public_value_is_set_again() -> None:
    there = of(variable("FLY_API_TOKEN"), variable("FLY_LIVE_RUNNER_APP"), variable("DATABASE_URL", "production"))
    assert set(body(set_variables(there, WANTED))) == {"FLY_LIVE_RUNNER_APP", "NEXT_PUBLIC_THIRDWEB_CLIENT_ID"}


@pytest.mark.parametrize("target", [("preview",), ("preview", "development"), "preview", None, (), "preproduction", 5])
def test_a_secret_that_is_there_for_preview_only_is_set(target: Any) -> None:
    assert "FLY_API_TOKEN" in body(set_variables(of(variable("FLY_API_TOKEN", target)), WANTED))


def test_what_is_sensitive_stays_sensitive_whatever_its_value() -> None:
    there = of({**variable("FLY_LIVE_RUNNER_APP"), "type": "sensitive"})
    assert body(set_variables(there, WANTED))["FLY_LIVE_RUNNER_APP"] == "sensitive"


def test_a_readable_value_that_nobody_can_read_is_told_apart_from_a_wrong_one() -> None:
    hidden = {**variable("FLY_LIVE_RUNNER_REGION", value=""), "type": "sensitive"}
    said = complaint(LIVE, of(variable("CRON_SECRET"), variable("POSTGRES_PASSWORD"), hidden))
    assert said.startswith("FLY_LIVE_RUNNER_REGION is sensitive, so nobody can read it")


def test_setting_variables_overwrites_and_is_sent_once() -> None:
    command = set_variables(of(), WANTED)
    assert (command.method, command.target) == ("POST", "/v10/projects/{vercel.project}/env?upsert=true")
    assert not command.read_only


LIVE = production_variables("CRON_SECRET", "SUPABASE_DB_PASSWORD|POSTGRES_PASSWORD", FLY_LIVE_RUNNER_REGION="nrt")
REGION = variable("FLY_LIVE_RUNNER_REGION", value="nrt")


@pytest.mark.parametrize("password", ["SUPABASE_DB_PASSWORD", "POSTGRES_PASSWORD"])
def test_variables_that_are_all_there_pass_under_either_name(password: str) -> None:
    found = of(variable("CRON_SECRET"), variable(password), REGION, variable("NEXT_PUBLIC_SUPABASE_URL"))
    assert complaint(LIVE, found) == ""
    assert judge(LIVE, [found]).seen == "4 for production; NEXT_PUBLIC_SUPABASE_URL"
    assert can_fail(LIVE, found)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([variable("POSTGRES_PASSWORD"), REGION], "CRON_SECRET is missing for production"),
        ([variable("CRON_SECRET", ("preview",)), variable("POSTGRES_PASSWORD"), REGION], "CRON_SECRET is missing"),
        ([variable("CRON_SECRET"), REGION], "SUPABASE_DB_PASSWORD|POSTGRES_PASSWORD is missing for production"),
        ([variable("CRON_SECRET"), variable("POSTGRES_PASSWORD")], "FLY_LIVE_RUNNER_REGION is missing for production"),
        (
            [variable("CRON_SECRET"), variable("POSTGRES_PASSWORD"), {**REGION, "value": "fra"}],
            "FLY_LIVE_RUNNER_REGION: expected 'nrt', found 'fra'",
        ),
        ([variable(["CRON_SECRET"], 5), variable(None, None), {}], "CRON_SECRET is missing for production"),
    ],
)
def test_a_variable_that_is_missing_or_wrong_is_named(rows: list[dict[str, Any]], words: str) -> None:
    assert words in complaint(LIVE, of(*rows))


# --- schedules

SWEEP, GC = "/api/jobs/heartbeat-sweep", "/api/jobs/pending-agents-gc"


def crons(sweep: Any, gc: Any = "0 4 * * *") -> Reply:
    return of({"path": SWEEP, "schedule": sweep}, {"path": GC, "schedule": gc})


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("0 3 * * *", "at most 1440 minutes apart (phase 2 stays closed: it needs 15 minutes)"),
        ("*/5 * * * *", "at most 5 minutes apart (tight enough for phase 2)"),
        ("*/15 * * * *", "at most 15 minutes apart (tight enough for phase 2)"),
        ("*/16 * * * *", "at most 16 minutes apart (phase 2 stays closed"),
        ("*/5 * * * 1-5", "at most 2885 minutes apart (phase 2 stays closed"),
        ("*/5 8-18 * * *", "phase 2 stays closed"),
        ("*/5 * * 1-11 *", "phase 2 stays closed"),
    ],
)
def test_a_schedule_is_shown_with_what_it_means_for_phase_2(schedule: str, words: str) -> None:
    found = judge(scheduled(SWEEP, GC), [crons(schedule)])
    assert found.complaint is None
    assert words in found.seen
    assert "pending-agents-gc next runs " in found.seen
    assert can_fail(scheduled(SWEEP, GC), crons(schedule))


@pytest.mark.parametrize(
    "schedule",
    [
        None,
        "",
        "never",
        "* * * *",
        "* * * * * *",
        "0 0 30 2 *",
        "61 * * * *",
        "*/0 * * * *",
        "@daily",
        5,
        "9" * 5000 + " * * * *",
    ],
)
def test_what_is_no_schedule_is_complained_of(schedule: Any) -> None:
    assert f"{SWEEP}: {str(schedule)!r} is not a cron schedule" == complaint(scheduled(SWEEP, GC), crons(schedule))


def test_a_cron_that_is_not_there_is_named() -> None:
    assert complaint(scheduled(SWEEP, GC), of({"path": GC, "schedule": "0 4 * * *"})) == f"no cron for {SWEEP}"
    assert complaint(scheduled(SWEEP), of({"path": [SWEEP], "schedule": "0 4 * * *"}, {})) == f"no cron for {SWEEP}"


@given(
    st.text(max_size=20)
    | st.text("0123456789*/-,L# JANMON", max_size=16)
    | st.lists(st.text("0159*/-,L#W", max_size=4), min_size=5, max_size=5).map(" ".join)
)
def test_any_text_is_a_schedule_or_is_said_to_be_none(schedule: str) -> None:
    found = judge(scheduled(SWEEP), [crons(schedule)])
    assert found.complaint is None or found.complaint.endswith("is not a cron schedule")
    assert found.complaint or "next runs" in found.seen


@pytest.mark.parametrize(
    ("sweep", "path", "good", "bad"),
    [
        (
            "vercel",
            "/v9/projects/{vercel.project}",
            {"disabledAt": None, "deploymentId": "dpl_1"},
            [{"disabledAt": 5, "deploymentId": "dpl_1"}, {"disabledAt": None, "deploymentId": None}],
        ),
        ("fly:jobs", "/v1/apps/jobs/machines", {"id": "m", "state": "started"}, [{"id": "m", "state": "stopped"}]),
    ],
)
def test_what_runs_the_sweep_is_asked_where_the_profile_says(
    sweep: str, path: str, good: dict[str, Any], bad: list[dict[str, Any]]
) -> None:
    chosen = load("rehearsal")
    chosen = chosen.model_copy(update={"web": chosen.web.model_copy(update={"sweep": sweep})})
    assert sweep_command(chosen).path == path
    assert sweep_command(chosen).read_only
    assert complaint(sweep_runs(chosen), of(good)) == ""
    assert can_fail(sweep_runs(chosen), of(good))
    assert all(complaint(sweep_runs(chosen), of(row)) for row in bad)
    assert complaint(sweep_runs(chosen), of())


HALT = (
    "   0.4 s  passed   Switch off\n   9.1 s  failed   Machine m1  still started\n  30.0 s  unknown  Flat  no answer\n"
)


def test_a_halt_that_did_not_pass_names_the_parts_that_did_not_and_not_the_end_of_its_output():
    output = f"{HALT}failed\nrecord /r/rehearsal/2026_halt\nseal   ab\nwhat failed is done by hand\n"
    complaint = halted().judge([Reply(status=1, error="exit 1: by hand", text=output)]).complaint
    assert complaint == "exit 1: 9.1 s failed Machine m1 still started; 30.0 s unknown Flat no answer"


def test_a_halt_that_passed_names_its_record_and_one_without_is_complained_of():
    passed = halted().judge([Reply(status=0, text="record /r/rehearsal/2026_halt\n")])
    assert (passed.complaint, passed.seen) == (None, "rehearsal/2026_halt")
    assert "no record" in halted().judge([Reply(status=0, text="passed")]).complaint
