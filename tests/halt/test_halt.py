"""The halt against a platform with real money's shape: what holds is read at the venue, at Fly and in the database."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.agentic_trading.venue_books import MAIN
from runbook_lib.cli.main import cli
from runbook_lib.errors import ConfigError, StepRefused
from runbook_lib.halt.halt_record import Book
from runbook_lib.halt.operator_key import limit_price
from runbook_lib.halt.state import Account, Halting, Request
from runbook_lib.halt.stop import halt, run_parts
from runbook_lib.halt.switches import upsert
from runbook_lib.halt.unhalt import unhalt
from runbook_lib.records import alarms, history, record_folder, run_record, verify
from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.rehearsal.postgres.sql_faults import SqlFaults
from runbook_lib.rehearsal.runner.runner_faults import runner_fault
from runbook_lib.settings import profiles
from tests import keys
from tests.halting import APP, LIMITS, Platform, eventually

ROOT = Path(__file__).resolve().parents[2]
DEAF = {"pause": 0.7}  # where waiting for a runner is in vain
STUCK = {"flat": 9.0}  # where waiting for the venue is futile; enough to read every book twice on a busy machine
NOBODY = "postgresql://postgres@127.0.0.1:9/postgres"  # a port nobody listens on
# The command line where nobody has chosen a profile, and the production profile is on loopback: only code can make one.
UNCHOSEN = """
import os, sys
from pathlib import Path
from runbook_lib.cli.main import main
from runbook_lib.settings import choice, profiles

read = profiles.load

def load(profile, **options):
    rehearsal = read("rehearsal", **options)
    own = {"kind": "production", "name": "production", "allowed_signers": [os.environ["SIGNER"]], "person": None}
    return rehearsal.model_copy(update=own) if profile == "production" else rehearsal

choice.FILE, profiles.load = Path(os.devnull), load
main(sys.argv[1:])
"""
POINTS = int(os.environ.get("HALT_KILLS", "4"))  # random moments at which the halt is killed; 100 were tried once


@pytest.fixture(scope="module")
def platform():
    before = dict(os.environ)
    with rehearse(state="live", tick=0.5) as running:
        made = Platform(running)
        yield made
        made.close()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def live(platform):
    """The live deployment, running, with a position and an order that rests."""
    os.environ.update(platform.running.environment)
    deployment = platform.live()[0]
    platform.revive(deployment)
    if not platform.orders(deployment):
        platform.rest(deployment)
    return deployment


def parts(done):
    return {part.name: part.outcome for part in done.parts}


def said(done, name):
    return next(f"{part.seen} {part.complaint}" for part in done.parts if part.name == name)


@contextlib.contextmanager
def slow(address, seconds):
    """An address of the database behind which every query takes longer."""
    proxy = SqlFaults(address)
    proxy.delay = seconds
    with proxy:
        yield proxy.url


# --- everything answers -----------------------------------------------------------------------------------------------


def test_everything_stops_and_each_proof_is_on_the_sealed_record(platform, live, tmp_path):
    before = platform.weight()
    done = halt(platform.settings(), Request(), root=tmp_path)
    spent = platform.weight() - before

    assert (done.outcome, set(parts(done).values()), done.complaint) == ("passed", {"passed"}, None)
    figures = re.search(
        r"flat at ([0-9.]+) s, proven at ([0-9.]+) s, for a weight of ([0-9]+) each", said(done, "flat")
    )
    assert 0 < float(figures[1]) < float(figures[2])
    wallets = int(said(done, "flat").split()[0])
    assert int(figures[3]) * wallets == pytest.approx(spent, abs=wallets)
    assert platform.halted(live) == []
    assert platform.status(live) == "paused"
    secret = next(one for one in platform.fly.get(f"/v1/apps/{APP}/secrets").json()["secrets"] if "LIVE" in one["name"])
    assert secret["updated_at"] > platform.machines(live)[-1]["created_at"]
    assert verify.verify(done.record.folder) == []
    found = history.read(done.record)
    assert {step: e["outcome"] for step, e in found.outcomes().items()} == parts(done)
    assert list(found.owed()) == ["switches"]
    events = [e for e in done.record.ledger.events() if e["event"] in ("owed", "sending")]
    assert events[0]["event"] == "owed"
    sent = "\n".join(text for e in events[1:] for text in e["commands"])
    for change in ("/env?upsert=true", "/v13/deployments", "/secrets", "insert into public.agent_commands", "/stop"):
        assert change in sent
    assert platform.key(live).removeprefix("0x") not in (done.record.folder / "ledger.jsonl").read_text()


def test_halting_twice_at_once_and_once_more_leaves_the_same_state(platform, live, tmp_path):
    done = []
    both = [
        threading.Thread(target=lambda: done.append(halt(platform.settings(), Request(), root=tmp_path)))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    done.append(halt(platform.settings(), Request(), root=tmp_path))

    assert [one.outcome for one in done] == ["passed"] * 3, [parts(one) for one in done]
    assert platform.halted(live) == []
    again = "\n".join(t for e in done[-1].record.ledger.events() for t in e.get("commands", ()))
    assert "/v13/deployments" not in again and "upsert" not in again  # what is so already is not sent again


def test_damaged_side_files_of_the_records_keep_no_halt_from_its_seal(platform, live, tmp_path):
    profile = tmp_path / "rehearsal"
    for path, content in {"head.json": b"{}", ".pending/x": b"\xff", "2026-11-22/copy/ledger.jsonl": b"{}\n"}.items():
        (profile / path).parent.mkdir(parents=True, exist_ok=True)
        (profile / path).write_bytes(content)

    done = halt(platform.settings(), Request(), root=tmp_path)

    assert (done.outcome, done.complaint) == ("passed", None)
    assert verify.verify(done.record.folder) == []


def test_a_machine_that_comes_back_is_stopped_again(platform, live, tmp_path, after=0.0):
    done = []
    halting = threading.Thread(target=lambda: done.append(halt(platform.settings(), Request(), root=tmp_path)))
    halting.start()
    eventually(lambda: platform.state(live) == "stopped", "the machine stops")
    machine = platform.machines(live)[-1]["id"]
    time.sleep(after)  # as a restart policy would, within the time it is watched
    platform.fly.post(f"/v1/apps/{APP}/machines/{machine}/start").raise_for_status()
    halting.join()

    assert platform.halted(live) == []
    assert "stopped again" in said(done[0], "machines")


def test_a_runner_that_lives_on_under_a_row_in_error_is_halted_too(platform, live, tmp_path):
    platform.sees("update public.deployments set status = 'error' where id::text = %s", live)

    done = halt(platform.settings(), Request(), root=tmp_path)

    assert done.outcome == "passed", parts(done)
    assert platform.halted(live) == [] and platform.status(live) == "paused"


def test_no_command_is_left_behind_for_a_runner_that_is_started_again(platform, live, tmp_path):
    halt(platform.settings(), Request(), root=tmp_path)
    platform.revive(live)  # its wallet is flat already: nothing makes the halt wait for the closing orders

    [before] = platform.sees("select clock_timestamp() as now")
    with runner_fault(platform.running.folder, slow_ack=0.4):
        halt(platform.settings(), Request(), root=tmp_path)

    assert platform.halted(live) == []
    said = platform.sees(
        "select kind, acked_at is null as lost from public.agent_commands where created_at > %s", before["now"]
    )
    assert sorted((row["kind"], row["lost"]) for row in said) == [("flatten", False), ("pause", False)]


def test_a_variable_keeps_its_type_for_a_sensitive_one_cannot_become_plain(platform):
    found = {"DEPLOYMENTS_DISABLED": {"type": "sensitive", "value": ""}}
    body = upsert({"DEPLOYMENTS_DISABLED": "true", "OTHER": "1"}, found).json
    assert [one["type"] for one in body] == ["sensitive", "plain"]


def test_a_record_that_cannot_be_written_stops_nothing_and_is_said(platform, live, tmp_path):
    (tmp_path / "records").write_text("a file where the folder should be")

    done = halt(platform.settings(), Request(), root=tmp_path / "records")

    assert (done.outcome, done.record, done.seal) == ("passed", None, None)
    assert "cannot make the record" in done.complaint
    assert platform.halted(live) == []


# --- something does not answer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["web-down", "fly-limits"])
def test_in_trouble_that_does_not_matter_it_is_flat_and_every_machine_stopped(platform, live, tmp_path, name):
    with platform.named_fault(name):
        done = halt(platform.settings(), Request(), root=tmp_path)

    assert platform.halted(live) == []
    assert parts(done)["refusal"] == ("unknown" if name == "web-down" else "passed")
    assert parts(done)["flat"] == parts(done)["machines"] == "passed"


def test_with_vercel_down_it_says_which_proof_is_missing(platform, live, tmp_path):
    with platform.named_fault("vercel-down"):
        done = halt(platform.settings(redeploy=1.5), Request(), root=tmp_path)

    assert (platform.positions(live), platform.orders(live), platform.state(live)) == ({}, [], "stopped")
    assert (parts(done)["switches"], parts(done)["refusal"]) == ("failed", "unknown")
    assert "500" in said(done, "switches") and "not proven" in said(done, "refusal")


def test_with_fly_down_it_still_pauses_and_flattens(platform, live, tmp_path):
    with platform.named_fault("fly-down"):
        done = halt(platform.settings(limits={"stop": 2.0}), Request(), root=tmp_path)

    assert (platform.positions(live), platform.orders(live), platform.status(live)) == ({}, [], "paused")
    assert (parts(done)["flat"], parts(done)["machines"], done.outcome) == ("passed", "unknown", "unknown")
    assert "503" in said(done, "machines")


def test_with_the_database_down_machines_stop_and_what_remains_is_named_or_closed_by_key(platform, live, tmp_path):
    down = {"limits": DEAF, "database_down": NOBODY}

    done = halt(platform.settings(**down), Request(), root=tmp_path)

    assert (parts(done)["machines"], parts(done)["pause"], done.outcome) == ("passed", "failed", "unknown")
    assert (parts(done)["flat"], parts(done)["cancel"]) == ("unknown", "unknown")  # no wallet is known: never flat
    assert platform.state(live) == "stopped" and platform.refuses()

    done = halt(platform.settings(wallet=platform.wallet(live), **down), Request(), root=tmp_path)

    remaining = said(done, "cancel") + said(done, "flat")
    assert parts(done)["cancel"] == parts(done)["flat"] == "failed"
    assert platform.orders(live) and all(f"order {oid}" in remaining for oid in platform.orders(live))
    assert all(f"holds {size} {coin}" in remaining for coin, size in platform.positions(live).items())
    assert "https://app.hyperliquid.xyz" in remaining

    done = halt(
        platform.settings(wallet=platform.wallet(live), key=platform.key(live), **down), Request(), root=tmp_path
    )

    assert (parts(done)["flat"], parts(done)["cancel"]) == ("passed", "passed")
    assert platform.halted(live) == []


def test_a_deaf_runner_is_stopped_and_a_key_gets_its_wallet_flat(platform, live, tmp_path):
    with platform.named_fault("runner-deaf"):
        done = halt(platform.settings(limits=DEAF, key=platform.key(live)), Request(), root=tmp_path)

    assert done.outcome == "passed", parts(done)
    assert platform.halted(live) == []


def test_a_venue_that_is_down_is_never_flat_and_the_paused_machine_is_left(platform, live, tmp_path):
    with platform.named_fault("venue-down"):
        done = halt(platform.settings(limits=STUCK), Request(), root=tmp_path)

    assert (parts(done)["flat"], parts(done)["cancel"]) == ("unknown", "unknown")
    assert (platform.status(live), platform.state(live)) == ("paused", "started")
    assert "left running and paused" in said(done, "machines")


def test_what_the_venue_has_shown_is_told_though_the_last_look_never_ends(platform, tmp_path):
    """The look's own end and that of its part fall together: on a busy machine the part's may come first."""
    settings, never = platform.settings(limits={"flat": 0.3}), threading.Event()

    def looks(_, halting):
        halting.update(addresses={"0xabc"}, books=(MAIN,))
        halting.saw("0xabc", MAIN, Account({"BTC": "0.1"}, (), moment=1, at=0.1, error=None))
        never.wait()

    book = Book(settings, tmp_path, {})
    halting = Halting(settings, Request(), [("cancel", ""), ("flat", "")], book, time.monotonic())
    run_parts(halting, {looks: ("cancel", "flat")}, lambda _: None)
    never.set()

    flat = halting.parts["flat"]
    assert (flat.outcome, "0xabc holds 0.1 BTC" in flat.complaint) == ("failed", True)
    assert halting.parts["cancel"].outcome != "passed"


def test_what_does_not_get_flat_is_left_paused_unless_stopped_anyway(platform, live, tmp_path):
    for anyway, then in ((False, "started"), (True, "stopped")):
        with platform.named_fault("venue-rejects"):
            done = halt(platform.settings(limits=STUCK), Request(stop_anyway=anyway), root=tmp_path)

        [(coin, size)] = platform.positions(live).items()
        assert f"{platform.wallet(live)} holds {size} {coin}" in said(done, "flat")
        assert (platform.status(live), platform.state(live)) == ("paused", then)
        assert (parts(done)["flat"], done.outcome) == ("failed", "failed")


@pytest.mark.parametrize("status", [409, 412, 429, 503])
def test_a_machine_that_cannot_be_stopped_for_now_is_told_again(platform, live, tmp_path, status):
    with platform.http_fault(service="fly", path="*/stop", status=status, times=2):
        done = halt(platform.settings(), Request(), root=tmp_path)

    assert (done.outcome, platform.halted(live)) == ("passed", [])
    assert "seen twice" in said(done, "machines")


def test_a_machine_that_can_never_be_stopped_is_named_as_running(platform, live, tmp_path):
    with platform.http_fault(service="fly", path="*/stop", status=409):
        done = halt(platform.settings(limits={"stop": 1.5}), Request(), root=tmp_path)

    assert parts(done)["machines"] == "failed"
    machine = platform.machines(live)[-1]["id"]
    assert f"{machine} was not stopped: HTTP 409" in said(done, "machines")
    assert "no machine" not in said(done, "machines")


def test_a_slow_database_costs_time_and_nothing_else(platform, live, tmp_path):
    with slow(platform.running.addresses["database"], seconds=0.4) as url:
        settings = platform.settings(database_down=url, limits={"pause": 3.0})
        done = halt(settings, Request(), root=tmp_path)

    assert done.outcome == "passed", [said(done, name) for name in parts(done)]
    assert platform.halted(live) == []


def test_a_venue_that_drips_ends_the_command_within_its_time_and_no_process_is_left(platform, live, tmp_path):
    line = [sys.executable, "-m", "runbook_lib.cli", "halt", "--all", "--yes", "--profile", "rehearsal"]
    environment = {**os.environ, **platform.running.environment, "RUNBOOK_RECORDS": str(tmp_path)}
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT, "env": environment}
    with platform.http_fault(service="hyperliquid", kind="drip"):
        process = subprocess.Popen(line, start_new_session=True, **told)
        words, _ = process.communicate(timeout=60)
        exited = time.time()

    assert process.returncode in (1, 4) and "does not tell of" in words, words
    with pytest.raises(ProcessLookupError):  # nor is anything left that it started
        os.killpg(process.pid, 0)
    [ledger] = tmp_path.glob("*/*/*/ledger.jsonl")
    pressed = datetime.fromisoformat(json.loads(ledger.read_text().splitlines()[0])["at"]).timestamp()
    assert exited - pressed < profiles.load("rehearsal").budgets.halt.flat + 1


# --- less than everything ---------------------------------------------------------------------------------------------


def test_reduce_takes_no_new_risk_and_keeps_positions_protection_and_machines(platform, live, tmp_path):
    with runner_fault(platform.running.folder, propose=None):  # the Skill must not close it before we come
        platform.ticks(live, 2)
        held = platform.buy(live)
        protective = platform.rest(live, reduce_only=True)
        done = halt(platform.settings(key=platform.key(live)), Request(mode="reduce"), root=tmp_path)

    assert done.outcome == "passed", [said(done, name) for name in parts(done)]
    assert (platform.orders(live), platform.positions(live)) == ([protective], held)
    assert (platform.status(live), platform.state(live), platform.refuses()) == ("paused", "started", True)
    platform.trader(live).cancel("BTC", protective)


def test_a_shared_wallet_is_named_and_acted_on_only_when_told_so(platform, live, tmp_path):
    other = platform.deploy(fresh=False)
    try:
        platform.buy(live)
        done = halt(platform.settings(limits=STUCK), Request(deployment=live), root=tmp_path)

        assert other in said(done, "flat") and "--wallet" in said(done, "flat")
        assert (platform.status(live), platform.status(other)) == ("paused", "running")
        assert platform.state(live) == "started" and platform.state(other) == "started"
        assert platform.orders(live) and "switches" not in parts(done)

        done = halt(platform.settings(), Request(deployment=live, wallet=True), root=tmp_path)

        assert done.outcome == "passed", [said(done, name) for name in parts(done)]
        assert (platform.positions(live), platform.orders(live)) == ({}, [])
        assert platform.state(live) == platform.state(other) == "stopped"
        assert not platform.refuses()
    finally:
        platform.sees("update public.deployments set status = 'stopped' where id::text <> %s", live)


# --- undoing it -------------------------------------------------------------------------------------------------------


def test_unhalt_restores_both_switches_and_settles_every_halt(platform, live, tmp_path):
    for _ in range(2):
        assert halt(platform.settings(), Request(), root=tmp_path).outcome == "passed"
    assert platform.refuses()

    done = unhalt(platform.settings(), root=tmp_path)

    assert done.outcome == "passed"
    listed = platform.vercel.get("/v10/projects/agentic-trading/env", params={"decrypt": "true"}).json()["envs"]
    values = {one["key"]: one["value"] for one in listed}
    assert (values["DEPLOYMENTS_DISABLED"], values["HYPERLIQUID_LIVE_ENABLED"]) == ("false", "true")
    assert not platform.refuses()
    assert platform.state(live) == "stopped"
    assert [problem for record in record_folder.every(tmp_path) for problem in verify.verify(record.folder)] == []
    with pytest.raises(StepRefused, match="no halt of profile rehearsal is to be undone"):
        unhalt(platform.settings(), root=tmp_path)


def test_unhalt_refuses_after_a_halt_that_did_not_pass_and_while_another_undo_is_owed(platform, live, tmp_path):
    with platform.named_fault("web-down"):
        halt(platform.settings(), Request(), root=tmp_path)
    with pytest.raises(StepRefused, match="is unknown: halt again"):
        unhalt(platform.settings(), root=tmp_path)
    halt(platform.settings(), Request(), root=tmp_path)
    other = run_record.begin(platform.settings(), "phase_3_dry_runs", root=tmp_path)
    other.ledger.append("owed", step="3.1b", command={}, text="")
    with pytest.raises(StepRefused, match=r"3\.1b of .* owes an undo"):
        unhalt(platform.settings(), root=tmp_path)
    assert platform.refuses()


def test_unhalt_refuses_while_an_alarm_or_an_unknown_of_the_watch_is_open(platform, live, tmp_path):
    assert halt(platform.settings(), Request(), root=tmp_path).outcome == "passed"
    watch = run_record.begin(platform.settings(), "phase_4_first_day", root=tmp_path, mode=alarms.MODE)
    said = {"title": "No liquidation", "complaint": "liquidations: 1", "fix": "./runbook halt", "lasts": True}
    for name in ("4.5c", alarms.UNKNOWN):
        watch.ledger.append("raised", alarm=name, event_at=None, detected_at="2026-11-22T12:00:00+00:00", **said)
        with pytest.raises(StepRefused, match=f"{name} No liquidation: open since 2026"):
            unhalt(platform.settings(), root=tmp_path)
        alarms.acknowledge(platform.settings(), tmp_path, name, "ada")
        with pytest.raises(StepRefused, match="open since"):  # taken over is not over
            unhalt(platform.settings(), root=tmp_path)
        watch.ledger.append("cleared", alarm=name, detected_at="2026-11-22T12:00:01+00:00")
    assert platform.refuses()

    assert unhalt(platform.settings(), root=tmp_path).outcome == "passed"


# --- the command ------------------------------------------------------------------------------------------------------


def command(platform, *arguments, answer="", root):
    environment = {**os.environ, **platform.running.environment, "RUNBOOK_RECORDS": str(root)}
    line = [sys.executable, "-m", "runbook_lib.cli", *arguments, "--profile", "rehearsal"]
    told = {"input": answer, "capture_output": True, "text": True, "cwd": ROOT, "env": environment}
    found = subprocess.run(line, check=False, timeout=60, **told)
    return found.returncode, found.stdout + found.stderr


def test_the_command_asks_for_the_profiles_name_and_sends_nothing_for_another(platform, live, tmp_path):
    code, words = command(platform, "halt", "--all", answer="production\n", root=tmp_path)
    assert code == 2 and "nothing was sent" in words
    assert platform.status(live) == "running"
    with pytest.raises(ConfigError, match="--deployment ID, or --all"):
        cli(["halt"], standalone_mode=False)

    code, words = command(platform, "halt", "--all", answer="rehearsal\n", root=tmp_path)
    assert code == 0, words
    assert "Flat at the venue" in words and "seal" in words and "Traceback" not in words
    assert platform.halted(live) == []
    code, words = command(platform, "unhalt", "--yes", root=tmp_path)
    assert code == 0, words


@pytest.fixture
def unchosen(platform, live, tmp_path):
    """Give a command to a shell that has chosen no profile, at a terminal where somebody types, or without one."""
    key = keys.key(tmp_path, "ada")
    own = {"RUNBOOK_RECORDS": str(tmp_path), "RUNBOOK_OPERATOR": "ada", "RUNBOOK_SIGNING_KEY": str(key)}
    environment = {**os.environ, **platform.running.environment, **own, "SIGNER": keys.line(key)}
    environment.pop("RUNBOOK_PROFILE", None)

    def give(*arguments, typed=None):
        line = [sys.executable, "-c", UNCHOSEN, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT, "env": environment}
        if typed is None:
            ended = subprocess.run(line, check=False, timeout=60, stdin=subprocess.DEVNULL, **pipes)
            return ended.returncode, ended.stdout
        person, terminal = pty.openpty()
        with os.fdopen(person, "wb", buffering=0) as keyboard, os.fdopen(terminal, "rb") as asked_at:
            process = subprocess.Popen(line, stdin=asked_at, **pipes)
            keyboard.write(typed.encode())
            said = process.communicate(timeout=60)[0]
        return process.returncode, said

    return give


@pytest.mark.parametrize("options", [(), ("--yes",)])
def test_with_no_profile_chosen_a_terminal_is_asked_once_about_the_only_production(unchosen, platform, live, options):
    code, words = unchosen("halt", "--all", *options, typed="rehearsal\n")
    assert code == 2 and "nothing was sent" in words and platform.status(live) == "running"
    assert f"no profile is chosen: this goes to production, project {platform.settings().project}" in words

    code, words = unchosen("halt", "--all", *options, typed="production\n")
    assert code == 0 and words.count("to go on") == 1, words
    assert platform.halted(live) == []
    assert unchosen("unhalt", typed="production\n")[0] == 0


def test_where_nobody_can_be_asked_the_command_to_paste_is_told_and_asks_nothing(unchosen, platform, live):
    code, words = unchosen("halt", "--all")
    assert (code, words.count("nothing was sent")) == (2, 1) and platform.status(live) == "running"
    pasted = words.rpartition("Paste: ./runbook ")[2].split()
    assert pasted == ["halt", "--all", "--profile", "production", "--yes"]
    code, again = unchosen("halt", "--all", "--profile", "production")
    assert code == 2 and again.rpartition("Paste: ./runbook ")[2].split() == pasted

    assert unchosen(*pasted)[0] == 0 and platform.halted(live) == []
    assert unchosen("unhalt", "--profile", "production", "--yes")[0] == 0


def test_a_halt_within_a_step_says_so_and_draws_nothing_anew_where_nobody_looks(platform, live, tmp_path, monkeypatch):
    calling = run_record.begin(platform.settings(), "phase_1_paper", root=tmp_path)
    calling.ledger.append("sending", step="1.8c", verb="act", title="Halt everything", commands=[])
    monkeypatch.setenv(run_record.RECORD, str(calling.folder))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in the environment of a kernel
    code, words = command(platform, "halt", "--all", "--yes", root=tmp_path)
    assert code == 0 and "\x1b" not in words, words
    calling.ledger.append("outcome", step="1.8c", outcome="passed")
    code, _ = command(platform, "unhalt", "--yes", root=tmp_path)
    halted, undone = [record for record in record_folder.every(tmp_path) if "_halt" in record.name]
    assert halted.opened()["within"] == {"record": calling.name, "step": "1.8c"}
    assert undone.opened()["within"] == {"record": calling.name}
    events = halted.ledger.events()
    assert [event["event"] for event in events if event.get("step") == "refusal"] == ["sending", "outcome"]
    verbs = {event["step"]: event["verb"] for event in events if event["event"] == "outcome"}
    assert (verbs["pause"], verbs["machines"], verbs["flat"]) == ("act", "act", "check")
    monkeypatch.delenv(run_record.RECORD)
    assert "within" not in halt(platform.settings(), Request(), root=tmp_path).record.opened()
    assert unhalt(platform.settings(), root=tmp_path).outcome == "passed"


# Forks one warm process per line of its input, so that a kill hits the halt and not its imports.
PARENT = """
import os, sys, time
from pathlib import Path
from runbook_lib.settings import profiles
from runbook_lib.halt.state import Account, Halting, Request
from runbook_lib.halt.stop import halt, run_parts
chosen = profiles.load("rehearsal")
limits = chosen.budgets.halt.model_copy(update=eval(sys.argv[2]))
chosen = chosen.model_copy(update={"budgets": chosen.budgets.model_copy(update={"halt": limits})})
for line in sys.stdin:
    child = os.fork()
    if not child:
        done = halt(chosen, Request(), root=Path(sys.argv[1]))
        os._exit(0 if done.outcome == "passed" else 1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_killed_at_any_point_and_run_again_it_ends_in_the_same_halted_state(platform, live, tmp_path):
    limits = LIMITS
    line = [sys.executable, "-c", PARENT, str(tmp_path), repr(limits)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, cwd=ROOT, **pipes) as parent:

        def run(seconds=None):
            print("go", file=parent.stdin, flush=True)
            child = int(parent.stdout.readline())
            if seconds is not None:
                time.sleep(seconds)
                with contextlib.suppress(ProcessLookupError):  # it was over already
                    os.kill(child, signal.SIGKILL)
            return int(parent.stdout.readline())

        began = time.monotonic()
        assert run() == 0
        whole = time.monotonic() - began
        for _ in range(POINTS):
            platform.revive(live)
            platform.rest(live)
            moment = random.uniform(0, whole)
            run(moment)
            assert run() == 0, f"killed after {moment:.3f} s of {whole:.3f} s"
            assert platform.halted(live) == [], f"killed after {moment:.3f} s of {whole:.3f} s"
        parent.stdin.close()
    assert unhalt(platform.settings(), root=tmp_path).outcome == "passed"


# --- prices -----------------------------------------------------------------------------------------------------------


@given(st.decimals("0.00012", "250000", places=5), st.booleans(), st.integers(0, 5))
def test_the_limit_of_a_closing_order_is_a_price_the_venue_takes(mid, buy, size_decimals):
    price = Decimal(limit_price(mid, buy=buy, size_decimals=size_decimals))
    whole = price == price.to_integral_value()
    digits = price.normalize()
    assert whole or len(digits.as_tuple().digits) <= 5
    assert whole or -int(digits.as_tuple().exponent) <= 6 - size_decimals
    assert (price >= mid) if buy else (price <= mid)
