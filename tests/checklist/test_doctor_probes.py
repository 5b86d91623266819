"""What the doctor looks at on this platform, before phase 0 and after it, and what it says it cannot prove."""

import pytest

from runbook_lib.agentic_trading.contract import contract
from runbook_lib.checklist import doctor_probes
from runbook_lib.records import plan
from runbook_lib.services import doctor
from runbook_lib.settings import profiles


def examined(settings, monkeypatch):
    monkeypatch.setattr(doctor, "probes", lambda _: [])
    return {verdict.name: verdict for verdict in doctor.examine(settings, doctor_probes.probes(settings))}


def test_a_platform_that_runs_is_sound(on_paper, monkeypatch):
    found = examined(on_paper, monkeypatch)

    assert {name: verdict.seen for name, verdict in found.items() if not verdict.good} == {}


def test_what_phase_0_makes_is_not_missed_before_it(chosen, monkeypatch):
    """But for names: without tables there is nothing to compare, and the doctor says which step makes them."""
    before = {name: verdict.word for name, verdict in examined(chosen, monkeypatch).items() if not verdict.good}

    assert set(before.values()) <= {"not before 0.1g", "not before 0.3a", "not before 0.3c"}


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("HYPERLIQUID_LIVE_ENABLED", "false", "HYPERLIQUID_LIVE_ENABLED is not true"),
        ("CRON_SECRET", "short-secret-0123456789", "CRON_SECRET is not 32 random bytes"),
    ],
)
def test_a_value_of_another_shape_is_found_and_not_shown(on_paper, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    verdict = examined(profiles.load("rehearsal"), monkeypatch)["shapes of values"]

    assert not verdict.good and words in verdict.seen and "short-secret" not in verdict.seen


def test_every_claim_that_no_look_proves_names_a_step_that_does():
    steps = {step.number for name in plan.notebooks() for step in plan.steps(plan.notebook(name))}
    proofs = {entry.proof for _, entry in contract().entries() if getattr(entry, "proof", None)}

    assert {step for step, *_ in doctor_probes.UNPROVEN} <= steps
    assert proofs <= {step for step, *_ in doctor_probes.UNPROVEN}
