"""The verbs, against a real Postgres, real HTTP and real processes: what they send, refuse, write and remember."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runbook_lib.commands.command import http, shell, sql, trial
from runbook_lib.commands.expectations import (
    Claim,
    Expectation,
    Finding,
    at_least,
    each,
    never,
    no_rows,
    reply,
    rows,
    value,
)
from runbook_lib.errors import ConfigError, RecordError, ServiceError, StepFailed, StepPending, StepRefused, StepUnknown
from runbook_lib.records import history, run_record, seal_chain
from tests.core_fixtures import at, connect, eventually, phase_of, reopened

ONE = sql("select 1 as n")


def check(phase, number, command=ONE, expect=None, **options):
    phase.check(number, f"step {number}", command, expect=expect or value(1, "n"), fix="mend it", **options)


def insert(table, **more):
    return sql(
        f"insert into public.{table} (id, word) values (%(key)s, 'x') on conflict do nothing", key="{key}", **more
    )


def events(phase, kind=None):
    return [e for e in phase.record.ledger.events() if kind in (None, e["event"])]


def outcomes(phase):
    return {e["step"]: e["outcome"] for e in events(phase, "outcome")}


def sealed(phase):
    run_record.finish(phase.record)
    return phase.record


def resumed(chosen, phase, *steps, **facts):
    return phase_of(chosen, phase.record.root, *steps, parent=sealed(phase), **facts)


# --- order ----------------------------------------------------------------------------------------------------------


def test_a_command_in_a_fix_names_the_profile_of_the_run(production, tmp_path):
    phase = phase_of(production, tmp_path, "check 1a")

    with pytest.raises(StepFailed, match=r"fix: ./runbook halt --profile production --all"):
        phase.check("1a", "one", ONE, expect=value(2, "n"), fix="./runbook halt --all")
    assert events(phase, "outcome")[0]["fix"] == "./runbook halt --profile production --all"


def test_a_step_waits_for_every_earlier_one(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "check 1a", "act 1b", "confirm 1c", "check 1d")
    for step in (
        lambda: check(phase, "1d"),
        lambda: phase.confirm("1c", "done", gesture="backup"),
        lambda: phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True),
    ):
        with pytest.raises(StepPending, match="waits for 1a, which is not run"):
            step()
    assert vendor.requests == [] and events(phase, "sending") == []
    with pytest.raises(StepFailed):
        check(phase, "1a", expect=value(2, "n"))
    with pytest.raises(StepPending, match="1b waits for 1a, which is failed"):
        phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True)
    check(phase, "1a")
    phase.act("1b", "make", http("openrouter", "POST /things/a"), repeatable=True)
    assert outcomes(phase) == {"1a": "passed", "1b": "passed"}


def test_a_step_the_notebook_does_not_have_is_refused(chosen, tmp_path):
    with pytest.raises(ConfigError, match="'9z' is not in the notebook"):
        check(phase_of(chosen, tmp_path, "check 1a"), "9z")


# --- check ----------------------------------------------------------------------------------------------------------


def test_a_failed_check_says_what_was_found_and_what_to_do(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    with pytest.raises(StepFailed, match="1a failed: n: expected 2, found 1\nfix: mend it"):
        check(phase, "1a", expect=value(2, "n"))
    event = events(phase, "outcome")[0]
    assert (event["outcome"], event["fix"], event["replies"][0]["rows"]) == ("failed", "mend it", [{"n": 1}])
    assert phase.shown.text.splitlines()[:2] == ["select 1 as n;", "1a  failed  step 1a  n=1"]


def test_postgres_itself_refuses_a_write_in_a_check(chosen, tmp_path, table, count):
    phase = phase_of(chosen, tmp_path, "check 1a")
    write = sql(f"insert into public.{table} values (gen_random_uuid(), 'x') returning 1 as n")
    with pytest.raises(StepFailed, match="cannot execute INSERT in a read-only transaction"):
        check(phase, "1a", write)
    with pytest.raises(StepFailed, match="cannot execute SELECT in a read-only transaction"):
        check(phase, "1a", sql(f"with gone as (delete from public.{table} returning 1) select count(*) as n from gone"))
    assert count() == 0


@pytest.mark.parametrize(
    "command",
    [
        http("openrouter", "POST /things/a"),
        http("openrouter", "DELETE /things/a"),
        shell("touch {repository}/made-by-a-check"),
        sql("commit"),
        sql("/* */ notify other"),
        sql("select pg_notify('channel', 'x')"),
        trial(sql("select 1 as n"), sql("commit")),
    ],
    ids=lambda command: command.text().splitlines()[-1][:30],
)
def test_a_check_refuses_what_may_change_something_before_anything_is_sent(chosen, tmp_path, vendor, command):
    phase = phase_of(at(chosen, vendor), tmp_path, "check 1a")
    with pytest.raises(StepRefused):
        check(phase, "1a", command)
    assert vendor.requests == [] and events(phase)[1:] == []


def test_a_request_declared_to_read_is_sent(chosen, tmp_path, vendor):
    vendor.things.add("a")
    phase = phase_of(at(chosen, vendor), tmp_path, "check 1a")
    check(phase, "1a", http("openrouter", "POST /things/a", reads=True), reply(200, name="a"))


def test_a_check_looks_until_it_holds(chosen, tmp_path, running, table):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b")
    look = sql(f"select count(*) as n from public.{table}")
    with pytest.raises(StepFailed):
        check(phase, "1a", look)
    with connect(running) as connection, ThreadPoolExecutor(1) as pool:
        late = pool.submit(
            connection.execute, f"insert into public.{table} select gen_random_uuid(), pg_sleep(0.3)::text"
        )
        check(phase, "1a", look, within=30)
        late.result()
    assert len(events(phase, "outcome")) == 2


def test_a_check_does_not_wait_for_what_no_waiting_mends(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    began = time.monotonic()
    with pytest.raises(StepFailed, match="n is 1 and stays so"):
        check(phase, "1a", expect=never(n=1) & reply(n=2), within=600)
    assert time.monotonic() - began < 60


def test_a_check_that_cannot_fail_fails(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    with pytest.raises(StepFailed, match="this check cannot fail"):
        check(phase, "1a", expect=rows(minimum=0))


NONE = sql("select 1 as n where false")


@pytest.mark.parametrize("expect", [rows(minimum=0), each(minimum=0)])
def test_a_check_that_finds_nothing_and_would_accept_anything_fails(chosen, tmp_path, expect):
    phase = phase_of(chosen, tmp_path, "check 1a")
    with pytest.raises(StepFailed, match="this check cannot fail"):
        check(phase, "1a", NONE, expect)


@pytest.mark.parametrize("expect", [no_rows("left"), rows(0), each(minimum=0, n=2)])
def test_a_check_that_expects_nothing_and_would_complain_of_something_passes(chosen, tmp_path, expect):
    check(phase_of(chosen, tmp_path, "check 1a"), "1a", NONE, expect)


def test_only_a_rehearsal_spoils_replies(production, tmp_path):
    check(phase_of(production, tmp_path, "check 1a"), "1a", expect=rows(minimum=0))


def test_a_trial_writes_and_leaves_nothing(chosen, tmp_path, table, count):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b")
    tried = trial(insert(table), sql(f"select count(*) as n from public.{table}"))
    check(phase, "1a", tried)
    assert count() == 0
    check(phase, "1b", sql(f"select id from public.{table}"), no_rows("left behind"))


def test_a_service_that_does_not_answer_fails_the_check(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor, answer=0.2), tmp_path, "check 1a")
    with pytest.raises(StepFailed, match="no answer"):
        check(phase, "1a", http("openrouter", "GET /never"), reply(200))


def test_several_commands_are_judged_together(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    both = (sql("select 1 as n"), sql("select 2 as n"))
    phase.check("1a", "both", *both, expect=(value(1, "n"), value(2, "n")), fix="mend it")
    assert [phase.reply("1a", i).value("n") for i in (0, 1)] == [1, 2]


# --- act ------------------------------------------------------------------------------------------------------------


def make(phase, number, name="a", request="POST /things/{}", **options):
    phase.act(number, f"make {name}", http("openrouter", request.format(name)), **options)


def proof(name="a"):
    return http("openrouter", f"GET /things/{name}")


def test_an_act_the_profile_does_not_name_waits_and_says_which_line_to_add(production, tmp_path, vendor):
    phase = phase_of(at(production, vendor), tmp_path, "act 1a")
    with pytest.raises(StepPending, match=r"add '1a' to allow in parameters/production\.yaml"):
        make(phase, "1a", repeatable=True)
    assert vendor.requests == [] and outcomes(phase) == {"1a": "waiting"}
    allowed = at(production, vendor).model_copy(update={"allow": ["1a"]})
    phase = resumed(allowed, phase, "act 1a")
    make(phase, "1a", repeatable=True)
    assert vendor.things == {"a"} and outcomes(phase) == {"1a": "passed"}


def test_an_act_that_nothing_could_settle_is_refused(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    with pytest.raises(ConfigError, match=r"needs a {key} in its command, a proof, or repeatable=True"):
        make(phase, "1a")
    assert vendor.requests == []


def test_what_is_so_already_is_not_sent_and_its_proof_is_the_reply(chosen, tmp_path, vendor):
    vendor.things.add("a")
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    make(phase, "1a", proof=proof())
    assert vendor.sent("POST") == 0
    assert phase.value("1a", "name") == "a"
    assert "already so" in phase.shown.text


def test_an_act_is_not_sent_while_its_proof_cannot_be_read(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    with pytest.raises(StepFailed, match="not sent: whether it is so already cannot be read: HTTP 503"):
        make(phase, "1a", proof=http("openrouter", "GET /status/503"))
    assert vendor.sent("POST") == 0


def test_a_refused_act_fails_with_the_services_words(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    with pytest.raises(StepFailed, match="HTTP 422"):
        make(phase, "1a", request="POST /status/422", repeatable=True, fix="choose another name")
    assert outcomes(phase) == {"1a": "failed"}


def test_a_lost_answer_is_settled_by_the_proof(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    make(phase, "1a", request="POST /lost/{}", proof=proof())
    assert "no answer, but proven" in phase.shown.text


def test_a_lost_answer_without_proof_is_unknown_and_stays_so(chosen, tmp_path, vendor, table, count):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    with pytest.raises(StepUnknown, match="nothing tells whether it took effect"):
        make(phase, "1a", request="POST /lost/{}", repeatable=True)
    assert outcomes(phase) == {"1a": "unknown"}
    assert run_record.finish(phase.record)["outcome"] == "unknown"


def test_an_unknown_act_is_settled_by_its_proof_when_resumed(chosen, tmp_path, vendor):
    settings = at(chosen, vendor, answer=0.3)
    phase = phase_of(settings, tmp_path, "act 1a")
    with pytest.raises(StepUnknown):
        make(phase, "1a", request="POST /never", proof=proof())
    child = resumed(settings, phase, "act 1a")
    vendor.things.add("a")  # it took effect after all
    make(child, "1a", request="POST /things/{}", proof=proof())
    assert vendor.sent("POST") == 1 and "took effect earlier" in child.shown.text


def test_an_unknown_act_whose_proof_cannot_be_read_is_not_sent_again(chosen, tmp_path, vendor):
    settings = at(chosen, vendor)
    phase = phase_of(settings, tmp_path, "act 1a")
    with pytest.raises(StepUnknown):
        make(phase, "1a", request="POST /lost/{}", proof=proof("another"))
    child = resumed(settings, phase, "act 1a")
    with pytest.raises(StepUnknown, match="its proof cannot be read"):
        make(child, "1a", request="POST /lost/{}", proof=http("openrouter", "GET /status/500"))
    assert vendor.sent("POST") == 1


def test_an_act_that_never_left_is_failed_not_unknown(chosen, tmp_path):
    nobody = chosen.openrouter.model_copy(update={"url": "http://127.0.0.1:1"})
    phase = phase_of(chosen.model_copy(update={"openrouter": nobody}), tmp_path, "act 1a")
    with pytest.raises(StepFailed, match=r"not sent: .*cannot connect"):
        make(phase, "1a", repeatable=True, undo=http("openrouter", "DELETE /things/a"))
    assert outcomes(phase) == {"1a": "failed"} and history.read(phase.record).owed() == {}


def test_an_act_that_passed_is_recalled_in_a_child_and_a_grandchild(chosen, tmp_path, vendor):
    settings = at(chosen, vendor)
    phase = phase_of(settings, tmp_path, "act 1a", "check 1b")
    make(phase, "1a", repeatable=True)
    first, root = phase.reply("1a"), phase.record
    at_first = history.read(root).outcomes()["1a"]["at"]
    for _ in range(2):
        phase = resumed(settings, phase, "act 1a", "check 1b")
        make(phase, "1a", repeatable=True)
        assert phase.reply("1a") == first
        assert "not sent again" in phase.shown.text
        told = history.read(phase.record).outcomes()["1a"]
        assert (told["recalled"], told["recalled_from"], told["why"]) == (at_first, root.name, "not sent again")
        assert history.taken_over(history.read(phase.record)) == 1
    assert vendor.sent("POST") == 1
    with pytest.raises(StepPending):
        make(phase_of(settings, tmp_path, "check 1", "act 1a"), "1a", repeatable=True)


def test_a_check_is_made_again_in_a_child(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b")
    check(phase, "1a")
    child = resumed(chosen, phase, "check 1a", "check 1b")
    with pytest.raises(StepPending, match="1b waits for 1a, which is not run"):
        check(child, "1b")


def test_a_check_that_later_steps_have_overtaken_stands_with_its_reply(chosen, tmp_path, vendor):
    settings, steps = at(chosen, vendor), ("check 1a", "act 1b", "check 1c")
    phase = phase_of(settings, tmp_path, *steps)
    check(phase, "1a")
    make(phase, "1b", repeatable=True)
    check(phase, "1c")
    check(phase, "1a", expect=rows(0))  # from the top again, as after a restart of the kernel
    assert "may have changed what it looked at" in phase.shown.text

    child = resumed(settings, phase, *steps)
    check(child, "1a", expect=rows(0))
    make(child, "1b", repeatable=True)
    assert child.reply("1a").value("n") == 1
    with pytest.raises(StepFailed):  # nothing came after it
        check(child, "1c", expect=rows(0))


def test_every_check_is_made_again_where_that_is_asked_for(chosen, tmp_path, vendor):
    settings = at(chosen, vendor)
    phase = phase_of(settings, tmp_path, "check 1a", "act 1b")
    check(phase, "1a")
    make(phase, "1b", repeatable=True)
    child = resumed(settings, phase, "check 1a", "act 1b", recheck=True)
    with pytest.raises(StepFailed):
        check(child, "1a", expect=rows(0))


def test_the_key_is_the_same_along_the_chain_and_nowhere_else(chosen, tmp_path, table, count):
    phase = phase_of(chosen, tmp_path, "act 1a", "act 1b")
    child = resumed(chosen, phase, "act 1a", "act 1b")
    sibling = phase_of(chosen, tmp_path, "act 1a", parent=phase.record)
    other = phase_of(chosen, tmp_path, "act 1a", "act 1b")
    assert len({p.key("1a") for p in (phase, child, sibling)}) == 1
    assert len({phase.key("1a"), phase.key("1b"), other.key("1a")}) == 3
    for one in (child, sibling):  # two runs that both go on from the same place
        one.act("1a", "insert", insert(table))
    assert count() == 1


KILLED = """
import os, sys
from pathlib import Path
from runbook_lib.settings import profiles
from runbook_lib.commands.command import sql
from tests.core_fixtures import reopened
phase = reopened(profiles.load("rehearsal"), Path(sys.argv[1]))
insert_slowly = sql(f"insert into public.{sys.argv[2]} select %(key)s, pg_sleep(30)::text", key="{key}")
phase.act("1a", "insert slowly", insert_slowly)
"""


RUNS = "select 1 from pg_stat_activity where state = 'active' and query like %s and pid <> pg_backend_pid()"


def test_killed_between_sending_and_outcome_is_unknown_until_it_is_settled(  # noqa: PLR0917 - each is a fixture
    chosen, tmp_path, table, count, processes, running
):
    phase = phase_of(chosen, tmp_path, "act 1a")
    command = [sys.executable, "-c", KILLED, str(phase.record.folder), table]
    processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    eventually(lambda: events(phase, "sending"), "the act was announced")
    with connect(running) as looking:
        sleeps = f"insert into public.{table} %pg_sleep%"
        eventually(lambda: looking.execute(RUNS, [sleeps]).fetchone(), "the server works on it")
    processes[0].send_signal(signal.SIGKILL)  # the session ends with its process, though its statement would go on
    processes[0].wait()
    assert history.read(phase.record).outcomes()["1a"]["outcome"] == "unknown"
    assert run_record.finish(phase.record, ended="cut off")["outcome"] == "unknown"
    child = phase_of(chosen, tmp_path, "act 1a", parent=phase.record)
    child.act("1a", "insert", insert(table))  # the key makes it safe to send again
    assert count() == 1 and outcomes(child) == {"1a": "passed"}


def test_nothing_is_sent_if_the_ledger_cannot_be_written(chosen, tmp_path, vendor):
    settings = at(chosen, vendor)
    phase = phase_of(settings, tmp_path, "act 1a", "check 1b")
    seal_chain.seal(phase.record, "failed")
    with pytest.raises(RecordError):
        make(phase, "1a", repeatable=True)
    other = phase_of(settings, tmp_path, "check 1a")
    seal_chain.seal(other.record, "failed")
    with pytest.raises(RecordError):
        check(other, "1a", http("openrouter", "GET /things/a"), reply(200))
    assert vendor.requests == []


# --- undo -----------------------------------------------------------------------------------------------------------


def test_an_undo_is_owed_until_it_is_carried_out(chosen, tmp_path, vendor):
    settings = at(chosen, vendor)
    phase = phase_of(settings, tmp_path, "act 1a")
    make(phase, "1a", repeatable=True, undo=http("openrouter", "DELETE /things/a"))
    with pytest.raises(StepFailed, match="cannot close: 1a owes an undo"):
        phase.close()
    child = resumed(settings, phase, "act 1a")
    assert list(history.read(child.record).owed()) == ["1a"]
    make(child, "1a", repeatable=True)
    child.undo("1a")
    assert vendor.things == set()
    child.undo("1a")  # not owed any more
    assert vendor.sent("DELETE") == 1
    child.close()
    assert run_record.finish(child.record)["outcome"] == "passed"


def test_an_undo_that_fails_is_still_owed(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    make(phase, "1a", repeatable=True, undo=http("openrouter", "DELETE /status/500"))
    with pytest.raises(StepFailed, match=r"undo of 1a failed: HTTP 500.*; it is still owed"):
        phase.undo("1a")
    assert run_record.finish(phase.record)["owed"] == ["1a"]


def test_deleting_what_is_gone_already_counts_as_undone(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    make(phase, "1a", repeatable=True, undo=http("openrouter", "DELETE /things/a"))
    vendor.things.clear()
    phase.undo("1a")
    phase.close()


def test_an_undo_is_owed_even_if_the_act_is_unknown(chosen, tmp_path, vendor):
    phase = phase_of(at(chosen, vendor), tmp_path, "act 1a")
    with pytest.raises(StepUnknown):
        make(phase, "1a", request="POST /lost/{}", repeatable=True, undo=http("openrouter", "DELETE /things/a"))
    reopened(at(chosen, vendor), phase.record.folder).undo("1a")
    assert vendor.things == set()


# --- confirm --------------------------------------------------------------------------------------------------------


def test_in_rehearsal_the_person_does_it_and_the_ledger_says_so(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "confirm 1a")
    phase.confirm("1a", "a backup exists", gesture="backup")
    assert events(phase, "vouched")[0]["by"] == "person stand-in"
    assert "the person stand-in did it" in phase.shown.text


def test_a_gesture_the_person_does_not_know_fails(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "confirm 1a")
    with pytest.raises(StepFailed, match="no gesture for 'fly'"):
        phase.confirm("1a", "flown", gesture="fly")
    absent = chosen.model_copy(update={"person": chosen.person.model_copy(update={"url": "http://127.0.0.1:1"})})
    phase = phase_of(absent, tmp_path, "confirm 1a")
    with pytest.raises(StepFailed, match="cannot connect"):
        phase.confirm("1a", "a backup exists", gesture="backup")
    assert outcomes(phase) == {"1a": "failed"}


def test_no_program_vouches_for_a_person(production, tmp_path):
    phase = phase_of(production, tmp_path, "confirm 1a")
    with pytest.raises(StepPending, match=r"./runbook confirm .* 1a --as NAME, then ./runbook resume"):
        phase.confirm("1a", "a backup exists", gesture="backup")
    assert sealed(phase).sealed()["outcome"] == "waiting"
    waiting = history.read(phase.record).outcomes()["1a"]
    answer = run_record.vouch(production, phase.record, waiting, "ada")
    assert run_record.latest(phase.record).name == answer.name
    child = phase_of(production, tmp_path, "confirm 1a", parent=run_record.latest(phase.record))
    child.confirm("1a", "a backup exists", gesture="backup")
    assert "vouched by ada" in child.shown.text
    child.close()


def test_who_vouched_for_other_words_did_not_vouch_for_these(production, tmp_path):
    phase = phase_of(production, tmp_path, "confirm 1a")
    with pytest.raises(StepPending):
        phase.confirm("1a", "a backup exists")
    answer = run_record.vouch(production, sealed(phase), history.read(phase.record).outcomes()["1a"], "ada")
    child = phase_of(production, tmp_path, "confirm 1a", parent=answer)
    with pytest.raises(StepPending):
        child.confirm("1a", "a backup of both databases exists")


# --- reading back and closing ---------------------------------------------------------------------------------------


KINDS = """
    select 1.5::numeric as a, '2026-01-31 23:00-02'::timestamptz as b, '{"x": [1]}'::jsonb as c, null as d,
           'NaN'::float8 as e, '2 days'::interval as f, '10.0.0.1'::inet as g, time '10:00' as h,
           date '2026-02-01' as i, '\\x01ff'::bytea as k, array[1, null] as l,
           '5e3f9d1e-1111-4222-8333-123456789abc'::uuid as j
"""


def test_a_reply_after_a_restart_equals_the_live_one(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b")
    live = phase.services.look(sql(KINDS))
    phase.check("1a", "kinds", sql(KINDS), expect=value(1.5, "a"), fix="none")
    assert reopened(chosen, phase.record.folder).reply("1a").rows == phase.reply("1a").rows == live.rows
    assert live.rows[0] == {
        **{"a": 1.5, "b": "2026-02-01T01:00:00Z", "c": {"x": [1]}, "d": None, "e": "nan", "f": 172800.0},
        **{"g": "10.0.0.1", "h": "10:00:00", "i": "2026-02-01", "k": "01ff", "l": [1, None]},
        "j": "5e3f9d1e-1111-4222-8333-123456789abc",
    }
    with pytest.raises(StepPending, match="1b has no reply yet"):
        phase.reply("1b")
    with pytest.raises(ConfigError, match="no step '1x' in phase_try: choose one of: 1a, 1b"):
        phase.reply("1x")


def test_close_compares_the_ledger_with_the_notebooks_numbers(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b", "confirm 1c")
    check(phase, "1a")
    with pytest.raises(StepFailed):
        check(phase, "1b", expect=value(2, "n"))
    with pytest.raises(StepFailed, match="cannot close: 1b failed, 1c missing"):
        phase.close()
    seal = run_record.finish(phase.record)
    assert (seal["outcome"], seal["missing"]) == ("failed", ["1c"])


def test_a_phase_that_was_not_closed_did_not_pass(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    check(phase, "1a")
    assert sealed(phase).sealed()["outcome"] == "failed"


def test_show_returns_rows_and_refuses_changes(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    assert phase.show(sql("select n from generate_series(1, 3) n"))["n"].tolist() == [1, 2, 3]
    with pytest.raises(ServiceError, match="does not exist"):
        phase.show(sql("select * from nowhere"))
    with pytest.raises(StepRefused):
        phase.show(http("fly", "DELETE /v1/apps/x"))
    assert [e["rows"] for e in events(phase, "shown")] == [3]


def test_no_secret_is_shown_or_written(chosen, tmp_path, environment):
    secret = environment["CRON_SECRET"]
    phase = phase_of(chosen, tmp_path, "check 1a")
    with pytest.raises(StepFailed) as failure:
        check(phase, "1a", sql("select %(secret)s as word", secret=secret), value("else", "word"))
    frame = phase.show(sql("select %(secret)s as word", secret=secret))
    written = json.dumps(phase.record.ledger.events(), default=str)
    for text in (str(failure.value), phase.shown.text, frame.to_string(), written):
        assert secret not in text and "$CRON_SECRET" in text


def test_the_head_says_where_it_goes(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    phase.head()
    assert "phase_try on rehearsal (project abcdefghijklmnopqrst)" in phase.shown.text


def test_at_least_one_thing_of_the_platform_answers(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    check(
        phase,
        "1a",
        http("hyperliquid", "POST /info", json={"type": "exchangeStatus"}, reads=True),
        reply(200, time=at_least(1)),
    )


def test_what_a_gesture_rests_on_is_looked_at_again_before_anybody_is_asked(chosen, tmp_path, running, table):
    """What a check saw may be past by the time a person clicks."""
    phase = phase_of(chosen, tmp_path, "check 1a", "confirm 1b")
    phase.check("1a", "empty", sql(f"select count(*) as n from public.{table}"), expect=value(0), fix="empty it")
    with connect(running) as connection:
        connection.execute(f"insert into public.{table} values (gen_random_uuid(), 'late')")
    with pytest.raises(StepFailed, match="1a failed"):
        phase.confirm("1b", "It was clicked", gesture="deploy_live", rests_on=("1a",))
    assert not [event for event in phase.record.ledger.events() if event["event"] == "vouched"]
    looks = [event["outcome"] for event in phase.record.ledger.events() if event["event"] == "outcome"]
    assert looks == ["passed", "failed"]


@pytest.mark.parametrize("mode", ["headless", "attended"])
def test_in_production_too_nobody_is_asked_for_a_gesture_that_rests_on_what_is_past(
    production, tmp_path, running, table, mode
):
    """Neither is a button offered, nor does the run end waiting for somebody."""
    phase = phase_of(production, tmp_path, "check 1a", "confirm 1b", mode=mode)
    phase.check("1a", "empty", sql(f"select count(*) as n from public.{table}"), expect=value(0), fix="empty it")
    with connect(running) as connection:
        connection.execute(f"insert into public.{table} values (gen_random_uuid(), 'late')")
    with pytest.raises(StepFailed, match="1a failed"):
        phase.confirm("1b", "It was clicked", gesture="deploy_live", rests_on=("1a",))
    events = [(event["event"], event.get("step")) for event in phase.record.ledger.events()]
    assert ("offered", "1b") not in events and ("outcome", "1b") not in events


def test_a_gesture_that_rests_on_what_this_kernel_never_saw_waits(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a", "confirm 1b")
    phase.check("1a", "looks", sql("select 1 as n"), expect=value(1), fix="x")
    again = reopened(chosen, phase.record.folder)
    with pytest.raises(StepPending, match="1b rests on what 1a sees: run its cell again"):
        again.confirm("1b", "It was clicked", gesture="deploy_live", rests_on=("1a",))


def test_what_a_check_could_not_prove_is_carried_in_the_seal(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a")
    claim = Claim("the sweep wakes a runner", "no runner yet", "2.1a")
    lenient = Expectation("looks", lambda found: Finding("1 row", None if found[0].rows else "none", unproven=(claim,)))
    phase.check("1a", "looks", sql("select 1 as n"), expect=lenient, fix="x")
    phase.close()
    assert run_record.finish(phase.record)["unproven"] == [{"step": "1a", **dataclasses.asdict(claim)}]


def test_what_a_step_was_due_to_prove_and_did_not_stays_claimed_though_it_passed(chosen, tmp_path):
    phase = phase_of(chosen, tmp_path, "check 1a", "check 1b")
    claims = {number: Claim(f"seen by {number}", "no row yet", "1b") for number in ("1a", "1b")}
    for number, claim in claims.items():
        lenient = Expectation(
            "looks",
            lambda found, claim=claim: Finding("1 row", None if found[0].rows else "none", unproven=(claim,)),
        )
        phase.check(number, "looks", sql("select 1 as n"), expect=lenient, fix="x")
    phase.close()
    assert [claim["step"] for claim in run_record.finish(phase.record)["unproven"]] == ["1b"]
