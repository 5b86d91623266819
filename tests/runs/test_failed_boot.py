"""A runner that did not come up ends no phase for good: it is deployed again, and the run goes on with its wallet."""

from __future__ import annotations

import os

import pytest

from runbook_lib.commands.command import http
from runbook_lib.records import history, plan
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.runs import headless
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from tests.core_fixtures import fault_of

PHASE = "phase_2_first_mainnet"


@pytest.fixture
def ready(tmp_path):
    """A rehearsal in which phase 1 has passed, and this environment's."""
    with rehearse(state="mainnet_ready") as running:
        os.environ.update(running.environment)
        os.environ["PATH"] = f"{running.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        os.environ["RUNBOOK_RECORDS"] = str(tmp_path)
        yield running


def test_what_did_not_come_up_is_deployed_again_and_needs_no_other_wallet(ready):
    settings, notebook = profiles.load("rehearsal"), plan.notebook(PHASE)
    with fault_of(ready, "password-wrong"):
        failed = headless.run(settings, notebook, {}, override="a test")
    outcomes = history.read(failed.record).outcomes()
    assert outcomes["2.4k"]["outcome"] == "failed" and "then deploy again with this agent" in outcomes["2.4k"]["fix"]

    services = Services(settings)
    deployed = services.change(http("person", "POST /gestures/deploy_live", json={})).value("deployment_id")
    services.close()
    resumed = headless.run(settings, notebook, {}, parent=failed.record, override="a test")

    assert resumed.outcome == "passed", resumed.seal
    before, after = history.read(failed.record), history.read(resumed.record)
    assert after.reply("2.4j").value("id") == deployed != before.reply("2.4j").value("id")
    assert after.reply("2.4e").value("address") == before.reply("2.4e").value("address")
