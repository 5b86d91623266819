"""Symptoms: every failure the checklist names for phase 0 is known, and each entry can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from runbook_lib.agentic_trading import symptoms
from runbook_lib.agentic_trading.symptoms import diagnose, known
from runbook_lib.records import plan

# What a service, a tool or an expectation really says, the step it says it at, and the entry that must answer first.
SAID = [
    ("HTTP 401 Unauthorized: {}", "0.5a", "cron secret mismatch"),
    (
        "expected status 200, found 401: HTTP 401 Unauthorized: <!doctype html><title>Authentication Required</title>",
        "0.5a",
        "deployment protection",
    ),
    ("status=401 with a page: deployment protection answered, not the service", "0.5c", "deployment protection"),
    (
        "expected status 200, found 308: HTTP 308 Permanent Redirect to https://www.trading.example/: Redirecting...",
        "0.5a",
        "address that leads elsewhere",
    ),
    ("FATAL: MaxClientsInSessionMode: max clients reached - in Session mode", "1.6", "pooler has no session left"),
    ("(EMAXCONNSESSION) max clients reached in session mode", "1.6d", "pooler has no session left"),
    ("FATAL:  (ECIRCUITBREAKER) too many authentication errors", "1.7e", "too many log-ins refused"),
    ("remaining connection slots are reserved for roles", "1.6d", "database has no connection left"),
    ("cannot execute INSERT in a read-only transaction", "1.5c", "database only reads"),
    ("SSL error: certificate verify failed", "0.1b", "certificate not known"),
    ("tick_failed: OpenRouter 402 Insufficient credits", "1.6", "model credits used up"),
    ("tick_failed: OpenRouter: 403 Key limit exceeded (monthly limit)", "1.6", "model key over its limit"),
    ('OpenRouter 401: {"error":{"message":"No auth credentials found"}}', "1.6", "model key refused"),
    ("OpenRouter 400: anthropic/claude-none is not a valid model ID", "1.6", "model unknown"),
    ("OpenRouter 529 Overloaded", "1.6", "model overloaded"),
    ("This endpoint's maximum context length is 200000 tokens", "1.6", "model context too long"),
    ("Insufficient margin to place order. asset=0", "2.5c", "order without margin"),
    ("Order must have minimum value of $10. asset=0", "2.5c", "order too small"),
    ("User or API Wallet 0xab does not exist.", "2.5c", "agent unknown to the venue"),
    ("Too many cumulative requests sent (10123 > 10010)", "2.5c", "venue limits the address"),
    ("insufficient resources to create new machine with existing volume", "1.6", "no room for a machine"),
    ("We need your payment information to continue", "1.6", "Fly account stopped"),
    ("FATAL ERROR: Reached heap limit Allocation failed", "1.6", "runner out of heap"),
    ("expected status 200, found 401: HTTP 401 Unauthorized: ", "0.5b", "cron secret mismatch"),
    ("expected status 200, found 500: HTTP 500 Internal Server Error: {}", "0.5b", "cron endpoint broken"),
    ('expected status 401, found 200: {"checked":0}', "0.5c", "cron endpoint open"),
    (
        "expected a Target: line that names the remote project, found Target: local stack (127.0.0.1:54322)",
        "0.1g",
        "pushed to the local stack",
    ),
    (
        "expected a Target: line that names the remote project, found no Target: line",
        "0.1g",
        "pushed to the local stack",
    ),
    ("pending: 20991231000000, 20991231000001", "0.1h", "migration pending"),
    ("not in the repository: 20990101000000", "0.1h", "migration unknown to the checkout"),
    ("exit 1: lstat apps/live-runner: no such file or directory", "0.3f", "build from the wrong folder"),
    ('exit 1: failed to compute cache key: "/packages": not found', "0.3f", "build from the wrong folder"),
    ('HTTP 422 Unprocessable Entity: {"error":"Name has already been taken"}', "0.3a", "app name taken"),
    ("changed after 2026-11-22T10:00:00Z: CRON_SECRET", "0.4j", "variables wait for a deployment"),
    ("supabase_vault is missing", "0.1j", "Vault missing"),
    ('schema "vault" does not exist', "0.2c", "Vault missing"),
    ('extension "supabase_vault" is not available', "0.1g", "Vault missing"),
    ("function vault.create_secret(text, text) does not exist", "0.2c", "Vault function of another version"),
    ("signature: expected vault.create_secret, found null", "0.2b", "Vault function of another version"),
    ("permission denied for function create_hyperliquid_agent_secret", "0.2c", "Vault function not definer"),
    ("permission denied for schema vault", "0.2c", "Vault function not definer"),
    ("permission denied for table secrets", "0.2c", "Vault function not definer"),
    ("permission denied for view decrypted_secrets", "0.2d", "Vault function not definer"),
    ("permission denied for function _crypto_aead_det_encrypt", "0.2c", "Vault function not definer"),
    ("definer=False (expected True) in proname=create_hyperliquid_agent_secret", "0.2a", "Vault function not definer"),
    ("owner=supabase_admin (expected postgres) in proname=get_hype", "0.2a", "Vault function not definer"),
    ('connection failed: FATAL: password authentication failed for user "postgres"', "0.1b", "wrong database password"),
    ("FATAL:  Tenant or user not found", "0.1b", "unknown to the pooler"),
    (
        "live-runner: set SUPABASE_DB_URL, or SUPABASE_URL + (SUPABASE_DB_PASSWORD | POSTGRES_PASSWORD)",
        "1.6",
        "database password missing on the runner",
    ),
    (
        "delivered=False (expected True) in delivered=False, milliseconds=None, mode=direct",
        "0.1d",
        "transaction pooler",
    ),
    ("production.yaml: database.url: port 6543 is a transaction pooler", "", "transaction pooler"),
    ('relation "public.mainnet_orders" does not exist', "0.2e", "unknown table"),
    ("permission denied for table agent_logs", "1.6", "no grant on a table"),
    ("permission denied for sequence agent_logs_id_seq", "", "no grant on a table"),
    ("service_role_lacks=insert (expected '') in name=agent_logs", "0.1l", "no grant on a table"),
    ('relation "supabase_migrations.schema_migrations" does not exist', "0.1h", "unknown table"),
    ('column "agent_key" does not exist', "1.3", "unknown column"),
    # the checklist's table of boot failures, 1.6
    (
        "Error: Attempted to call getDefaultConfig() from the server but getDefaultConfig is on the client",
        "1.3",
        "client wallet code in a server bundle",
    ),
    (
        'Error: A "use server" file can only export async functions, found object',
        "1.3",
        "constant exported from a server-action file",
    ),
    ("DEPLOYMENT_ID env not injected", "1.3", "DEPLOYMENT_ID not injected"),
    ("loadDeploymentAndSkill failed: Invalid API key", "1.3", "service role key wrong on the runner"),
    ('column "hyperliquid_agent_id" does not exist', "1.3", "deployments table lacks a migration"),
    ("paper broker: no mark price set for SOL; call setMarkPrice first", "1.4", "no mark price for a symbol"),
    ("Hyperliquid allMids 502 Bad Gateway", "1.4", "venue mids not available"),
    ("tick_failed: NotYetImplemented", "2.5", "mainnet broker is a stub"),
    ("mainnet broker refused: HYPERLIQUID_LIVE_ENABLED is not true", "2.5", "live trading switched off"),
    ("webdata2_apply_failed", "2.5", "retired venue subscription"),
    ("1 mismatches:\n  liquidated by the venue: 0.001 BTC at 79000 (fill 7)", "2.6a", "liquidated by the venue"),
    ("fills without a row: slice of TWAP 7, which no order of the platform's began: 1 ETH", "4.3d", "slice of a TWAP"),
    ('error: password authentication failed for user "postgres"', "1.6d", "runner has a wrong database password"),
    ("exit: stopped (exit 137, out of memory)", "1.6d", "machine out of memory"),
    ("deployments are disabled (DEPLOYMENTS_DISABLED)", "1.3a", "deployments switched off"),
    ("live-runner crashed at boot", "1.3", "runner crashed at boot"),
    ("failed to get manifest: manifest unknown", "1.3", "image not in the registry"),
    ("column a.vault_key_id does not exist", "0.2c", "unknown column"),
    ("function public.get_hyperliquid_agent_secret(uuid) does not exist", "0.2d", "unknown function"),
    ("permission denied for schema auth", "0.1k", "permission denied"),
    ("permission denied to create extension", "0.1g", "permission denied"),
    ("must be owner of table agent_commands", "0.1g", "permission denied"),
    ("canceling statement due to statement timeout", "0.1h", "statement too slow"),
    ("exit 1: fly secrets deploy: no machines available to deploy", "1.7", "secrets deploy does not apply"),
    ("exit 127: sh: 1: supabase: not found", "0.1a", "tool not installed"),
    ("exit 1: Cannot find project ref. Have you run supabase link?", "0.1g", "not linked"),
    ("cannot run in /srv/platform: No such file or directory", "0.1f", "no repository"),
    ('HTTP 401 Unauthorized: {"error":"unauthorized"}', "0.3b", "token refused"),
    ('HTTP 403 Forbidden: {"error":{"code":"forbidden"}}', "0.4c", "token refused"),
    ("expected status 200, found 403: HTTP 403 Forbidden: ", "0.4d", "token refused"),
    ("exit 1: Error: no access token available. Please login with 'flyctl auth login'", "0.3f", "token refused"),
    ("exit 1: Access token not provided. Supply an access token by running `supabase login`", "0.1f", "token refused"),
    ("HTTP 404 Not Found: {}", "0.3b", "not found"),
    ("HTTP 429 Too Many Requests: {}", "0.4c", "too many requests"),
    ("HTTP 503 Service Unavailable: {}", "0.4c", "service broken"),
    ("HTTP 500 Internal Server Error: {}", "0.3b", "service broken"),
    ("fly https://api.machines.dev: cannot connect: [Errno -2] Name or service not known", "0.3a", "address not found"),
    ("database db.x.supabase.co: failed to resolve host 'db.x.supabase.co'", "0.1b", "address not found"),
    ("fly https://api.machines.dev: cannot connect: [Errno 111] Connection refused", "0.3a", "no answer"),
    ("vercel https://api.vercel.com: no answer: ReadTimeout", "0.4c", "no answer"),
    ("database: connection timeout expired", "0.1b", "no answer"),
]


@pytest.mark.parametrize(("text", "step", "name"), SAID)
def test_a_failure_is_recognised_where_it_happens(text: str, step: str, name: str) -> None:
    found = diagnose(text, step)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("symptom", known(), ids=lambda s: s.name)
def test_every_symptom_is_reached_by_something_really_said(symptom: symptoms.Symptom) -> None:
    assert symptom.name in {name for _, _, name in SAID}


@pytest.mark.parametrize("symptom", known(), ids=lambda s: s.name)
def test_every_symptom_is_well_formed(symptom: symptoms.Symptom) -> None:
    assert re.compile(symptom.words).search("") is None
    assert symptom.cause.rstrip().endswith(".")
    assert symptom.fix.rstrip().endswith(".")
    assert "\n" not in symptom.cause.strip() + symptom.fix.strip()
    assert all(re.fullmatch(r"\d(\.\d+[a-z]?)?", step) for step in (*symptom.steps, symptom.back or "0"))


def test_names_of_symptoms_are_unique() -> None:
    names = [symptom.name for symptom in known()]
    assert len(set(names)) == len(names)


def test_the_file_holds_no_other_keys() -> None:
    text = (Path(symptoms.__file__).parent / "symptoms.yaml").read_text(encoding="utf-8")
    assert {key for one in yaml.safe_load(text) for key in one} == {"name", "words", "cause", "fix", "steps", "back"}


@pytest.mark.parametrize("text", ["", "marked: expected 0, found 2", "clocks are 3.00 s apart, at most 2 s: a +3.00 s"])
def test_what_is_not_known_gets_no_diagnosis(text: str) -> None:
    assert diagnose(text, "0.1c") is None


def test_a_symptom_of_one_step_is_not_told_at_another() -> None:
    assert diagnose("no such file", "0.3f")
    assert diagnose("no such file", "0.5a") is None
    assert diagnose("no such file") is not None  # asked without a step, as an operator may


@pytest.mark.parametrize("symptom", known(), ids=lambda s: s.name)
def test_steps_that_a_fix_sends_the_operator_to_exist(symptom: symptoms.Symptom) -> None:
    """Of phases whose notebook is here; a number may be the beginning of one."""
    there = [step.number for name in plan.notebooks() for step in plan.steps(plan.notebook(name))]
    phases = {number.partition(".")[0] for number in there}
    named = [*re.findall(r"\((\d\.\d+[a-z]?)", symptom.fix), *filter(None, [symptom.back])]
    named = [n for n in named if n[:1] in phases]
    assert [n for n in named if not any(number.startswith(n) for number in there)] == []
