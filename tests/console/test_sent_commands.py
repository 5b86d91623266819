"""A press: on the record before it leaves, followed to its effect, and honest when there is none."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from runbook_lib.agentic_trading.runner_commands import Target
from runbook_lib.console.sent_commands import press
from runbook_lib.records import history, record_folder, verify
from runbook_lib.rehearsal.runner.runner_faults import runner_fault
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from tests.core_fixtures import eventually

NOBODY = "postgresql://postgres@127.0.0.1:9/postgres"


@pytest.fixture
def database(on_paper):
    with Services(on_paper).database.connect() as connection:
        yield lambda statement, *values: connection.execute(statement, values or None).fetchall()


@pytest.fixture
def target(database):
    """The deployment, running."""
    one = str(database("select id from public.deployments order by created_at limit 1")[0]["id"])
    if status(database, one) == "paused":
        database("insert into public.agent_commands (deployment_id, kind) values (%s, 'resume') returning id", one)
    eventually(lambda: status(database, one) == "running", "running")
    return Target(one)


def status(database, one):
    return database("select status from public.deployments where id = %s", one)[0]["status"]


def sent(database, kind):
    return database("select count(*) as n from public.agent_commands where kind = %s", kind)[0]["n"]


def quick(on_paper, **budgets):
    return on_paper.model_copy(update={"budgets": on_paper.budgets.model_copy(update=budgets)})


def test_a_pause_is_recorded_before_it_is_sent_and_followed_to_its_effect(on_paper, database, target, tmp_path):
    seen = []
    done = press(on_paper, "pause", [target], root=tmp_path, show=seen.append)
    assert done.outcome == "passed" and status(database, target.id) == "paused"
    assert 0 < done.sent <= done.acknowledged <= done.effect and "status paused" in done.words
    assert seen[0].sent and seen[0].outcome is None  # told as it comes, not at the end
    record = next(iter(record_folder.every(tmp_path)))
    events = [(e["event"], e.get("step")) for e in record.ledger.events()]
    assert events == [("opened", None), ("sending", "pause"), ("outcome", "pause"), ("closed", None), ("sealed", None)]
    assert verify.verify(record.folder) == [] and record.sealed()["outcome"] == "passed"
    sending = record.ledger.events()[1]
    inserted = database("select created_at from public.agent_commands where kind = 'pause' order by 1 desc limit 1")
    assert sending["at"] < inserted[0]["created_at"].isoformat().replace("+00:00", "Z")
    assert target.id in sending["commands"][0]


def test_a_resume_takes_the_writing_lock_and_gives_it_back(on_paper, database, target, tmp_path):
    press(on_paper, "pause", [target], root=tmp_path)
    other = Services(on_paper)
    held = other.database.take_lock(f"launch-runbook {on_paper.project}", "somebody else").connection
    before = sent(database, "resume")
    refused = press(on_paper, "resume", [target], root=tmp_path)
    assert refused.outcome == "failed" and "held by somebody else" in refused.words
    assert sent(database, "resume") == before and status(database, target.id) == "paused"
    held.close()
    assert press(on_paper, "resume", [target], root=tmp_path).outcome == "passed"
    Writer(other, "the next").take()


def test_a_safety_action_waits_for_no_lock_and_for_no_record(on_paper, database, target, tmp_path):
    other = Services(on_paper).database
    held = other.take_lock(f"launch-runbook {on_paper.project}", "somebody else").connection
    (tmp_path / "file").write_text("")
    done = press(on_paper, "pause", [target], root=tmp_path / "file")
    held.close()
    assert done.outcome == "passed" and "not on the record" in done.unrecorded
    assert status(database, target.id) == "paused"


def test_what_is_no_safety_action_is_not_sent_without_a_record(on_paper, database, target, tmp_path):
    (tmp_path / "file").write_text("")
    before = sent(database, "snapshot")
    done = press(on_paper, "snapshot", [target], root=tmp_path / "file")
    assert done.outcome == "failed" and "cannot make the record" in done.words and sent(database, "snapshot") == before


def test_a_snapshot_is_in_effect_when_the_state_was_written_after_it(on_paper, target, tmp_path):
    assert press(on_paper, "snapshot", [target], root=tmp_path).outcome == "passed"


def test_a_runner_that_does_not_listen_makes_the_press_unknown_and_says_what_to_do(paper, on_paper, target, tmp_path):
    with runner_fault(paper.folder, target.id, deaf=True):
        done = press(quick(on_paper, answer=0.5), "pause", [target], root=tmp_path)
    assert done.outcome == "unknown" and done.sent and done.acknowledged is None
    assert "within 0.5 s no effect" in done.words and "not acknowledged" in done.words and "Halt" in done.words
    record = next(iter(record_folder.every(tmp_path)))
    assert record.sealed()["outcome"] == "unknown" and history.read(record).outcomes()["pause"]["fix"]


def test_a_silent_database_is_a_failure_at_once_for_nothing_was_sent(on_paper, target, tmp_path):
    dead = on_paper.model_copy(update={"database": on_paper.database.model_copy(update={"url": NOBODY})})
    done = press(dead, "pause", [target], root=tmp_path)
    assert done.outcome == "failed" and done.sent is None and "127.0.0.1:9" in done.words
    assert next(iter(record_folder.every(tmp_path))).sealed()["outcome"] == "failed"


def test_a_deployment_that_is_not_there_is_refused_by_the_database(on_paper, tmp_path):
    done = press(on_paper, "pause", [Target("00000000-0000-0000-0000-000000000000")], root=tmp_path)
    assert done.outcome == "failed" and "refused" in done.words


def test_a_paper_deployment_has_no_agent_to_revoke(on_paper, database, target, tmp_path):
    done = press(on_paper, "revoke", [target], root=tmp_path)
    assert done.outcome == "failed" and "has no agent" in done.words
    assert list(record_folder.every(tmp_path)) == [] and sent(database, "stop") == 0


def test_presses_side_by_side_are_each_sent_and_each_recorded(on_paper, database, target, tmp_path):
    before = sent(database, "pause")
    with ThreadPoolExecutor(5) as pool:
        ends = list(pool.map(lambda _: press(on_paper, "pause", [target], root=tmp_path).outcome, range(10)))
    assert ends == ["passed"] * 10 and sent(database, "pause") == before + 10
    assert all(not verify.verify(record.folder) for record in record_folder.every(tmp_path))


def test_a_kill_is_in_effect_when_the_machine_has_started_the_runner_again(on_paper, database, target, tmp_path):
    done = press(on_paper, "kill", [target], root=tmp_path)
    assert done.outcome == "passed" and done.acknowledged is None and done.effect
    assert re.match(r"killed; the machine started again after \d+\.\d s; it trades|.*; status paused", done.words)
    eventually(lambda: status(database, target.id) in ("running", "paused"), "back")


def test_a_flatten_leaves_it_flat_and_paused_and_a_stop_ends_it(on_paper, database, target, tmp_path):
    assert press(on_paper, "flatten", [target], root=tmp_path).outcome == "passed"
    held = database("select positions from public.agent_state where deployment_id = %s", target.id)[0]["positions"]
    assert held == [] and status(database, target.id) == "paused"
    done = press(on_paper, "stop", [target], root=tmp_path)
    assert done.outcome == "passed" and status(database, target.id) == "stopped"
