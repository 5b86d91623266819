"""What the doctor looks at on this platform, before phase 0 and after it, and what it says it cannot prove."""

import os

import pytest

from runbook_lib.agentic_trading.contract import contract
from runbook_lib.checklist import doctor_probes
from runbook_lib.records import plan
from runbook_lib.services import doctor
from runbook_lib.settings import profiles
from tests.core_fixtures import connect, fault_of


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
        ("SUPABASE_SERVICE_ROLE_KEY", "short-secret-0123456789", "neither sb_secret_... nor a JWT"),
        (
            "NEXT_PUBLIC_SUPABASE_ANON_KEY",
            "sb_secret_" + 16 * "0",
            "is a secret key, and every browser would get it",
        ),
        ("NEXT_PUBLIC_SUPABASE_URL", "https://other.example", "SUPABASE_URL and NEXT_PUBLIC_SUPABASE_URL differ"),
        ("CRON_SECRET", "short-secret-0123456789", "CRON_SECRET is not 32 random bytes"),
    ],
)
def test_a_value_of_another_shape_is_found_and_not_shown(on_paper, monkeypatch, variable, value, words):
    monkeypatch.setenv(variable, value)
    verdict = examined(profiles.load("rehearsal"), monkeypatch)["shapes of values"]

    assert not verdict.good and words in verdict.seen and "short-secret" not in verdict.seen


def test_a_token_of_ones_own_is_not_given_to_the_web_app(on_paper, monkeypatch):
    monkeypatch.setenv("FLY_DEPLOY_TOKEN", os.environ["FLY_API_TOKEN"])
    verdict = examined(profiles.load("rehearsal"), monkeypatch)["shapes of values"]

    assert not verdict.good and "FLY_DEPLOY_TOKEN is your own token" in verdict.seen


@pytest.mark.parametrize(
    ("right", "name", "words"),
    [
        (
            (
                "revoke insert on public.agent_commands from service_role",
                "grant insert on public.agent_commands to service_role",
            ),
            "grants",
            "service_role_lacks: expected , found agent_commands",
        ),
        (
            (
                "grant execute on function public.get_hyperliquid_agent_secret(uuid) to anon",
                "revoke execute on function public.get_hyperliquid_agent_secret(uuid) from anon",
            ),
            "vault functions",
            "open_to_the_web: expected False, found True",
        ),
    ],
)
def test_a_right_too_few_or_too_many_is_found(right, name, words, *, paper, on_paper, monkeypatch):
    wrong, mended = right
    with connect(paper) as connection:
        connection.execute(wrong)
        verdict = examined(on_paper, monkeypatch)[name]
        connection.execute(mended)

    assert not verdict.good and words in verdict.seen


def test_a_request_log_on_another_host_is_found(on_paper, monkeypatch):
    there = on_paper.vercel_logs.model_copy(update={"url": on_paper.vercel.url})
    verdict = examined(on_paper.model_copy(update={"vercel_logs": there}), monkeypatch)["vercel request log"]

    assert not verdict.good and "404" in verdict.seen


def test_a_sweep_that_is_switched_off_is_found(paper, on_paper, monkeypatch):
    with fault_of(paper, "crons-disabled"):
        assert not examined(on_paper, monkeypatch)["the sweep is switched on"].good


def test_every_claim_that_no_look_proves_names_a_step_that_does():
    steps = {step.number for name in plan.notebooks() for step in plan.steps(plan.notebook(name))}
    proofs = {entry.proof for _, entry in contract().entries() if getattr(entry, "proof", None)}

    assert {step for step, *_ in doctor_probes.UNPROVEN} <= steps
    assert proofs <= {step for step, *_ in doctor_probes.UNPROVEN}
