"""The stand-in of the fly command, as the runbook runs it: first on the PATH of a rehearsal."""

import json
import os
import re
import subprocess
import uuid
from pathlib import Path

import pytest

from tests.rehearsal.conftest import client

SETTINGS = ["--config", "apps/live-runner/fly.toml", "--dockerfile", "apps/live-runner/Dockerfile"]
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
def app(fly):
    name = f"app-{uuid.uuid4().hex[:8]}"
    made = fly("apps", "create", name, "--org", "rehearsal")
    assert (made.returncode, made.stdout) == (0, f"New app created: {name}\n")
    return name


def test_it_says_its_version(fly):
    assert fly("version").stdout.startswith("fly v")


def test_an_app_that_exists_is_refused(fly, app):
    again = fly("apps", "create", app, "--org", "rehearsal")

    assert again.returncode == 1
    assert again.stderr == "Error: Validation failed: Name has already been taken\n"


def test_it_needs_a_token_that_is_good(fly, app):
    assert "no access token available" in fly("machines", "list", "-a", app, token="").stderr
    assert fly("machines", "list", "-a", app, token="wrong").returncode == 1


def test_secrets_are_set_and_listed_as_staged_without_their_values(fly, app):
    made = fly("secrets", "set", "A=one=1", "B=two", "-a", app)
    listed = fly("secrets", "list", "-a", app, "--json")

    assert made.stdout == "Secrets are staged for the first deployment\n"
    assert [(one["name"], one["status"]) for one in json.loads(listed.stdout)] == [("A", "Staged"), ("B", "Staged")]
    assert "* A" in fly("secrets", "list", "-a", app).stdout
    assert "one" not in listed.stdout
    assert fly("secrets", "set", "A", "-a", app).returncode == 1


def test_staged_secrets_touch_no_machine(fly, app):
    staged = fly("secrets", "set", "A=one", "-a", app, "--stage")

    assert (staged.returncode, staged.stdout.partition(".")[0]) == (
        0, "Secrets have been staged, but not set on VMs"
    )  # fmt: skip


def test_secrets_deploy_is_refused_with_the_vendors_words(fly, app):
    refused = fly("secrets", "deploy", "-a", app)

    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: no machines available to deploy\n")


def test_no_machines_is_an_empty_array_or_a_sentence(fly, app):
    assert json.loads(fly("machines", "list", "-a", app, "--json").stdout) == []
    assert fly("machines", "list", "-a", app).stdout == f"No machines are available on this app {app}\n"


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


def test_a_deploy_token_is_printed_and_works_for_its_app(fly, app):
    made = fly("tokens", "create", "deploy", "-a", app, "--expiry", "8760h")

    token = made.stdout.strip()
    assert token.startswith("FlyV1 fm2_")
    assert fly("machines", "list", "-a", app, token=token).returncode == 0
    assert fly("machines", "list", "-a", "another", token=token).returncode == 1


def test_a_machine_is_listed_asked_stopped_and_destroyed(fly, app, rehearsal):
    image = re.search(r"^image: (\S+)$", fly("deploy", *SETTINGS, *BUILD, "-a", app).stdout, re.M)[1]
    with client(rehearsal, "fly", "FLY_API_TOKEN") as api:
        config = {"image": image, "env": {"DEPLOYMENT_ID": str(uuid.uuid4())}, "restart": {"policy": "no"}}
        machine = api.post(f"/v1/apps/{app}/machines", json={"config": config}).json()["id"]
        api.get(f"/v1/apps/{app}/machines/{machine}/wait", params={"state": "stopped"})

    assert json.loads(fly("machines", "list", "-a", app, "--json").stdout)[0]["id"] == machine
    assert "runner: " in fly("logs", "-a", app, "-i", machine, "--no-tail").stdout
    line = json.loads(fly("logs", "-a", app, "-i", machine, "--no-tail", "--json").stdout.splitlines()[0])
    assert line["instance"] == machine
    assert fly("machines", "exec", machine, "printenv DEPLOYMENT_ID", "-a", app).returncode == 1, "it does not run"
    assert fly("machines", "destroy", machine, "-a", app).stdout.endswith(f"{machine} has been destroyed\n")
    assert fly("machines", "destroy", machine, "-a", app).returncode == 1
