"""The doctor finds a sound rehearsal sound, and names what a bad credential, address or tool breaks."""

from __future__ import annotations

import time

import pytest

from runbook_lib.commands.command import sql
from runbook_lib.commands.expectations import each, rows
from runbook_lib.services import doctor
from tests import operators
from tests.core_fixtures import connect, fault_of

ALL = doctor.probes


def verdicts(settings):
    return {verdict.name: verdict for verdict in doctor.examine(settings)}


def test_a_rehearsal_is_sound(chosen):
    assert [(v.name, v.seen) for v in doctor.examine(chosen) if not v.good] == []


def test_every_probe_says_what_it_breaks_and_what_to_do(chosen):
    for probe in doctor.probes(chosen):
        assert probe.breaks and probe.fix and probe.commands


@pytest.mark.parametrize(
    ("variable", "bad"),
    [
        ("SUPABASE_DB_PASSWORD", {"database role and zone", "notification arrives", "clocks"}),
        ("SUPABASE_ACCESS_TOKEN", {"supabase token", "backups"}),
        ("FLY_API_TOKEN", {"fly token", "registry"}),
        ("FLY_DEPLOY_TOKEN", {"fly deploy token"}),
        ("VERCEL_TOKEN", {"vercel project", "rate limits"}),
        ("OPENROUTER_API_KEY", {"openrouter key"}),
    ],
)
def test_a_wrong_secret_is_found_where_it_is_used_and_never_shown(chosen, monkeypatch, variable, bad):
    monkeypatch.setenv(variable, "wrong-secret-value-0123456789")
    found = verdicts(chosen)
    assert {name for name, verdict in found.items() if not verdict.good} == bad
    assert "wrong-secret-value" not in repr(found)


@pytest.mark.skipif(operators.program() is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize(("mode", "sound"), [("session", True), ("transaction", False)])
def test_a_pooler_is_judged_by_what_it_does_with_a_lock_and_not_by_its_port(chosen, running, mode, sound):
    [probe] = [probe for probe in doctor.probes(chosen) if probe.name == "notification arrives"]
    with operators.pooler(running, mode) as address:
        there = chosen.model_copy(update={"database": chosen.database.model_copy(update={"url": address})})
        [*_, verdict] = doctor.examine(there, [probe])
    assert verdict.good is sound and ("lock=shared" in verdict.seen) is not sound


def test_a_service_that_is_down_a_missing_tool_and_checkout_are_found(chosen, monkeypatch, tmp_path):
    down = chosen.hyperliquid.model_copy(update={"url": "http://127.0.0.1:1"})
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    found = verdicts(chosen.model_copy(update={"hyperliquid": down, "repository": str(tmp_path)}))
    bad = {name for name, verdict in found.items() if not verdict.good}
    assert bad == {
        *("clocks", "venue markets", "venue subscriptions"),
        *("command line tools", "platform repository"),
    }
    assert "cannot connect" in found["venue markets"].seen


def test_without_anything_to_restore_there_is_no_backup(chosen, running):
    with fault_of(running, "no-backup"):
        verdict = verdicts(chosen)["backups"]
    assert (verdict.good, verdict.seen) == (False, "no point-in-time recovery, and no backup")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/status/503", "status=503"),
        ("/elsewhere/x", "status=308: this address has moved"),
        ("/protected/x", "deployment protection answers, not the application"),
    ],
)
def test_what_stands_before_the_web_app_is_told_from_it(chosen, vendor, monkeypatch, path, words):
    monkeypatch.setattr(doctor, "probes", lambda _: [])
    [probe] = [probe for probe in ALL(chosen) if probe.name == "web app"]
    there = chosen.web.model_copy(update={"url": f"{vendor.url}{path}"})
    [verdict] = doctor.examine(chosen.model_copy(update={"web": there}), [probe])
    assert not verdict.good and words in verdict.seen


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("key-nearly-spent", "limit_remaining=0.4 (expected no limit, or at least 1 dollar)"),
        ("key-expires-soon", "(expected never, or in a week or later)"),
    ],
)
def test_a_key_that_will_not_last_is_found(chosen, running, fault, words):
    with fault_of(running, fault):
        verdict = verdicts(chosen)["openrouter key"]
    assert not verdict.good and words in verdict.seen


def test_a_project_of_another_team_and_a_wallet_that_is_no_master_are_found(chosen):
    vercel = chosen.vercel.model_copy(update={"team": "team_of_others"})
    venue = chosen.hyperliquid.model_copy(update={"wallet": "0x" + 40 * "9"})
    found = verdicts(chosen.model_copy(update={"vercel": vercel, "hyperliquid": venue}))
    assert {name for name, verdict in found.items() if not verdict.good} == {
        *("vercel project", "rate limits", "master wallet")
    }
    assert (found["master wallet"].seen, found["master wallet"].word) == (
        "role: expected user, found missing",
        "not before 2.1a",
    )


def test_the_read_only_role_is_judged_by_its_rights_and_the_owner_still_as_the_owner(chosen, running):
    reader = {"read_only_user": "runbook_reader", "read_only_password": "SUPABASE_READER_PASSWORD"}
    declared = {**chosen.variables, "SUPABASE_READER_PASSWORD": "secret"}
    database = chosen.database.model_copy(update=reader)
    named = chosen.model_copy(update={"database": database, "variables": declared})
    found = verdicts(named)
    assert found["read-only role"].good and found["database role and zone"].good

    with connect(running) as connection:
        connection.execute("create table public.not_for_readers (id int)")
        connection.execute("revoke all on public.not_for_readers from runbook_reader")
        seen = verdicts(named)["read-only role"].seen
        connection.execute("drop table public.not_for_readers")
    assert "not_readable: expected , found not_for_readers" in seen


def test_what_only_queries_shares_one_connection(chosen, monkeypatch):
    monkeypatch.setattr(doctor, "probes", lambda _: [])
    asking = doctor.Probe("pid", (sql("select pg_backend_pid() as pid"),), rows(), "nothing", "none")
    shown = doctor.Probe("pid", asking.commands, each(pid=-1), "nothing", "none")
    words = {verdict.seen for verdict in doctor.examine(chosen, [shown, shown, shown])}

    assert len(words) == 1 and "pid=" in words.pop()


def test_what_a_step_has_yet_to_make_is_no_fault(chosen):
    probe = doctor.Probe("rows", (sql("select 1 as n where false"),), rows(), "nothing", "make it", made_by="0.1g")
    [*_, verdict] = doctor.examine(chosen, [probe])

    assert (verdict.good, verdict.word) == (False, "not before 0.1g")


def test_what_does_not_answer_in_time_has_failed_and_holds_nobody_up(chosen, monkeypatch):
    monkeypatch.setattr(doctor, "probes", lambda _: [])
    monkeypatch.setattr(doctor, "WHOLE", 0.5)
    slow = doctor.Probe("slow", (sql("select pg_sleep(5)"),), rows(), "everything", "wait")
    began = time.monotonic()
    [verdict] = doctor.examine(chosen, [slow])

    assert verdict.word == "failed" and "no answer within 0.5 s" in verdict.seen
    assert time.monotonic() - began < 4
