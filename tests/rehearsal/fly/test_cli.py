"""The stand-in of the fly command, as the runbook runs it: first on the PATH of a rehearsal."""

import base64
import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from runbook_lib.rehearsal.fly.cli import parser
from runbook_lib.settings.profiles import ROOT
from tests.rehearsal.conftest import client

SETTINGS = ["--config", "apps/live-runner/fly.toml", "--dockerfile", "apps/live-runner/Dockerfile"]
# A command on a machine as a fix advises it: `fly machines update <id> --env <NAME>=... -a <app>`.
ADVISED = re.compile(r"fly machines? [a-z]+(?: (?:<\w+>[=.]*|--?[a-z]+|SIG[A-Z]+|[a-z]+-[a-z-]+))+")
BUILD = ["--remote-only", "--build-only", "--push"]


@pytest.fixture
def fly(rehearsal):
    """Runs the command in the fake checkout; returns the finished process."""

    def run(*arguments, folder="", token=None):
        environment = {
            "PATH": f"{rehearsal.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "FLY_API_TOKEN": rehearsal.environment["FLY_API_TOKEN"] if token is None else token,
        }
        place = Path(rehearsal.addresses["repository"]) / folder
        command = ["fly", *arguments]
        return subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@pytest.fixture
def app(rehearsal):
    name = f"app-{uuid.uuid4().hex[:8]}"
    with client(rehearsal, "fly", "FLY_API_TOKEN") as api:
        api.post("/v1/apps", json={"name": name, "org_slug": "rehearsal"}).raise_for_status()
    return name


def test_it_says_its_version(fly):
    assert fly("version").stdout.startswith("fly v")


def test_it_needs_a_token_that_is_good_and_an_app_that_is_there(fly, app):
    assert "no access token available" in fly("deploy", *SETTINGS, *BUILD, "-a", app, token="").stderr
    assert "unauthenticated" in fly("deploy", *SETTINGS, *BUILD, "-a", app, token="wrong").stderr
    assert "App not found: another" in fly("deploy", *SETTINGS, *BUILD, "-a", "another").stderr


def test_secrets_deploy_is_refused_with_the_vendors_words(fly, app):
    refused = fly("secrets", "deploy", "-a", app)

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: no machines available to deploy\n")


def test_a_build_from_the_repository_root_pushes_an_image_and_prints_its_tag_but_no_digest(fly, app):
    built = fly("deploy", *SETTINGS, *BUILD, "-a", app)

    assert built.returncode == 0, built.stderr
    assert re.search(rf"^image: registry\.fly\.io/{app}:deployment-[0-9A-HJKMNP-TV-Z]{{26}}$", built.stdout, re.M)
    assert re.search(r"^image size: \d+ MB$", built.stdout, re.M)
    assert "sha256" not in built.stdout


def test_a_build_from_inside_the_app_finds_no_such_file(fly, app):
    settings = ["--config", "fly.toml", "--dockerfile", "Dockerfile"]
    lost = fly("deploy", *settings, *BUILD, "-a", app, folder="apps/live-runner")
    elsewhere = fly("deploy", *SETTINGS, *BUILD, "-a", app, folder="apps/live-runner")

    assert (lost.returncode, elsewhere.returncode) == (1, 1)
    assert "failed to compute cache key" in lost.stderr
    assert "no such file" in lost.stderr
    assert "no such file" in elsewhere.stderr


# -- machines, secrets, logs


@pytest.fixture
def machine(rehearsal, app):
    """A machine whose process waits; its id."""
    with client(rehearsal, "fly", "FLY_API_TOKEN") as api:
        basic = base64.b64encode(f"x:{rehearsal.environment['FLY_API_TOKEN']}".encode()).decode()
        manifest = f"{rehearsal.addresses['registry']}/v2/{app}/manifests/test"
        httpx.put(manifest, content=b"{}", headers={"Authorization": f"Basic {basic}"}).raise_for_status()
        config = {"image": f"registry.fly.io/{app}:test", "env": {"A": "1"}, "restart": {"policy": "no"}}
        made = api.post(f"/v1/apps/{app}/machines", json={"config": config, "skip_launch": True})
        made.raise_for_status()
        yield made.json()["id"]
        api.delete(f"/v1/apps/{app}/machines/{made.json()['id']}", params={"force": "true"})


def test_machines_are_listed_as_the_api_has_them(fly, app, machine):
    [listed] = json.loads(fly("machines", "list", "-a", app, "--json").stdout)
    assert (listed["id"], listed["config"]["env"]) == (machine, {"A": "1"})
    assert machine in fly("machine", "list", "-a", app).stdout


def test_an_app_without_machines_says_so(fly, app):
    assert fly("machines", "list", "-a", app).stdout == f"No machines are available on this app {app}\n"


def test_a_machine_is_updated_and_destroyed_as_fixes_advise(fly, app, machine):
    assert "updated successfully" in fly("machines", "update", machine, "--env", "B=2", "-a", app, "--yes").stdout
    [listed] = json.loads(fly("machines", "list", "-a", app, "--json").stdout)
    assert listed["config"]["env"] == {"A": "1", "B": "2"}
    assert fly("machines", "destroy", machine, "--force").stdout == f"{machine} has been destroyed\n"
    assert "No machines" in fly("machines", "list", "-a", app).stdout


def test_every_machine_command_that_a_fix_advises_is_known():
    sources = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "runbook_lib").rglob("*.yaml")]
    advised = {command.rstrip(".") for path in sources for command in ADVISED.findall(path.read_text())}
    assert {command.split()[2] for command in advised} >= {"destroy", "restart", "stop", "update"}
    for command in advised:
        parser().parse_args(command.split()[1:])  # exits where it does not know a word


def test_a_machine_that_nobody_has_is_not_found(fly, app):
    refused = fly("machines", "stop", "0000000000", "--signal", "SIGKILL")
    assert (refused.returncode, "machine not found" in refused.stderr) == (1, True)


def test_secrets_are_set_and_listed_by_digest(fly, app):
    assert "staged" in fly("secrets", "set", "KEY=value=1", "-a", app).stdout
    [listed] = json.loads(fly("secrets", "list", "-a", app, "--json").stdout)
    assert (listed["name"], "value" in listed) == ("KEY", False)
    assert "NAME=VALUE" in fly("secrets", "set", "KEY", "-a", app).stderr


def test_logs_come_from_the_host_that_has_them(fly, app, machine):
    assert fly("logs", "-a", app, "-i", machine, "--no-tail").returncode == 0
    assert fly("logs", "-a", app, token="wrong").returncode == 1
