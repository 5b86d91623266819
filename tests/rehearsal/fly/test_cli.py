"""The stand-in of the fly command, as the runbook runs it: first on the PATH of a rehearsal."""

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
