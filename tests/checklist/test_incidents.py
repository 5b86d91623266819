"""The incident sheet: seven rows, found by their names or the checklist's words, nothing guessed."""

from __future__ import annotations

import pytest

from runbook_lib.checklist.incidents import SHEET, concerned, first_looks, incident, paused
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import judge
from runbook_lib.errors import ConfigError
from runbook_lib.settings import profiles
from tests.judging import can_fail

LIVE = {"id": "6f1d3f0e-5b0c-4a55-9f2a-7f3c2d1e9b40", "wallet": "0x1", "agent_address": "0x2"}


def found(symptom, deployment=LIVE):
    return incident(symptom, deployment, profiles.load("rehearsal"))


def test_the_sheet_has_the_checklists_seven_rows():
    assert len(SHEET) == 7


@pytest.mark.parametrize("name", SHEET)
def test_a_row_is_found_by_its_name_and_by_the_checklists_words(name):
    words = SHEET[name][0]

    assert found(name) == found(words.upper()) or found(name).guide == found(words.upper()).guide
    assert found(name).symptom == words


@pytest.mark.parametrize("name", SHEET)
def test_a_guide_says_what_to_do_first_and_when_to_halt(name):
    assert all(found(name).guide.values())
    assert "./runbook halt" in found(name).guide["go to halt"]


def test_an_unknown_symptom_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'wrong size'"):
        found("wrong sise")


def test_a_wrong_size_is_not_flattened():
    assert "flatten" not in repr(found("wrong size").action)


def test_a_paper_deployment_has_no_agent_to_revoke():
    with pytest.raises(ConfigError, match="has no agent"):
        found("agent key", {**LIVE, "agent_address": None, "wallet": None})


@pytest.mark.parametrize(("seconds", "obeyed"), [(-90, False), (0.1, True), (20.5, False), (None, False)])
def test_a_pause_is_acknowledged_after_it_was_sent_and_in_time(seconds, obeyed):
    answer = Reply(({"kind": "pause", "seconds": seconds, "status": "paused"},))
    assert (judge(paused("pause", 20.0), [answer]).complaint is None) is obeyed


DEPLOYMENT = Reply(({"id": "6f1d", "status": "running"},))
SERVING = Reply(({"id": "dpl_1"},))


@pytest.mark.parametrize("name", SHEET)
def test_only_the_cron_secret_asks_first_what_serves(name):
    asked = first_looks(SHEET[name][0])
    replies = [DEPLOYMENT, *[SERVING] * len(asked)]

    assert bool(asked) == (name == "cron secret")
    assert judge(concerned(name), replies).complaint is None
    assert can_fail(concerned(name), *replies)


def test_one_deployment_is_meant_but_for_the_whole_platform():
    both = Reply(DEPLOYMENT.rows * 2)
    assert "expected 1 row, found 2" in judge(concerned("big loss"), [both]).complaint
    assert judge(concerned("stop everything"), [both]).complaint is None
    assert judge(concerned("cron secret"), [both, Reply()]).complaint


def test_a_rotated_cron_secret_is_deployed_and_the_old_one_refused():
    rotated = incident("cron secret", LIVE, profiles.load("rehearsal"), serving="dpl_1")
    assert rotated.action.commands[1].json["deploymentId"] == "dpl_1"
    assert rotated.proof.headers == {"Authorization": "Bearer $CRON_SECRET"}
    assert rotated.within == profiles.load("rehearsal").budgets.redeploy
