"""Bring a rehearsed platform into a named starting state.

In each state, one of the notebooks can begin. Each state rests on another one and adds a little by the gestures that an
operator makes. What takes days on the real platform (ticks, a first day) is written into the database as it would have
been left behind.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

from runbook_lib.errors import ConfigError, ServiceError, nearest

if TYPE_CHECKING:  # the command line names states too, and has no need of a platform's imports
    from runbook_lib.rehearsal.world.world import World

FLY_SECRETS = (
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_DB_PASSWORD",
    "OPENROUTER_API_KEY",
    "HYPERLIQUID_LIVE_ENABLED",
)
PATIENCE = 20.0  # seconds a state may take to settle on a busy machine
SIMULATIONS_OVER: LiteralString = "select 1 where not exists (select from public.sim_runs where status <> 'complete')"
# A paper deployment that did all phase 1 asks for and was stopped: 12 ticks, the five commands, the logs.
PAPER_RUN: LiteralString = """
    with run as (
      insert into public.deployments (user_id, skill_id, skill_version, broker_kind, status, created_at)
      select user_id, id, latest_version, 'paper', 'stopped', now() - interval '2 hours'
      from public.skills order by created_at desc limit 1 returning id
    ), state as (
      insert into public.agent_state (deployment_id, equity_usd, updated_at)
      select id, 10000, now() - interval '1 hour' from run
    ), ticks as (
      insert into public.decision_snapshots
        (deployment_id, tick_at, verdict, prompt_tokens, completion_tokens, cost_usd)
      select id, now() - interval '1 hour' - n * interval '5 minutes',
             '{"status": "noop", "reason": "agent_proposed_nothing"}', 20000 + 100 * n, 900, 0.0245 + 0.0001 * n
      from run, generate_series(0, 11) n
    ), logs as (
      insert into public.agent_logs (deployment_id, ts, event, message)
      select id, now() - interval '2 hours' + n * interval '5 minutes',
             case n when 0 then 'runner_started' else (array['reconciled', 'tick'])[1 + n % 2] end, 'backfilled'
      from run, generate_series(0, 12) n
    )
    insert into public.agent_commands (deployment_id, kind, issued_by, created_at, acked_at)
    select id, kind, 'web', now() - interval '61 minutes', now() - interval '61 minutes' + interval '80 ms'
    from run, unnest(array['pause', 'resume', 'snapshot', 'flatten', 'stop']) kind
"""
# A day behind the newest live deployment: the one before it, of the version before, decided and reconciled every five
# minutes, each tick at Haiku's price, until it was stopped for the new one.
FIRST_DAY: LiteralString = """
    with newest as (
      select * from public.deployments where broker_kind = 'hyperliquid-mainnet' order by created_at desc limit 1
    ), version as (
      insert into public.skill_versions (skill_id, version, payload, payload_hash, created_at)
      select v.skill_id, 0, jsonb_set(v.payload, '{schedule,every}', '"300s"'), 'sha256:of-the-first-day',
             now() - interval '2 days'
      from public.skill_versions v join newest on newest.skill_id = v.skill_id and newest.skill_version = v.version
    ), run as (
      insert into public.deployments
        (user_id, skill_id, skill_version, hyperliquid_agent_id, broker_kind, status, created_at)
      select user_id, skill_id, 0, hyperliquid_agent_id, broker_kind, 'stopped', created_at - interval '25 hours'
      from newest returning id
    ), stopped as (
      insert into public.agent_commands (deployment_id, kind, issued_by, created_at, acked_at)
      select run.id, 'stop', 'web', newest.created_at - interval '1 second', newest.created_at from run, newest
    ), ticks as (
      insert into public.decision_snapshots
        (deployment_id, tick_at, context, verdict, prompt_tokens, completion_tokens, cost_usd)
      select run.id, newest.created_at - n * interval '5 minutes', '{"backfilled": true}',
             '{"status": "noop", "reason": "agent_proposed_nothing"}', 18000 + 50 * (n % 40), 800,
             0.022 + 0.00005 * (n % 40)
      from run, newest, generate_series(0, 300) n
    )
    insert into public.agent_logs (deployment_id, ts, event, message, data)
    select run.id, newest.created_at - n * interval '5 minutes', event, event || ': backfilled',
           jsonb_build_object('backfilled', true, 'equity_usd', round((100 + 0.4 * sin(n / 20.0))::numeric, 2))
    from run, newest, generate_series(0, 300) n, unnest(array['tick', 'reconciled']) event
"""


def prepare(world: World, state: str) -> None:
    """Bring a new platform into a named starting state. Raise `ServiceError` if the state is not reached in time."""
    build, world.vercel.build_seconds = world.vercel.build_seconds, 0.0
    try:
        for add in _additions(state):
            add(world)
        if STATES[state].backtests:
            _until(world, SIMULATIONS_OVER, "the end of the backtests")
    finally:
        world.vercel.build_seconds = build


def state(name: str) -> State:
    """Return a starting state by name.

    If no state has that name, raise a `ConfigError` that names the nearest state.
    """
    if name not in STATES:
        raise ConfigError(f"no state {name!r}: {nearest(name, STATES)}")
    return STATES[name]


def _additions(name: str | None) -> list[Callable[[World], None]]:
    """Return the functions that bring a new platform into a state, in order."""
    if name is None:
        return []
    return [*_additions(STATES[name].rests_on), STATES[name].add]


def _clean(_: World) -> None:
    """Do nothing. Phase 0 begins on a new platform, as the vendors hand it over."""


def _paper_ready(world: World) -> None:
    """Do phase 0, so that phase 1 can begin."""
    _migrate(world)
    names, digest = world.names, _push_image(world)
    world.fly.create_app(names.fly_app)
    world.fly.set_secrets(names.fly_app, {name: world.secret(name) for name in FLY_SECRETS})
    values = {
        "FLY_API_TOKEN": world.secret("FLY_DEPLOY_TOKEN"),
        "FLY_LIVE_RUNNER_APP": names.fly_app,
        "FLY_LIVE_RUNNER_IMAGE": f"registry.fly.io/{names.fly_app}@{digest}",
        "FLY_LIVE_RUNNER_REGION": names.region,
        "HYPERLIQUID_LIVE_ENABLED": "true",
        "DEPLOYMENTS_DISABLED": "false",
    }
    taken = ("CRON_SECRET", "NEXT_PUBLIC_THIRDWEB_CLIENT_ID", "SUPABASE_DB_PASSWORD", "OPENROUTER_API_KEY")
    for key, value in (values | {name: world.secret(name) for name in taken}).items():
        world.vercel.put(key, value, "sensitive" if key in (*taken, "FLY_API_TOKEN") else "plain")
    world.vercel.deploy()


def _paper_running(world: World) -> None:
    """Start a paper deployment, so that its secrets can be rotated."""
    world.person.perform("author", sheet="paper")
    world.person.perform("deploy_paper")
    _until(world, "select 1 from public.agent_logs where event = 'reconciled'", "the first reconciliation")


def _boot_failed(world: World) -> None:
    """Give Fly another project's password, so that a paper deployment fails to boot. Then give Fly the right password
    again.
    """
    world.person.perform("author", sheet="paper")
    right = world.fly.app(world.names.fly_app).secrets["SUPABASE_DB_PASSWORD"].value
    world.fly.set_secrets(world.names.fly_app, {"SUPABASE_DB_PASSWORD": "of-another-project"})
    world.person.perform("deploy_paper")
    _until(world, "select 1 from public.deployments where status = 'error'", "the failure of the boot")
    world.fly.set_secrets(world.names.fly_app, {"SUPABASE_DB_PASSWORD": right})


def _mainnet_ready(world: World) -> None:
    """Do phase 1 and stop its deployment, so that phase 2 can begin.

    The heartbeat sweep then runs every five minutes.
    """
    world.person.perform("author", sheet="paper")
    world.person.perform("backtest", hours=24)
    world.query(PAPER_RUN)
    world.person.perform("upgrade_plan")


def _live(world: World) -> None:
    """Do phase 2, so that phase 3 can begin: a tiny live deployment runs and has had its first fill."""
    for gesture in ("fund", "pair"):
        world.person.perform(gesture)
    world.person.perform("author", sheet="tiny")
    world.person.perform("backtest", hours=1)
    world.person.perform("authorise")
    world.person.perform("deploy_live")
    _until(world, "select 1 from public.mainnet_orders where status = 'filled'", "the first fill")


def _first_day(world: World) -> None:
    """Do phase 3 and add 24 hours of history, for phase 4 to examine."""
    world.query(FIRST_DAY)
    for cron in world.vercel.crons()["definitions"]:
        world.vercel.invoke(cron["path"])  # so that the request log holds a call of each, as after a day


@dataclass(frozen=True)
class State:
    """A starting state of a rehearsal.

    ``says`` describes the state, ``rests_on`` names the state before, and ``add`` leads from that state to this one.
    """

    says: str
    rests_on: str | None
    add: Callable[[World], None]
    backtests: bool = False  # it is reached when every backtest is over
    trades: bool = True  # it has a runner, or its phase soon asks for one


STATES = {
    "clean": State("the platform as the vendors hand it over; phase 0 can begin", None, _clean, trades=False),
    "paper_ready": State("phase 0 is done; phase 1 can begin", "clean", _paper_ready),
    "paper_running": State("a paper deployment runs; a secret can be rotated", "paper_ready", _paper_running),
    "boot_failed": State("a paper deployment did not boot; it can be diagnosed", "paper_ready", _boot_failed),
    "mainnet_ready": State(
        "phase 1 is done, its deployment stopped; phase 2 can begin",
        "paper_ready",
        _mainnet_ready,
        backtests=True,
        trades=False,
    ),
    "live": State(
        "phase 2 is done, a live deployment has its first fill; phase 3 can begin",
        "mainnet_ready",
        _live,
        backtests=True,
    ),
    "first_day": State(
        "phase 3 is done and 24 hours have passed; phase 4 can begin", "live", _first_day, backtests=True
    ),
}


def _migrate(world: World) -> None:
    """Apply the repository's migrations as the role ``postgres``, as ``supabase db push`` does."""
    from runbook_lib.rehearsal.postgres import migration_files  # noqa: PLC0415  imports psycopg

    folder = Path(world.addresses["repository"]) / "packages/db/supabase/migrations"
    migration_files.apply_all(world.database.dsn, folder)


def _push_image(world: World, tag: str = "deployment-rehearsal") -> str:
    """Push an image to the registry, and return the image's digest."""
    manifest = hashlib.sha256(f"{world.folder} {tag}".encode()).hexdigest()
    digest: str = world.fly.push(world.names.fly_app, tag, f'{{"config": "{manifest}"}}'.encode())
    return digest


def _until(world: World, sql: LiteralString, awaited: str) -> None:
    """Wait until a statement returns a row. If no row comes in time, raise a `ServiceError` that names ``awaited``."""
    deadline = time.monotonic() + PATIENCE
    while not world.query(sql):
        if time.monotonic() > deadline:
            raise ServiceError(f"{awaited} did not come within {PATIENCE:.0f} s")
        time.sleep(0.02)
