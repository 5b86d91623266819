"""List what the doctor probes on this platform, and what only running a step can prove."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import contract
from runbook_lib.agentic_trading.contract_proof import contract_kept, named_columns, spoken_words
from runbook_lib.checklist.heartbeat_sweep import scheduled
from runbook_lib.checklist.migrations import applied
from runbook_lib.commands.command import http, shell, sql
from runbook_lib.commands.expectations import (
    Expectation,
    Finding,
    each,
    entries,
    matches,
    not_null,
    reply,
    text,
    value,
    version,
)
from runbook_lib.services.doctor import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.commands.command import Reply
    from runbook_lib.settings.profiles import Settings

SECRETS = (
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_DB_PASSWORD",
    "OPENROUTER_API_KEY",
    "HYPERLIQUID_LIVE_ENABLED",
)
SHAPES = """
    printf %s "$CRON_SECRET" | grep -qE '^[0-9a-f]{64}$' || { echo "CRON_SECRET is not 32 random bytes in hex" >&2; exit 1; }
    printf %s "$NEXT_PUBLIC_THIRDWEB_CLIENT_ID" | grep -qE '^[0-9a-f]{32}$' || { echo "client id is not 32 hex digits" >&2; exit 1; }
    test "$HYPERLIQUID_LIVE_ENABLED" = true || { echo "HYPERLIQUID_LIVE_ENABLED is not true" >&2; exit 1; }
    echo "each has its shape"
"""  # noqa: E501 - shown as it runs
# The step that proves a claim, the claim, and what to reckon with until then.
UNPROVEN = (
    ("0.1e", "that a backup exists", "nothing could be restored"),
    ("0.2c", "that a Vault secret comes back through its agent", "no live runner could sign"),
    ("0.4a", "when the deploy token expires", "it may have 20 years"),
    ("0.5a", "that the cron secret here is the one of the live deployment", "no sweep runs"),
    ("1.3c", "that a runner boots with the app's own secrets", "it does not"),
    (
        "1.4f",
        "words of the contract that only a paper deployment's rows show",
        "a check that sees nothing proves nothing",
    ),
    ("1.5b", "that a runner obeys commands", "only stopping its machine stops it"),
    ("1.8ha", "that a paused deployment stays paused over a restart", "a machine that comes back trades"),
    ("2.4g", "that the venue takes the agent's approval", "no order can be placed"),
    (
        "2.5f",
        "words of the contract that only a live deployment's rows show",
        "a check that sees nothing proves nothing",
    ),
    ("3.1c", "that the runner reads the Skill again", "a changed cap waits for a new deployment"),
    ("3.2k", "that the sweep scans paused deployments", "nobody marks a dead one"),
    ("3.4c", "that a halt ends flat at the venue", "close positions in the venue's app"),
)


def probes(settings: Settings) -> list[Probe]:
    """Return the doctor's probes of this platform: the reads that prove its addresses and credentials.

    A probe's ``made_by`` names the step of phase 0 that makes what the probe looks for.
    """
    app = http("fly", "GET /v1/apps/{fly.app}")
    return [
        Probe(
            "migrations",
            (sql("select version, name from supabase_migrations.schema_migrations order by version"),),
            applied(settings.repository),
            "every step that asks the database",
            "0.1g pushes what is pending; update the checkout where one is unknown",
            made_by="0.1g",
        ),
        Probe(
            "names of the platform",
            (named_columns(), spoken_words()),
            _names_kept(),
            "every step and module it names",
            "./runbook adapt OLD=NEW … rewrites cells and library",
        ),
        Probe(
            "vault",
            (sql("select extname, extversion from pg_extension where extname = 'supabase_vault'"),),
            entries("extname", "extversion", supabase_vault=version("0.2.8")),
            "0.2, every live runner",
            "create extension supabase_vault with schema vault",
        ),
        Probe(
            "fly app",
            (app,),
            reply(name=settings.fly.app, organization=matches(f"'{settings.fly.org}'")),
            "0.3, every machine",
            "compare fly.org and fly.app in the profile",
            made_by="0.3a",
        ),
        Probe(
            "fly logs",
            (http("fly_logs", "GET /api/v1/apps/{fly.app}/logs", pick="data"),),
            each(minimum=0, attributes=not_null),
            "1.3f, 2.5a",
            "the log's host takes the token as it was issued, without Bearer; compare fly_logs in the profile",
            made_by="0.3a",
        ),
        Probe(
            "app secrets",
            (http("fly", "GET /v1/apps/{fly.app}/secrets", pick="secrets"),),
            entries("name", None, *SECRETS) & each(digest=not_null),
            "1.3, every runner",
            "0.3c sets them",
            made_by="0.3c",
        ),
        Probe(
            "vercel variables",
            (http("vercel", "GET /v10/projects/{vercel.project}/env", pick="envs"),),
            each(minimum=0, key=not_null),
            "0.4c, every switch of a halt",
            "the token must be allowed to read the project's environment; compare vercel.team",
        ),
        Probe(
            "cron jobs",
            (http("vercel", "GET /v9/projects/{vercel.project}", pick="crons.definitions"),),
            scheduled("/api/jobs/heartbeat-sweep", "/api/jobs/pending-agents-gc"),
            "0.4k, 3.2",
            "deploy an apps/web/vercel.json that lists both jobs",
        ),
        Probe(
            "shapes of values",
            (shell(SHAPES, reads=True, folder="/"),),
            text("each has its shape"),
            "0.4d, 0.5, 2.4",
            "openssl rand -hex 32 makes a cron secret; HYPERLIQUID_LIVE_ENABLED must be true before mainnet",
        ),
        Probe(
            "at most one trigger announces a command",
            (
                sql("""
                    select count(*) as triggers from pg_trigger t join pg_proc p on p.oid = t.tgfoid
                    where t.tgrelid = to_regclass('public.agent_commands') and not t.tgisinternal
                      and t.tgenabled <> 'D' and p.prosrc ilike '%pg_notify%'
                """),
            ),
            value(matches("^[01]$", "0 or 1"), "triggers"),
            "1.5: a runner would handle each command twice",
            "drop the extra trigger by a migration",
        ),
    ]


def _names_kept() -> Expectation:
    """Expect that the platform has every name of the contract. Before the migrations, accept a platform without
    tables.
    """
    kept = contract_kept()

    def test(replies: Sequence[Reply]) -> Finding:
        made = {str(name) for name in replies[0].column("place")}
        if replies[0].error is None and made and not any(name in made for name in contract().tables if "." not in name):
            return Finding("no table to compare yet: 0.1g makes them")
        return kept.judge(replies)

    return replace(kept, judge=test)
