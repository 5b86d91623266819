"""Make the SQL that commands the platform's runners and reads their replies. Judge whether a command took effect.

A command is a row of ``agent_commands`` that the runner acknowledges. The notebook's button, the console and the halt
all send, look and judge through this module, so that they cannot disagree on what "paused" means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Sql, sql
from runbook_lib.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PAUSE, RESUME, CLEAR_HALT = "pause", "resume", "clear_halt"
FLATTEN, STOP, KILL, SNAPSHOT, REVOKE = "flatten", "stop", "kill", "snapshot", "revoke"
WORDS = (STOP, PAUSE, RESUME, FLATTEN, KILL, SNAPSHOT, CLEAR_HALT)  # what a runner listens to
FENCED = ("paused", "halted", "stopped")  # statuses in which a runner places no new order
ACTIVE = ("provisioning", "running", "paused", "halted")  # statuses in which a runner lives, or soon will
ENDED = ("stopped", "error")  # statuses in which no runner is expected to live
LIVE_BROKER = "hyperliquid-mainnet"

# A row's id is made of key, deployment and kind, so that sending twice adds nothing. This statement notifies the runner
# only where no trigger does so (C39).
SEND = """
    with made as (
      insert into public.agent_commands (id, deployment_id, kind, payload, issued_by)
      select md5(%(key)s::text || ':' || wanted.id || ':' || wanted.kind)::uuid, wanted.id, wanted.kind, '{}',
             %(issuer)s
      from unnest(%(deployments)s::uuid[], %(kinds)s::text[]) with ordinality as wanted (id, kind, place)
      order by wanted.place
      on conflict (id) do nothing returning id, deployment_id)
    select id, case when exists (
        select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.agent_commands'::regclass and not t.tgisinternal
          and t.tgenabled <> 'D' and p.prosrc ilike '%%pg_notify%%')
      then 'by trigger'
      else pg_notify('agent_commands_' || deployment_id, id::text)::text || 'by us' end as notified
    from made
"""
REVOCATION = """
    with gone as (
      update public.hyperliquid_agents set revoked_at = coalesce(revoked_at, clock_timestamp())
      where agent_address = %(agent)s returning id
    ), made as (
      insert into public.agent_commands (id, deployment_id, kind, payload, issued_by)
      select md5(%(key)s::text || ':' || d.id || ':' || 'stop')::uuid, d.id, 'stop',
             '{"reason": "agent revoked"}', %(issuer)s
      from public.deployments d join gone on gone.id = d.hyperliquid_agent_id
      where d.status not in ('stopped', 'error')
      on conflict (id) do nothing returning id, deployment_id)
    select id, case when exists (
        select from pg_trigger t join pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.agent_commands'::regclass and not t.tgisinternal
          and t.tgenabled <> 'D' and p.prosrc ilike '%%pg_notify%%')
      then 'by trigger'
      else pg_notify('agent_commands_' || deployment_id, id::text)::text || 'by us' end as notified
    from made
"""
SENT = """
    select c.id, c.kind, c.issued_by, c.created_at, extract(epoch from c.acked_at - c.created_at) as seconds,
           extract(epoch from clock_timestamp() - c.created_at) as age, d.id::text as deployment, d.status,
           d.error_text, d.broker_kind as broker, lower(w.address) as wallet, a.revoked_at,
           jsonb_array_length(coalesce(s.positions, '[]'))::int as positions,
           s.updated_at >= c.created_at as written_after,
           (select extract(epoch from min(g.ts) - c.created_at) from public.agent_logs g
            where g.deployment_id = d.id and g.event = 'runner_started' and g.ts >= c.created_at) as restarted_after
    from public.deployments d
    cross join unnest(%(keys)s::text[]) as sent (key) cross join unnest(%(kinds)s::text[]) as told (kind)
    left join public.agent_commands c on c.id = md5(sent.key || ':' || d.id || ':' || told.kind)::uuid
    left join public.agent_state s on s.deployment_id = d.id
    left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
    left join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
    where d.id::text = any(%(deployments)s::text[]) or %(everyone)s and d.status <> 'stopped'
    order by d.id
"""


def channel(deployment: str) -> str:
    """Return the name of the Postgres channel on which a deployment's runner is notified of commands."""
    return f"agent_commands_{deployment}"


@dataclass(frozen=True)
class Gesture:
    """The button for a kind of runner command: its label, and a sentence that says what the command does.

    ``safety``: the command can only reduce risk, and is always allowed. ``armed``: in production a person must first
    type a confirmation. ``needs_agent``: the command needs a deployment that has an agent at the venue.
    """

    kind: str
    label: str
    does: str
    tone: str = ""  # primary, warning, danger: how grave its effect is
    safety: bool = True
    armed: bool = True
    needs_agent: bool = False


GESTURES = (
    Gesture(
        PAUSE,
        "Pause",
        "No new orders from the next tick on. Positions and resting orders stay; the runner goes on beating.",
        tone="primary",
        armed=False,
    ),
    Gesture(
        RESUME,
        "Resume",
        "It trades again from the next tick on. Needs the writing lock. Does not lift a halt of its own limits.",
        safety=False,
    ),
    Gesture(
        SNAPSHOT,
        "Write state",
        "The runner writes its state down now. Changes nothing. Needs the writing lock.",
        safety=False,
        armed=False,
    ),
    Gesture(
        FLATTEN,
        "Flatten",
        "Closes every position at the market's price, then pauses. Does not stop the machine.",
        tone="warning",
    ),
    Gesture(
        STOP,
        "Stop",
        "Ends the runner for good; its machine is taken away. Does not close positions: flatten first.",
        tone="warning",
    ),
    Gesture(
        REVOKE,
        "Revoke agent",
        "Marks the agent's key as revoked, stops its deployments. Does not remove it at the venue: do that in its app.",
        tone="danger",
        needs_agent=True,
    ),
    Gesture(
        KILL,
        "Restart process",
        "Kills the process; the machine starts it again at once, and it goes on trading. Stops and closes nothing.",
    ),
)
SAFETY = tuple(gesture.kind for gesture in GESTURES if gesture.safety)


@dataclass(frozen=True)
class Target:
    """A deployment to which a runner command is sent. ``agent`` is the address that signs at the venue, None on
    paper.
    """

    id: str
    agent: str | None = None


# --- sending --------------------------------------------------------------------------------------------------------


def send_command(kind: str, deployment: str) -> Sql:
    """Make the SQL that inserts one command for a deployment's runner. The idempotency key prevents a second insert.

    Raise `ConfigError` if ``kind`` is no runner command.
    """
    return send_commands([(deployment, kind)], key="{key}", issuer="launch-runbook")


def send_commands(pairs: Sequence[tuple[str, str]], *, key: str, issuer: str) -> Sql:
    """Make the SQL that inserts several runner commands at once, in this order.

    Each pair is (deployment's id, kind of command).
    """
    for _, kind in pairs:
        if kind not in WORDS:
            raise ConfigError(f"no command {kind!r}: choose one of {', '.join(WORDS)}")
    deployments, kinds = ([pair[place] for pair in pairs] for place in (0, 1))
    return sql(SEND, key=key, deployments=deployments, kinds=kinds, issuer=issuer)


def revoke(agent: str, *, key: str = "{key}", issuer: str = "launch-runbook") -> Sql:
    """Make the SQL that revokes an agent, as the web app's Revoke button does.

    The agent is marked as revoked, and its runners are told to stop.
    """
    return sql(REVOCATION, agent=agent, key=key, issuer=issuer)


def command_for(kind: str, targets: Sequence[Target], *, key: str, issuer: str) -> Sql:
    """Make the runner command for one press of a button.

    Raise `ConfigError` if these deployments cannot take the command.
    """
    if not targets:
        raise ConfigError(f"nothing to send: {kind!r} to 0 deployments")
    if kind != REVOKE:
        return send_commands([(target.id, kind) for target in targets], key=key, issuer=issuer)
    without = [target.id[:8] for target in targets if not target.agent]
    agents = {target.agent for target in targets if target.agent}
    why = f"{', '.join(without)} has no agent (it is on paper)" if without else f"these have {len(agents)} agents"
    if without or len(agents) != 1:
        raise ConfigError(f"revoke takes one agent at a time: {why}; stop ends a deployment")
    return revoke(str(agents.pop()), key=key, issuer=issuer)


def aimed_at(command: Any) -> tuple[str, str] | None:
    """Return the kind and the deployment of a runner command for a single deployment. Return None for any other
    command.
    """
    values = command.values if isinstance(command, Sql) else {}
    if not {"key", "kinds", "deployments"} <= values.keys() or len(values["deployments"]) != 1:
        return None
    return str(values["kinds"][0]), str(values["deployments"][0])


# --- looking --------------------------------------------------------------------------------------------------------


def command_state(kind: str, deployment: str, since: str = "-infinity") -> Sql:
    """Make the SQL that reads the newest runner command of one kind, and its effect. Anybody may have sent the command,
    at ``since`` or later.

    Columns: ``seconds`` (from the command's row to its acknowledgement), ``status`` and ``positions`` of the
    deployment, ``written_after`` (whether the runner wrote its state after the command). Times are by the database's
    clock.
    """
    return sql(
        """
        select c.id, c.kind, c.issued_by, c.created_at, extract(epoch from c.acked_at - c.created_at) as seconds,
               d.status, d.error_text, jsonb_array_length(coalesce(s.positions, '[]')) as positions,
               s.updated_at >= c.created_at as written_after
        from public.agent_commands c
        join public.deployments d on d.id = c.deployment_id
        left join public.agent_state s on s.deployment_id = d.id
        where c.deployment_id = %(deployment)s and c.kind = %(kind)s and c.created_at >= %(since)s::timestamptz
        order by c.created_at desc limit 1
        """,
        deployment=deployment,
        kind=kind,
        since=since,
    )


def sent_state(kinds: Sequence[str], deployments: Sequence[str], *, keys: Sequence[str], everyone: bool = False) -> Sql:
    """Make the SQL that reads the effect of runner commands: a row for each deployment, kind and key.

    ``id`` is null in a row whose command was never sent.

    ``everyone``: give rows for every other deployment that has not stopped, too.
    """
    kinds = [STOP if kind == REVOKE else kind for kind in kinds]
    return sql(SENT, deployments=list(deployments), kinds=kinds, keys=list(keys), everyone=everyone)


# --- judging --------------------------------------------------------------------------------------------------------


def acknowledged(row: Mapping[str, Any]) -> bool:
    """Return whether a row of `sent_state` shows that the runner acknowledged the command."""
    return row["seconds"] is not None


def took_effect(kind: str, row: Mapping[str, Any]) -> bool:
    """Return whether a row of `sent_state` shows that the runner command took effect."""
    if kind == KILL:  # never acknowledged: the process ends inside the handler, and the machine starts it again
        return row["restarted_after"] is not None or row["status"] in ENDED
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
    """Describe the effect of a runner command. ``row`` must show that the command took effect."""
    status = f"status {row['status']}"
    if kind == KILL and row["restarted_after"] is not None:
        now = "it trades" if row["status"] == "running" else status
        return f"killed; the machine started again after {row['restarted_after']:.1f} s; {now}"
    words = {
        KILL: f"killed; {status}, and no runner started again",
        FLATTEN: f"no position; {status}",
        SNAPSHOT: "state written",
        REVOKE: f"agent revoked here; {status}; remove it in the venue's app too",
    }
    return words.get(kind, status)
