"""The doctor finds a sound rehearsal sound, and names what a bad credential, address or tool breaks."""

from __future__ import annotations

import time

import pytest

from runbook_lib.commands.command import sql
from runbook_lib.commands.expectations import rows
from runbook_lib.services import doctor
from tests import operators


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
        ("SUPABASE_ACCESS_TOKEN", {"supabase token"}),
        ("FLY_API_TOKEN", {"fly token", "registry"}),
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
