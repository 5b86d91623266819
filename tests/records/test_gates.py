"""Every way a gate can be closed is seen closed; the board is the same judgement."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from runbook_lib.agentic_trading.cron_schedules import SWEEP_PATH
from runbook_lib.commands.command import Reply
from runbook_lib.commands.expectations import each
from runbook_lib.errors import StepRefused
from runbook_lib.records import gates, plan, run_record, seal_chain, signing
from runbook_lib.records.verify import SIGNATURE
from runbook_lib.services.services import Services
from runbook_lib.services.write_lock import Writer
from runbook_lib.settings import profiles
from runbook_lib.steps import run_facts
from tests import keys, sealing
from tests.core_fixtures import write_notebook

PAPER = "phase_1_paper"
MAINNET = "phase_2_first_mainnet"


@pytest.fixture
def profile():
    return profiles.load("rehearsal")


@pytest.fixture(autouse=True)
def notebooks(tmp_path_factory, monkeypatch):
    """A notebook of one step for each phase, accepted."""
    folder = tmp_path_factory.mktemp("notebooks")
    for phase in gates.ORDER:
        plan.accept(write_notebook(folder / f"{phase}.ipynb", 'phase.check("0.0a", "looks")'))
    monkeypatch.setattr(plan, "NOTEBOOKS", folder)
    return folder


def begun(root, phase="phase_0_platform_prep", *, profile="rehearsal", project="abcdefghijklmnopqrst", **facts):
    source = plan.notebook(phase)
    opened = {"project": project, "operator": "ada", "plan": plan.written_down(source)}
    record = run_record.create(root, profile, phase, "phase: x\n", **{**opened, **facts})
    record.notebook.write_bytes(source.read_bytes())
    return record


def run(root, phase="phase_0_platform_prep", outcome="passed", *, events=(), **facts):
    """A sealed record of a phase that ended so."""
    record = begun(root, phase, **facts)
    for event, values in (passed("0.0a"), *events):
        record.ledger.append(event, **values)
    sealing.seal(record, outcome)
    return record


def passed(step, **facts):
    event = {"step": step, "verb": "check", "title": "t", "outcome": "passed", "replies": [], **facts}
    return "outcome", event


def schedule(text):
    rows = [{"path": SWEEP_PATH, "schedule": text}]
    return passed("1.9b", replies=[{"rows": rows, "status": 200, "error": None, "text": "", "at": 0, "seconds": 0}])


OWED = (
    "owed",
    {"step": "0.9a", "command": {"kind": "Sql", "statement": "select 1", "values": {}}, "text": "select 1;"},
)


def reasons(profile, phase, root):
    return "\n".join(gates.gate(profile, phase, root).reasons)


def test_the_first_phase_and_notebooks_that_are_no_phase_are_open(profile, tmp_path):
    assert gates.gate(profile, "phase_0_platform_prep", tmp_path).open
    assert gates.gate(profile, "diagnose_boot", tmp_path).open


def test_a_passed_record_opens_the_next_phase_and_is_what_it_rests_on(profile, tmp_path):
    record = run(tmp_path)

    assert gates.require(profile, PAPER, tmp_path) == {
        "rests_on": {"record": record.name, "seal": record.sealed()["hash"]},
        "amber": [],
    }


@pytest.mark.parametrize("outcome", ["failed", "waiting", "unknown", "interrupted"])
def test_a_record_that_did_not_pass_closes_the_next_phase(profile, tmp_path, outcome):
    run(tmp_path, outcome=outcome)

    assert f"is {outcome}" in reasons(profile, PAPER, tmp_path)


def test_a_missing_record_closes_the_gate_and_names_the_phase(profile, tmp_path):
    with pytest.raises(StepRefused, match="phase_0_platform_prep has no record on profile rehearsal"):
        gates.require(profile, PAPER, tmp_path)


def test_an_older_pass_does_not_hide_a_newer_failure(profile, tmp_path):
    run(tmp_path)
    run(tmp_path, outcome="failed")

    assert "is failed" in reasons(profile, PAPER, tmp_path)


def test_a_record_that_was_cut_off_closes_the_gate(profile, tmp_path):
    begun(tmp_path)

    assert "is not sealed" in reasons(profile, PAPER, tmp_path)


def test_a_tampered_record_closes_the_gate_and_names_the_file(profile, tmp_path):
    record = run(tmp_path)
    (record.folder / "parameters.yaml").write_text("phase: y\n")

    assert "does not verify" in reasons(profile, PAPER, tmp_path)
    assert "parameters.yaml" in reasons(profile, PAPER, tmp_path)


def test_a_record_of_another_project_closes_the_gate(profile, tmp_path):
    run(tmp_path, project="zzzzzzzzzzzzzzzzzzzz")

    assert "is of project zzzzzzzzzzzzzzzzzzzz" in reasons(profile, PAPER, tmp_path)


def test_a_record_of_another_profile_does_not_count(profile, tmp_path):
    record = run(tmp_path)
    record.folder.parent.parent.rename(tmp_path / "production")

    assert "has no record on profile rehearsal" in reasons(profile, PAPER, tmp_path)


def test_an_old_record_closes_the_gate(profile, tmp_path):
    run(tmp_path)
    limit = timedelta(hours=profile.gates.hours("phase_0_platform_prep"))
    now = datetime.now(UTC)

    assert gates.gate(profile, PAPER, tmp_path, now + limit - timedelta(minutes=1)).open
    assert "old, at most" in gates.gate(profile, PAPER, tmp_path, now + limit + timedelta(hours=1)).reasons[0]


def test_a_record_of_the_future_closes_the_gate(profile, tmp_path):
    """By the database's clock: a record that this machine dated years ahead would never grow old."""
    run(tmp_path)
    skew = timedelta(seconds=profile.budgets.clock_skew)
    now = datetime.now(UTC)

    assert gates.gate(profile, PAPER, tmp_path, now - skew / 2).open
    assert "was sealed 60 s from now" in gates.gate(profile, PAPER, tmp_path, now - timedelta(seconds=60)).reasons[0]


def closed(profile, phase, root, days):
    return gates.gate(profile, phase, root, datetime.now(UTC) + timedelta(days=days)).reasons


def test_the_dry_runs_are_good_for_hours_and_the_first_day_for_weeks(profile, tmp_path):
    run(tmp_path, "phase_3_dry_runs")
    run(tmp_path, "phase_4_first_day")

    [reason] = closed(profile, "phase_4_first_day", tmp_path, 13 / 24)
    assert "is 13 h old, at most 12 h are allowed: run phase_3_dry_runs again" in reason
    assert closed(profile, "phase_5_follow_up", tmp_path, 20) == ()


def test_a_late_follow_up_never_asks_for_another_deployment_of_what_runs(profile, tmp_path):
    run(tmp_path, "phase_4_first_day")

    [reason] = closed(profile, "phase_5_follow_up", tmp_path, 31)
    assert "is 31 days old, at most 30 days are allowed: raise gates.ages.phase_4_first_day in" in reason
    assert "again would deploy again" in reason


@pytest.mark.parametrize(
    ("phase", "after", "cost"),
    [
        ("phase_2_first_mainnet", "phase_3_dry_runs", "needs another wallet"),
        ("phase_4_first_day", "phase_5_follow_up", "would deploy again"),
    ],
)
def test_no_reason_asks_for_what_costs_another_wallet_or_another_deployment(profile, tmp_path, phase, after, cost):
    record = run(tmp_path, phase, "failed")
    assert closed(profile, after, tmp_path, 0) == (f"{record.name} is failed: resume it; running it again {cost}",)

    run(tmp_path, phase)
    plan.accept(write_notebook(plan.NOTEBOOKS / f"{phase}.ipynb", 'phase.check("0.0a", "looks closer")'))
    reasons = [*closed(profile, after, tmp_path, 60), *closed(profile, after, tmp_path, -1)]
    assert len(reasons) == 4 and all(reason.endswith(f"; running it again {cost}") for reason in reasons), reasons


def test_an_owed_undo_closes_every_phase_until_it_is_undone(profile, tmp_path):
    record = run(tmp_path, outcome="failed", events=[OWED])

    assert all("owes an undo" in "".join(one.reasons) for one in gates.board(profile, tmp_path))
    assert [event["step"] for _, event in gates.owed(profile, tmp_path)] == ["0.9a"]

    parent = {"record": record.name, "seal": record.sealed()["hash"]}
    run(tmp_path, mode="undo", parent=parent, owes=["0.9a"], events=[("undone", {"step": "0.9a"})])
    assert not list(gates.owed(profile, tmp_path))
    assert gates.gate(profile, "phase_0_platform_prep", tmp_path).open


def test_an_undo_is_believed_of_a_record_that_verifies_only(profile, tmp_path):
    record = run(tmp_path, outcome="failed", events=[OWED])
    parent = {"record": record.name, "seal": record.sealed()["hash"]}
    undone = run(tmp_path, mode="undo", parent=parent, owes=["0.9a"], events=[("undone", {"step": "0.9a"})])
    assert not list(gates.owed(profile, tmp_path))

    (undone.folder / "parameters.yaml").write_text("changed")
    assert [event["step"] for _, event in gates.owed(profile, tmp_path)] == ["0.9a"]


def test_mainnet_needs_a_proven_halt_and_a_tight_sweep(profile, tmp_path):
    run(tmp_path, PAPER)
    assert "does not prove the halt" in reasons(profile, MAINNET, tmp_path)
    assert "schedule is unknown" in reasons(profile, MAINNET, tmp_path)

    run(tmp_path, PAPER, events=[passed("1.8b"), schedule("0 3 * * *")])
    assert reasons(profile, MAINNET, tmp_path) == (
        "the heartbeat sweep's schedule is 0 3 * * *: at most 15 minutes apart are allowed"
    )

    run(tmp_path, PAPER, events=[passed("1.8b"), schedule("*/15 * * * *")])
    assert gates.gate(profile, MAINNET, tmp_path).open


def test_a_sweep_on_a_machine_of_its_own_needs_no_schedule(profile, tmp_path):
    run(tmp_path, PAPER, events=[passed("1.8b")])
    elsewhere = profile.model_copy(update={"web": profile.web.model_copy(update={"sweep": "fly:jobs"})})

    assert gates.gate(elsewhere, MAINNET, tmp_path).open


def test_breaking_the_glass_is_recorded_with_what_was_closed_and_stays_amber(profile, tmp_path):
    facts = gates.require(profile, PAPER, tmp_path, "the records are on another machine")
    assert facts["override"] == "the records are on another machine"
    assert "has no record" in facts["closed"][0]

    broken = run(tmp_path, PAPER, events=[passed("1.8b"), schedule("*/5 * * * *")], **facts)
    judged = gates.gate(profile, MAINNET, tmp_path)
    assert judged.open
    assert judged.amber == (f"{broken.name}: the records are on another machine",)

    run(tmp_path, MAINNET, **gates.require(profile, MAINNET, tmp_path))
    assert "on another machine" in gates.gate(profile, "phase_3_dry_runs", tmp_path).amber[0]


def test_a_reason_given_while_the_gate_is_open_breaks_nothing(profile, tmp_path):
    run(tmp_path)

    assert "override" not in gates.require(profile, PAPER, tmp_path, "just in case")


def test_the_board_has_every_phase_in_order(profile, tmp_path):
    assert tuple(one.phase for one in gates.board(profile, tmp_path)) == gates.ORDER


def test_the_newest_is_told_by_the_chain_of_seals_and_not_by_a_name(profile, tmp_path):
    """A pass that was dated a day ahead does not hide the failure that came after it."""
    ahead = run(tmp_path)
    run(tmp_path, outcome="failed")
    tomorrow = ahead.folder.parent.with_name("2999-01-01")
    tomorrow.mkdir()
    ahead.folder.rename(tomorrow / ahead.folder.name)

    assert "is failed" in reasons(profile, PAPER, tmp_path)


def test_a_run_that_was_opened_after_the_newest_seal_is_the_newest(profile, tmp_path):
    older = begun(tmp_path)
    passing = run(tmp_path)
    assert gates.latest(profile, tmp_path, "phase_0_platform_prep").name == passing.name

    newer = begun(tmp_path)
    assert gates.latest(profile, tmp_path, "phase_0_platform_prep").name == newer.name
    assert older.name != newer.name


def test_a_run_whose_cells_were_deleted_closes_the_gate(profile, tmp_path):
    """As seen in JupyterLab: `d d` and a save, and what is left has passed."""
    steps = 'phase.check("0.0a", "x")', 'phase.check("0.0b", "y")'
    plan.accept(write_notebook(plan.NOTEBOOKS / "phase_0_platform_prep.ipynb", *steps))
    record = begun(tmp_path)
    record.ledger.append(*passed("0.0a")[:1], **passed("0.0a")[1])
    record.ledger.append("closed", steps=1)
    write_notebook(record.notebook, steps[0])

    seal = seal_chain.seal(record)
    assert (seal["outcome"], seal["missing"], seal["edited"]) == ("failed", ["0.0b"], ["0.0b"])
    assert "is failed" in reasons(profile, PAPER, tmp_path)


def test_a_run_of_another_plan_than_the_accepted_one_closes_the_gate(profile, tmp_path):
    run(tmp_path)
    plan.accept(write_notebook(plan.NOTEBOOKS / "phase_0_platform_prep.ipynb", 'phase.check("0.0a", "looks closer")'))

    assert "did not follow the plan of phase_0_platform_prep that plans.json holds" in reasons(profile, PAPER, tmp_path)


def test_a_run_with_an_edited_cell_passes_and_closes_the_gate(profile, tmp_path):
    record = begun(tmp_path)
    record.ledger.append("edited", cell="0" * 64, steps=["0.0a"], text="phase.check('0.0a', 'looks away')")
    record.ledger.append(*passed("0.0a")[:1], **passed("0.0a")[1])
    assert sealing.seal(record)["outcome"] == "passed"

    assert f"{record.name} ran cells that were edited: 0.0a" in reasons(profile, PAPER, tmp_path)


def test_what_could_not_be_proven_closes_the_gates_after_the_step_that_was_to_prove_it(profile, tmp_path):
    claim = {"step": "0.0a", "claim": "the sweep wakes a runner", "why": "no runner yet", "due": "1.9b"}
    run(tmp_path, events=[("unproven", claim)])
    opened = gates.require(profile, PAPER, tmp_path)
    paper = {"events": [passed("1.8b"), schedule("*/5 * * * *")], **opened, "carried": [claim]}

    run(tmp_path, PAPER, **{**paper, "events": [passed("1.8b")]})
    assert "0.0a could not prove that the sweep wakes a runner (no runner yet), nor did 1.9b" in reasons(
        profile, MAINNET, tmp_path
    )
    run(tmp_path, PAPER, **paper)
    assert gates.gate(profile, MAINNET, tmp_path).open


def test_the_record_whose_own_step_was_to_prove_a_claim_is_to_be_resumed(profile, tmp_path):
    """A later record only carries the claim: its own steps prove nothing of it."""
    claim = {"step": "0.0a", "claim": "a row shows it", "why": "no row yet", "due": "0.0a"}
    words = "0.0a could not prove that a row shows it (no row yet), nor did 0.0a"
    record = run(tmp_path, events=[("unproven", claim)])
    assert f"{words}; ./runbook resume {record.name} looks again" in reasons(profile, PAPER, tmp_path)

    opened = gates.require(profile, PAPER, tmp_path, override="a test")
    run(tmp_path, PAPER, events=[passed("1.8b"), schedule("*/5 * * * *")], **opened, carried=[claim])
    told = reasons(profile, MAINNET, tmp_path)
    assert words in told and f"{words};" not in told


@pytest.mark.parametrize("line", [b"", b"{}\n", b"[]\n", b"not JSON\n", b'{"event":"opened"}\n', b"\xff\n"])
def test_a_stray_ledger_is_named_and_stops_no_command(profile, tmp_path, line):
    run(tmp_path)
    stray = tmp_path / "rehearsal" / "2026-01-01" / "copy"
    stray.mkdir(parents=True)
    (stray / "ledger.jsonl").write_bytes(line)

    assert "rehearsal/2026-01-01/copy" in reasons(profile, PAPER, tmp_path)
    assert len(gates.of(profile, tmp_path)) == 1


def test_evidence_is_the_newest_record_that_passed(profile, tmp_path):
    good = run(tmp_path)
    run(tmp_path, outcome="failed")

    assert gates.evidence(profile, tmp_path, "phase_0_platform_prep").name == good.name
    assert gates.evidence(profile, tmp_path, PAPER) is None
    assert json.loads((good.folder / "ledger.jsonl").read_text().splitlines()[0])["event"] == "opened"


@pytest.mark.parametrize(
    ("phase", "step", "column"),
    [("phase_0_platform_prep", "0.3g", "docker_content_digest"), (MAINNET, "2.3b", "payload_hash")],
)
def test_another_image_or_skill_than_an_earlier_phase_saw_fails_the_step_that_rests_on_it(
    profile, tmp_path, phase, step, column
):
    """What runs now is not in the records: the notebooks compare it, with what the evidence holds."""
    reply = {"status": None, "error": None, "text": "", "at": 0, "seconds": 0}
    run(tmp_path, phase, events=[passed(step, replies=[{**reply, "rows": [{column: "sha256:1"}]}])])
    here = SimpleNamespace(settings=profile, record=SimpleNamespace(root=tmp_path))
    expect = each(**{column: run_facts.recorded(here, phase, step, column)})

    assert expect.judge([Reply(({column: "sha256:1"},))]).complaint is None
    assert "sha256:2 (expected sha256:1)" in expect.judge([Reply(({column: "sha256:2"},))]).complaint


def test_evidence_that_was_changed_is_none(profile, tmp_path):
    older, newer = run(tmp_path), run(tmp_path)
    (newer.folder / "parameters.yaml").write_text("changed")

    assert gates.evidence(profile, tmp_path, "phase_0_platform_prep").name == older.name


def test_what_another_rehearsal_passed_or_owes_tells_nothing_of_this_one(profile, tmp_path):
    run(tmp_path, outcome="failed", platform="first", events=[OWED])
    first, second = (profile.model_copy(update={"platform": name}) for name in ("first", "second"))

    assert [event["step"] for _, event in gates.owed(first, tmp_path)] == ["0.9a"]
    assert not list(gates.owed(second, tmp_path))
    assert gates.gate(second, "phase_0_platform_prep", tmp_path).open
    assert "has no record" in reasons(second, PAPER, tmp_path)


def test_the_board_without_a_rehearsal_marks_records_of_one_that_has_ended_and_nothing_is_owed_to_it(profile, tmp_path):
    record = run(tmp_path, outcome="failed", platform="first", events=[OWED])

    phase_0, phase_1, *_ = gates.board(profile, tmp_path)

    assert (phase_0.latest, phase_0.outcome) == (record, "failed, platform gone")
    assert f"{record.name} is of a rehearsal that has ended" in "".join(phase_1.reasons)
    assert not list(gates.owed(profile, tmp_path))


# --- who signed, and who writes ---------------------------------------------------------------------------------------


@pytest.fixture
def production(profile, tmp_path, monkeypatch):
    """The production of ada, whose key lies in a folder."""
    key = keys.key(tmp_path, "ada")
    monkeypatch.setenv("RUNBOOK_OPERATOR", "ada")
    monkeypatch.setenv(signing.KEY, str(key))
    return profile.model_copy(update={"kind": "production", "name": "production", "allowed_signers": [keys.line(key)]})


def signed_run(production, root, **facts):
    """A signed record of the first phase, as ada's run leaves it."""
    record = begun(root, kind="production", profile="production", **facts)
    record.ledger.append(*passed("0.0a")[:1], **passed("0.0a")[1])
    sealing.seal(record)
    signing.sign(record)
    return record


@pytest.fixture
def signed(production, tmp_path):
    """A record of the first phase that opens the second."""
    record = signed_run(production, tmp_path / "records")
    assert gates.gate(production, PAPER, tmp_path / "records").open
    return record


def test_a_record_that_is_not_signed_closes_a_productions_gate(production, signed, tmp_path):
    (signed.folder / SIGNATURE).unlink()

    assert "seal.sig: missing: the seal is not signed" in reasons(production, PAPER, tmp_path / "records")


def test_a_record_that_a_stranger_signed_closes_a_productions_gate(production, signed, tmp_path):
    keys.sign(signed, keys.key(tmp_path, "eve"))

    assert "not signed by ada" in reasons(production, PAPER, tmp_path / "records")


def test_a_record_that_rests_on_one_that_is_not_signed_closes_a_productions_gate(production, signed, tmp_path):
    parent = {"record": signed.name, "seal": signed.sealed()["hash"]}
    resumed = signed_run(production, tmp_path / "records", parent=parent)
    assert gates.gate(production, PAPER, tmp_path / "records").rests_on.name == resumed.name
    assert gates.gate(production, PAPER, tmp_path / "records").open

    (signed.folder / SIGNATURE).unlink()
    assert f"{signed.name} does not verify" in reasons(production, PAPER, tmp_path / "records")


def test_an_operator_who_cannot_sign_opens_no_phase_of_a_production(production, chosen, signed, tmp_path, monkeypatch):
    with pytest.raises(StepRefused, match="the database does not tell its time"):
        gates.require(production, PAPER, tmp_path / "records")
    production = production.model_copy(update={"database": chosen.database})

    assert gates.require(production, PAPER, tmp_path / "records")["rests_on"]
    monkeypatch.delenv(signing.KEY)
    with pytest.raises(StepRefused, match="RUNBOOK_SIGNING_KEY names no key"):
        gates.require(production, PAPER, tmp_path / "records")

    broken = gates.require(production, PAPER, tmp_path / "records", "the key is at home")
    assert "names no key" in broken["closed"][0]
    assert gates.require(production, "diagnose_boot", tmp_path / "records")["rests_on"] is None


def test_a_record_made_on_another_profile_closes_the_gate(profile, tmp_path):
    run(tmp_path)
    (tmp_path / "rehearsal").rename(tmp_path / "other")
    other = profile.model_copy(update={"name": "other"})

    assert "was made on profile rehearsal, not other" in reasons(other, PAPER, tmp_path)


def test_a_lock_that_is_held_closes_every_gate_and_says_by_whom_since_when_on_which_record(chosen, tmp_path):
    """No reason opens it. What only looks, and what stops things, opens all the same."""
    held = Services(chosen)
    session = held.database.take_lock(f"launch-runbook {chosen.project}", "grace 2026-11-22/120000Z_phase_1_paper")
    try:
        for override in (None, "I am in a hurry"):
            with pytest.raises(
                StepRefused, match=r"held by grace 2026-11-22/120000Z_phase_1_paper, since 20\d\d.*: you can look"
            ):
                gates.require(chosen, "phase_0_platform_prep", tmp_path, override)
        assert gates.require(chosen, "respond_to_incident", tmp_path)["amber"] == []
    finally:
        session.connection.close()
        held.close()
    assert gates.require(chosen, "phase_0_platform_prep", tmp_path)["rests_on"] is None


def test_ones_own_lock_closes_no_gate(chosen, tmp_path):
    services = Services(chosen)
    Writer(services, "ada").take()

    assert gates.require(chosen, "phase_0_platform_prep", tmp_path)["rests_on"] is None
    services.close()
