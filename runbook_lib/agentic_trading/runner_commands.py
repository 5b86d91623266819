"""Commands to the platform's runners: how one is sent, what became of it, and whether it took effect.

A command is a row of ``agent_commands`` that the runner acknowledges. The notebook's button, the console and the halt
all send, look and judge through this module, so that they cannot disagree on what "paused" means.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Sql, sql
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAUSE, RESUME, CLEAR_HALT = "pause", "resume", "clear_halt"
FLATTEN, STOP, KILL, SNAPSHOT, REVOKE = "flatten", "stop", "kill", "snapshot", "revoke"
WORDS = (STOP, PAUSE, RESUME, FLATTEN, KILL, SNAPSHOT, CLEAR_HALT)  # what a runner listens to
SAFETY = (PAUSE, FLATTEN, STOP, REVOKE, KILL)  # can only take risk away: always allowed
FENCED = ("paused", "halted", "stopped")  # statuses in which a runner places no new order
ENDED = ("stopped", "error")  # statuses in which no runner is expected to live
LIVE_BROKER = "hyperliquid-mainnet"

# Half statements. Each rests on what the other half has chosen: ``wanted`` (id, kind, place) or ``asked`` (id).
# A row's id is made of key, deployment and kind, so that sending twice adds nothing. It is notified by us only where
# no trigger does it (C39).
SENDING = """
    made as (
      insert into public.agent_commands (id, deployment_id, kind, payload, issued_by)
      select md5(%(key)s::text || ':' || wanted.id || ':' || wanted.kind)::uuid, wanted.id, wanted.kind,
             %(payload)s::jsonb, %(issuer)s
      from wanted order by wanted.id, wanted.place
      on conflict (id) do nothing returning id, deployment_id)
    select id, case when exists (
        select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.agent_commands'::regclass and not t.tgisinternal
          and t.tgenabled <> 'D' and p.prosrc ilike '%%pg_notify%%')
      then 'by trigger'
      else pg_notify('agent_commands_' || deployment_id, id::text)::text || 'by us' end as notified
    from made
"""
STATE = """
    c.id, c.kind, c.issued_by, c.created_at, extract(epoch from c.acked_at - c.created_at) as seconds,
    extract(epoch from clock_timestamp() - c.created_at) as age, d.id::text as deployment, d.status, d.error_text,
    d.broker_kind as broker, lower(w.address) as wallet, a.revoked_at,
    jsonb_array_length(coalesce(s.positions, '[]'))::int as positions, s.updated_at >= c.created_at as written_after,
    c.kind = 'kill' and exists (select from public.agent_logs g where g.deployment_id = d.id
      and g.event = 'runner_started' and g.ts >= c.created_at) as restarted
"""
AROUND = """
    left join public.agent_state s on s.deployment_id = d.id
    left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
    left join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
"""
BY_KEY = """
    cross join unnest(%(keys)s::text[]) as sent (key) cross join unnest(%(kinds)s::text[]) as told (kind)
    join public.deployments d on d.id = asked.id
    left join public.agent_commands c on c.id = md5(sent.key || ':' || d.id || ':' || told.kind)::uuid
"""
# The deployments a halt is for, with the ``others`` that trade the same wallet and were not asked for: those are left
# alone unless the request says so (C37).
FLEET = """
    with known as (
      select d.id, d.status, lower(w.address) as wallet
      from public.deployments d
      left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
      left join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
      where d.status <> 'stopped' or d.id::text = any(%(mine)s::text[])
    ), chosen as (
      select id from known
      where %(one)s::uuid is null or id = %(one)s::uuid
         or (%(shared)s and wallet in (select wallet from known where id = %(one)s::uuid))
    ), asked as (
      select known.id, known.wallet, array(
        select other.id::text from known other
        where other.wallet = known.wallet and other.status not in ('error', 'stopped')
          and other.id not in (select id from chosen)) as others
      from known join chosen on chosen.id = known.id)
"""


@dataclass(frozen=True)
class Target:
    """A deployment that a command is for; ``agent`` is its agent's address at the venue, None on paper."""

    id: str
    agent: str | None = None


@dataclass(frozen=True)
class Scope:
    """The deployments of a halt: all that are not stopped, or ``deployment``; ``shared``: and whoever trades its
    wallet. ``seen`` are deployments known from before, which are told of also once they have stopped."""

    deployment: str | None = None
    shared: bool = False
    seen: tuple[str, ...] = ()


# --- sending --------------------------------------------------------------------------------------------------------


def send_command(kind: str, *deployments: str, key: str = "{key}", issuer: str = "launch-runbook") -> Sql:
    """Insert a command for each deployment's runner, once. ``key`` is the step's own, unless another is given.

    Raise `ConfigError` for a word that no runner listens to.
    """
    if kind not in WORDS:
        raise ConfigError(f"no command {kind!r}: choose one of {', '.join(WORDS)}")
    return _composed(
        """
        with wanted as (
          select chosen.id, told.kind, told.place from unnest(%(deployments)s::uuid[]) as chosen (id)
          cross join unnest(%(kinds)s::text[]) with ordinality as told (kind, place)
        ),
        """,
        SENDING,
        key=key,
        deployments=list(deployments),
        kinds=[kind],
        payload="{}",
        issuer=issuer,
    )


def send_all(kinds: Sequence[str], scope: Scope, *, key: str, issuer: str, only: Sequence[str] = ()) -> Sql:
    """Insert commands for every deployment of a scope, or for ``only`` these of it, in one statement.

    Who shares a wallet with others is not told to flatten: its runner would close their positions too.
    """
    return _composed(
        FLEET,
        """
        , wanted as (
          select asked.id, told.kind, told.place
          from asked cross join unnest(%(kinds)s::text[]) with ordinality as told (kind, place)
          where (cardinality(%(only)s::text[]) = 0 or asked.id::text = any(%(only)s::text[]))
            and (told.kind <> 'flatten' or asked.others = '{}')
        ),
        """,
        SENDING,
        one=scope.deployment,
        shared=scope.shared,
        mine=list(scope.seen),
        only=list(only),
        key=key,
        kinds=list(kinds),
        payload="{}",
        issuer=issuer,
    )


def revoke(agent: str, *, key: str = "{key}", issuer: str = "launch-runbook") -> Sql:
    """Do what the page's Revoke does: mark the agent, and stop every deployment that trades with it."""
    return _composed(
        """
        with gone as (
          update public.hyperliquid_agents set revoked_at = coalesce(revoked_at, clock_timestamp())
          where agent_address = %(agent)s returning id
        ), wanted as (
          select d.id, 'stop' as kind, 1 as place
          from public.deployments d join gone on gone.id = d.hyperliquid_agent_id
          where d.status not in ('stopped', 'error')
        ),
        """,
        SENDING,
        agent=agent,
        key=key,
        payload='{"reason": "agent revoked"}',
        issuer=issuer,
    )


def command_for(kind: str, targets: Sequence[Target], *, key: str, issuer: str) -> Sql:
    """Make the command that one press sends to some deployments. Raise `ConfigError` for what these cannot do."""
    if not targets:
        raise ConfigError(f"nothing to send: {kind!r} to 0 deployments")
    if kind != REVOKE:
        return send_command(kind, *(target.id for target in targets), key=key, issuer=issuer)
    without = [target.id[:8] for target in targets if not target.agent]
    agents = {target.agent for target in targets if target.agent}
    why = f"{', '.join(without)} has no agent (it is on paper)" if without else f"these have {len(agents)} agents"
    if without or len(agents) != 1:
        raise ConfigError(f"revoke takes one agent at a time: {why}; stop ends a deployment")
    return revoke(str(agents.pop()), key=key, issuer=issuer)


def aimed_at(command: Any) -> tuple[str, str] | None:
    """The kind and the deployment of a command to one runner, None for anything else."""
    values = command.values if isinstance(command, Sql) else {}
    if not {"key", "kinds", "deployments"} <= values.keys() or len(values["deployments"]) != 1:
        return None
    return str(values["kinds"][0]), str(values["deployments"][0])


# --- looking --------------------------------------------------------------------------------------------------------


def command_state(kind: str, deployment: str) -> Sql:
    """Look at the newest command of a kind and what became of it.

    ``seconds`` from row to acknowledgement and ``age`` are of the database's clock; ``status`` and ``positions`` are
    the deployment's; ``written_after``: its state was written after the command.
    """
    return _composed(
        "select",
        STATE,
        "from public.agent_commands c join public.deployments d on d.id = c.deployment_id",
        AROUND,
        "where c.deployment_id = %(deployment)s and c.kind = %(kind)s order by c.created_at desc limit 1",
        deployment=deployment,
        kind=kind,
    )


def sent_state(kind: str, deployments: Sequence[str], *, key: str) -> Sql:
    """Look at what became of one press: a row per deployment, as `command_state`; ``id`` is null if none was sent."""
    return _composed(
        "with asked as (select unnest(%(deployments)s::uuid[]) as id) select",
        STATE,
        "from asked",
        BY_KEY,
        AROUND,
        "order by d.id",
        deployments=list(deployments),
        keys=[key],
        kinds=[STOP if kind == REVOKE else kind],
    )


def all_states(kinds: Sequence[str], scope: Scope, *, keys: Sequence[str]) -> Sql:
    """Look at every deployment of a scope: rows as `sent_state`, one for each key and kind, with its ``others``."""
    return _composed(
        FLEET,
        "select asked.others,",
        STATE,
        "from asked",
        BY_KEY,
        AROUND,
        "order by d.id",
        one=scope.deployment,
        shared=scope.shared,
        mine=list(scope.seen),
        keys=list(keys),
        kinds=list(kinds),
    )


def live_wallets() -> Sql:
    """Look at every wallet that ever traded live: a stopped deployment may have left something behind."""
    return sql("""
        select distinct lower(w.address) as wallet
        from public.hyperliquid_master_wallets w
        join public.hyperliquid_agents a on a.master_wallet_id = w.id
        join public.deployments d on d.hyperliquid_agent_id = a.id
    """)


def _composed(*parts: str, **values: Any) -> Sql:
    """Make one statement of parts, so that it reads as one where it is shown."""
    return sql("\n".join(dedent(part).strip("\n ") for part in parts), **values)


# --- judging --------------------------------------------------------------------------------------------------------


def acknowledged(row: Mapping[str, Any]) -> bool:
    """Whether the runner has acknowledged the command."""
    return row["seconds"] is not None


def took_effect(kind: str, row: Mapping[str, Any]) -> bool:
    """Whether a row of a state shows what the command is for."""
    if kind == KILL:  # never acknowledged: the process ends inside the handler, and the machine starts it again
        return bool(row["restarted"]) or row["status"] in ENDED
    shown = {
        PAUSE: row["status"] in FENCED,
        RESUME: row["status"] == "running",
        CLEAR_HALT: row["status"] not in ("halted", *ENDED),
        SNAPSHOT: bool(row["written_after"]),
        FLATTEN: row["status"] in FENCED and row["positions"] == 0,
        STOP: row["status"] == "stopped",
        REVOKE: row["status"] == "stopped" and row["revoked_at"] is not None,
    }
    return acknowledged(row) and shown[kind]


def effect(kind: str, row: Mapping[str, Any]) -> str:
    """The effect of a command in words, once it took effect."""
    if kind == FLATTEN:
        return "no position"
    if kind == SNAPSHOT:
        return "state written"
    return f"status {row['status']}"
