"""vercel and @vercel/sdk, as they are published, read and change the rehearsal's project as they do a real one."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from runbook_lib.rehearsal.lifecycle import rehearse
from tests.rehearsal.conftest import client
from tests.vendors.fronts import one_host
from tests.vendors.npm import SILENT, installed

TEAM, PROJECT, SWEEP = "team_rehearsal", "agentic-trading", "/api/jobs/heartbeat-sweep"
CLI, SDK = "vercel@60.1.3", "@vercel/sdk@1.28.35"
WITHOUT_BUILDERS = ("--omit=optional",)  # what the command line needs only to build


@pytest.fixture(scope="module")
def clients():
    """The folder of each client; made before anything is started, for it may not be there."""
    return {CLI: installed(CLI, options=WITHOUT_BUILDERS), SDK: installed(SDK)}


@pytest.fixture(scope="module")
def running(clients):
    with rehearse() as up:
        yield up


@pytest.fixture
def vercel(clients, running, tmp_path):
    """Runs the command line as a build server does: token, team and project are named by variables.

    Told of another API, it asks that host for the log of requests too, which is vercel.com's.
    """
    script = str(clients[CLI] / "node_modules" / "vercel" / "dist" / "vc.js")

    def base(path):
        return running.addresses["vercel_logs" if path.startswith("/api/") else "vercel"]

    with one_host(base) as api:
        environment = SILENT | {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "VERCEL_TOKEN": running.environment["VERCEL_TOKEN"],
            "VERCEL_ORG_ID": TEAM,
            "VERCEL_PROJECT_ID": PROJECT,
        }

        def command(*words, **other):
            return subprocess.run(
                ["node", script, "--api", api, *words],
                cwd=tmp_path, env=environment | other, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip

        yield command


def test_the_command_line_says_who_it_is_and_is_refused_with_a_wrong_token(vercel):
    assert vercel("whoami").stdout == "operator\n"
    refused = vercel("whoami", VERCEL_TOKEN="wrong")
    assert (refused.returncode, "token" in refused.stderr) == (1, True), refused.stderr


def test_the_command_line_adds_a_variable_once_and_pulls_none_that_is_secret(vercel, running, tmp_path):
    added = vercel("env", "add", "FROM_CLI", "production", "--value", "hidden", "--yes")
    assert added.returncode == 0, added.stderr
    again = vercel("env", "add", "FROM_CLI", "production", "--value", "other", "--yes")
    assert (again.returncode, "exists in your project" in again.stderr) == (1, True), again.stderr
    assert vercel("pull", "--yes", "--environment", "production").returncode == 0
    lines = (tmp_path / ".vercel" / ".env.production.local").read_text().splitlines()
    pulled = dict(line.split("=", 1) for line in lines if "=" in line)
    assert pulled["SUPABASE_URL"] == f'"{running.environment["SUPABASE_URL"]}"'
    assert pulled["FROM_CLI"] == '"[SENSITIVE]"'


def test_the_command_line_runs_a_cron_and_finds_it_in_the_log_of_requests(vercel, running):
    assert vercel("crons", "run", SWEEP).returncode == 0
    [line, *_] = [json.loads(line) for line in vercel("logs", "--json").stdout.splitlines()]
    assert (line["requestPath"], line["environment"]) == (SWEEP, "production")


def test_the_command_line_redeploys_what_serves(vercel, running):
    with client(running, "vercel", "VERCEL_TOKEN") as api:
        [before] = api.get("/v7/deployments", params={"limit": 1}).json()["deployments"]
        done = vercel("redeploy", before["uid"], "--target", "production", "--scope", TEAM)
        assert done.returncode == 0, done.stderr
        [after] = api.get("/v7/deployments", params={"limit": 1}).json()["deployments"]
    assert (after["uid"] != before["uid"], after["readyState"]) == (True, "READY")
    assert after["meta"]["githubCommitSha"] == before["meta"]["githubCommitSha"]


def test_the_sdk_finds_every_answer_in_its_shape(clients, running):
    script = str(Path(__file__).with_name("vercel_sdk.mjs"))
    command = ["node", script, str(clients[SDK]), running.addresses["vercel"], TEAM, PROJECT]
    environment = {"PATH": os.environ["PATH"], "VERCEL_TOKEN": running.environment["VERCEL_TOKEN"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    assert json.loads(done.stdout) == {
        "user": "operator",
        "team": "rehearsal",
        "projects": [PROJECT],
        "created": "FROM_SDK",
        "twice": 400,
        "listed": [["1", ["production"]]],
        "deployment": ["READY", "production"],
        "withoutTeam": 404,
    }
