"""List what the doctor probes on this platform, and what can be proven only by running a step."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from runbook_lib.agentic_trading.contract import contract
from runbook_lib.agentic_trading.contract_proof import contract_kept, named_columns, spoken_words
from runbook_lib.checklist.heartbeat_sweep import scheduled, sweep_command, sweep_runs
from runbook_lib.checklist.migrations import applied
from runbook_lib.checklist.web_app import logged_requests, request_log, serves
from runbook_lib.commands.command import http, shell, sql
from runbook_lib.commands.expectations import (
    Expectation,
    Finding,
    at_least,
    each,
    entries,
    matches,
    not_null,
    over_all,
    reply,
    text,
    value,
    version,
)
from runbook_lib.services.doctor import Probe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.commands.command import Command, Reply
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
    case "$SUPABASE_SERVICE_ROLE_KEY" in sb_secret_*|eyJ*.*.*) ;; *) echo "SUPABASE_SERVICE_ROLE_KEY is neither sb_secret_... nor a JWT" >&2; exit 1 ;; esac
    case "$NEXT_PUBLIC_SUPABASE_ANON_KEY" in sb_secret_*) echo "NEXT_PUBLIC_SUPABASE_ANON_KEY is a secret key, and every browser would get it" >&2; exit 1 ;; esac
    test "$SUPABASE_URL" = "$NEXT_PUBLIC_SUPABASE_URL" || { echo "SUPABASE_URL and NEXT_PUBLIC_SUPABASE_URL differ" >&2; exit 1; }
    test "$FLY_API_TOKEN" != "$FLY_DEPLOY_TOKEN" || { echo "FLY_DEPLOY_TOKEN is your own token: the web app needs one of its own, for this app only" >&2; exit 1; }
    printf %s "$NEXT_PUBLIC_THIRDWEB_CLIENT_ID" | grep -qE '^[0-9a-f]{32}$' || { echo "client id is not 32 hex digits" >&2; exit 1; }
    test "$HYPERLIQUID_LIVE_ENABLED" = true || { echo "HYPERLIQUID_LIVE_ENABLED is not true" >&2; exit 1; }
    echo "each has its shape"
"""  # noqa: E501 - shown as it runs
# The step that proves a claim, the claim, and what to reckon with until then.
UNPROVEN = (
    ("0.1e", "that the backup can be restored", "nothing could be restored"),
    ("0.2c", "that a Vault secret comes back through its agent", "no live runner could sign"),
    ("0.4a", "when the deploy token expires", "it may have 20 years"),
    ("0.5a", "that the cron secret here is the one of the live deployment", "no sweep runs"),
    ("0.5c", "that the jobs turn a wrong cron secret away", "anybody can ask for a sweep"),
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
    ("4.4a", "that an alarm reaches its people, and the dead man's service notices silence", "nobody hears of it"),
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
            "vault functions",
            (
                sql("""
                    select to_regprocedure('vault.create_secret(text, text, text, uuid)') is not null as vault_function,
                           count(*) as functions,
                           coalesce(bool_and(p.prosecdef and pg_get_userbyid(p.proowner) = 'postgres'
                             and array_to_string(p.proconfig, ',') like 'search_path=%'), true) as run_as_postgres,
                           coalesce(bool_or(has_function_privilege('anon', p.oid, 'execute')
                             or has_function_privilege('authenticated', p.oid, 'execute')), false) as open_to_the_web
                    from pg_proc p where p.oid in (
                      to_regprocedure('public.create_hyperliquid_agent_secret(text, text)'),
                      to_regprocedure('public.get_hyperliquid_agent_secret(uuid)'))
                """),
            ),
            reply(vault_function=True, functions=2, run_as_postgres=True, open_to_the_web=False),
            "0.2, every live runner: it could not sign",
            "0.1g makes both functions; see 0.2a and 0.2b for what each must be",
            made_by="0.1g",
        ),
        Probe(
            "grants",
            (
                sql("""
                    select count(*) as tables,
                           coalesce(string_agg(c.relname, ', ') filter (where not (
                             has_table_privilege('service_role', c.oid, 'select')
                             and has_table_privilege('service_role', c.oid, 'insert')
                             and has_table_privilege('service_role', c.oid, 'update')
                             and has_table_privilege('service_role', c.oid, 'delete'))), '') as service_role_lacks,
                           coalesce(string_agg(c.relname, ', ') filter (where not c.relrowsecurity and (
                             has_table_privilege('anon', c.oid, 'insert, update, delete')
                             or has_table_privilege('authenticated', c.oid, 'insert, update, delete'))), '')
                             as the_web_may_change
                    from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
                """),
            ),
            reply(tables=at_least(1), service_role_lacks="", the_web_may_change=""),
            "0.1l, every runner and the web app: permission denied for table …",
            "push a migration: grant select, insert, update, delete on all tables in schema public to service_role; "
            "enable row level security where the web may change rows",
            made_by="0.1g",
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
            "what serves production",
            (http("vercel", "GET /v9/projects/{vercel.project}"),),
            serves(),
            "0.4h, every page and every cron job",
            "deploy the web app to production, or promote the deployment that is meant",
        ),
        Probe(
            "vercel request log",
            (http("vercel", "GET /v9/projects/{vercel.project}"),),
            over_all("the history of requests can be read", _log_read, empty=True),
            "1.6, 4.4f: whether cron jobs run, and why a page fails, would stay unknown",
            "compare vercel_logs in the profile: the dashboard's own host, and a token that may read the project",
            then=_last_minute,
        ),
        Probe(
            "the sweep is switched on",
            (sweep_command(settings),),
            sweep_runs(settings),
            "0.4l, 3.2: nobody marks a dead runner",
            "Vercel: Settings, Cron Jobs, enable. Fly: start the machine that web.sweep names",
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


def _last_minute(project: Reply) -> Command:
    return request_log(project, since=datetime.fromtimestamp(project.at - 60, UTC).isoformat(), until="now")


def _log_read(replies: Sequence[Reply]) -> Finding:
    requests = logged_requests(replies[-1])
    if requests is None:
        return Finding("", replies[-1].error or "the answer has no rows and hasMoreRows: it is no request log")
    return Finding(f"{len(requests)} requests in the last minute")


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
