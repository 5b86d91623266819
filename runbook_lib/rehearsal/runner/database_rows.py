"""Read and write a runner's rows in the platform's database.

There are two connections, as in the platform: rows go through the service role (supabase-js there), whose address the
rehearsal provides; commands and the cost guard use a plain connection with the database password, so that only these
break with a wrong or rotated password.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb

from runbook_lib.rehearsal.runner.decisions import Decision
from runbook_lib.rehearsal.runner.risk_engine import Account, Position

LOAD: LiteralString = """
    select d.broker_kind, d.status, d.skill_id::text as skill_id, d.skill_version, d.hyperliquid_agent_id,
           s.name as skill_name, v.payload,
           extract(epoch from (v.payload #>> '{schedule,every}')::interval)::float8 as every,
           a.agent_address, a.vault_key_id::text as vault_key_id, w.address as master,
           state.equity_usd::float8 as equity_usd, state.positions
    from public.deployments d
    join public.skills s on s.id = d.skill_id
    join public.skill_versions v on v.skill_id = d.skill_id and v.version = d.skill_version
    left join public.hyperliquid_agents a on a.id = d.hyperliquid_agent_id
    left join public.hyperliquid_master_wallets w on w.id = a.master_wallet_id
    left join public.agent_state state on state.deployment_id = d.id
    where d.id = %(deployment)s::uuid
"""
# The cap may have been changed and reverted in place (checklist 3.1), so the Skill is read again each tick.
PAYLOAD: LiteralString = """
    select payload from public.skill_versions where skill_id = %(skill)s::uuid and version = %(version)s
"""
# Every row of the month, each tick, as the platform does it (facts platform 9).
SPENT: LiteralString = """
    select coalesce(sum(cost_usd), 0)::float8 as month_to_date,
           count(*) filter (where verdict ->> 'status' = 'executed'
                            and tick_at >= date_trunc('day', now(), 'UTC'))::int as orders_today
    from public.decision_snapshots
    where deployment_id = %(deployment)s::uuid and tick_at >= date_trunc('month', now(), 'UTC')
"""
STATE: LiteralString = """
    insert into public.agent_state (deployment_id, equity_usd, positions, updated_at)
    values (%(deployment)s::uuid, %(equity)s, %(positions)s, now() + %(ahead)s * interval '1 second')
    on conflict (deployment_id) do update
    set equity_usd = excluded.equity_usd, positions = excluded.positions, updated_at = excluded.updated_at
"""
# One statement, so that a command handled meanwhile on this connection is never part of it.
SNAPSHOT: LiteralString = """
    with snapshot as (
      insert into public.decision_snapshots
        (deployment_id, tick_at, context, steps, proposed_action, verdict, prompt_tokens, completion_tokens, cost_usd)
      values (%(deployment)s::uuid, now(), %(context)s, %(steps)s, %(action)s, %(verdict)s, %(prompt)s,
              %(completion)s, %(cost)s)
    ), state as (
      insert into public.agent_state (deployment_id, equity_usd, positions, updated_at)
      values (%(deployment)s::uuid, %(equity)s, %(positions)s, now() + %(ahead)s * interval '1 second')
      on conflict (deployment_id) do update
      set equity_usd = excluded.equity_usd, positions = excluded.positions, updated_at = excluded.updated_at
    )
    insert into public.agent_logs (deployment_id, event, message, data)
    values (%(deployment)s::uuid, 'tick', %(message)s, %(data)s)
"""
ALIVE: LiteralString = """
    update public.agent_state set updated_at = now() + %(ahead)s * interval '1 second'
    where deployment_id = %(deployment)s::uuid
"""
LOG: LiteralString = """
    insert into public.agent_logs (deployment_id, level, event, message, data)
    values (%(deployment)s::uuid, %(level)s, %(event)s, %(message)s, %(data)s)
"""
STATUS: LiteralString = """
    update public.deployments set status = %(status)s, error_text = %(error)s, updated_at = now()
    where id = %(deployment)s::uuid
"""
ORDER: LiteralString = """
    insert into public.mainnet_orders (deployment_id, cloid, symbol, side, status, size_base)
    values (%(deployment)s::uuid, %(cloid)s, %(symbol)s, %(side)s, 'placed', %(size)s)
"""
SETTLED: LiteralString = """
    update public.mainnet_orders
    set status = %(status)s, filled_size_base = %(filled)s, avg_fill_price = %(price)s, fee_usd = %(fee)s,
        settled_at = case when %(status)s = 'open' then null else now() end
    where cloid = %(cloid)s
"""


def server_text(problem: BaseException) -> str:
    """Return the database server's message from the exception that a runner's query raised.

    The message is what follows FATAL or ERROR.
    """
    said = re.search(r"(?:FATAL|ERROR):\s+(.*)", str(problem))
    return said[1] if said else str(problem).strip().partition("\n")[0]


@dataclass(frozen=True)
class Loaded:
    """A deployment's row with its Skill, as the runner loads them at boot.

    ``every`` is the Skill's interval in seconds.
    """

    broker_kind: str
    status: str
    skill_id: str
    skill_version: int
    skill_name: str
    payload: dict[str, Any]
    every: float | None
    agent_address: str | None
    vault_key_id: str | None
    master: str | None
    equity_usd: float | None
    positions: list[dict[str, Any]] | None


class Store:
    """The runner's connection to its deployment's rows, as the service role.

    If the server closed the connection, the next query opens another.
    """

    def __init__(
        self, dsn: str, deployment: str, say: Callable[[str], None], faults: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        """Prepare the runner's connection. The first query opens it.

        ``say`` gets each log row as well, so that the machine's log can be searched for events. ``faults`` returns the
        runner's faults in force; some of them change what the runner writes.
        """
        self.dsn, self.deployment, self.say, self.faults = dsn, deployment, say, faults
        self._connection: psycopg.AsyncConnection[DictRow] | None = None
        self._opening = asyncio.Lock()

    async def query(self, statement: LiteralString, **values: Any) -> list[DictRow]:
        """Run one statement on the runner's database, and return the rows.

        ``%(deployment)s`` stands for the deployment's id.
        """
        connection = await self._open()
        cursor = await connection.execute(statement, {"deployment": self.deployment} | values)
        return await cursor.fetchall() if cursor.description else []

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def load(self) -> Loaded | None:
        rows = await self.query(LOAD)
        if not rows:
            return None
        return Loaded(**{key: value for key, value in rows[0].items() if key != "hyperliquid_agent_id"})

    async def payload(self, loaded: Loaded) -> dict[str, Any]:
        rows = await self.query(PAYLOAD, skill=loaded.skill_id, version=loaded.skill_version)
        content: dict[str, Any] = rows[0]["payload"]
        return content

    async def log(self, event: str, message: str, *, level: str = "info", **data: Any) -> None:
        self.say(f"live-runner: {event} {message}")
        await self.query(LOG, level=level, event=event, message=message, data=Jsonb(data))

    async def status(self, status: str, error: str | None = None) -> None:
        await self.query(STATUS, status=status, error=error)

    async def state(self, account: Account | None) -> None:
        """Write the runner's heartbeat, equity and positions into the deployment's rows.

        Without an account, write only the heartbeat.
        """
        if account is None:
            await self.query(ALIVE, ahead=float(self.faults().get("beats_ahead", 0)))
        else:
            await self.query(STATE, **_state(account, self.faults()))

    async def snapshot(
        self, decision: Decision, verdict: Mapping[str, Any], account: Account, context: Mapping[str, Any]
    ) -> None:
        """Write a tick's row, the heartbeat and the log entry into the database in one statement."""
        words = verdict.get("rule") or verdict.get("reason") or verdict.get("orderId")
        message = f"tick {verdict['status']}: {words}"
        self.say(f"live-runner: {message}")
        await self.query(
            SNAPSHOT,
            context=Jsonb(context),
            steps=Jsonb([{"type": "text", "text": decision.text}]),
            action=Jsonb(decision.action) if decision.action else None,
            verdict=Jsonb(verdict),
            prompt=decision.prompt_tokens,
            completion=decision.completion_tokens,
            cost=decision.cost_usd,
            message=message,
            data=Jsonb({"verdict": verdict["status"]}),
            **_state(account, self.faults()),
        )

    async def command(self, command: str) -> DictRow | None:
        """Return the row that holds a command to the runner. ``command`` is the command's id.

        If the command is already acknowledged, return None.
        """
        rows = await self.query(
            "select id::text, kind, payload from public.agent_commands "
            "where id = %(command)s::uuid and deployment_id = %(deployment)s::uuid and acked_at is null",
            command=command,
        )
        return rows[0] if rows else None

    async def acknowledge(self, command: str) -> None:
        await self.query(
            "update public.agent_commands set acked_at = clock_timestamp() where id = %(command)s::uuid",
            command=command,
        )

    async def issue(self, kind: str, reason: str, issued_by: str) -> str:
        """Insert a command from the runner to itself, such as the cost guard's pause.

        Return the command's id.
        """
        rows = await self.query(
            "insert into public.agent_commands (deployment_id, kind, payload, issued_by) "
            "values (%(deployment)s::uuid, %(kind)s, %(payload)s, %(by)s) returning id::text",
            kind=kind, payload=Jsonb({"reason": reason}), by=issued_by,
        )  # fmt: skip
        return str(rows[0]["id"])

    async def agent_key(self, vault_key_id: str) -> str | None:
        rows = await self.query("select public.get_hyperliquid_agent_secret(%(key)s::uuid) as secret", key=vault_key_id)
        return rows[0]["secret"] if rows else None

    async def _open(self) -> psycopg.AsyncConnection[DictRow]:
        async with self._opening:
            if self._connection is None or self._connection.closed:
                self._connection = await psycopg.AsyncConnection.connect(
                    self.dsn, autocommit=True, row_factory=dict_row,
                    options="-c TimeZone=UTC -c role=service_role", application_name="live-runner rest",
                )  # fmt: skip
        return self._connection


def _state(account: Account, faults: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account's values as `Store` writes them into ``agent_state``.

    Faults in force falsify the values.
    """
    positions = account.positions
    if off := float(faults.get("positions_off", 0)):
        held = positions or (Position("BTC", 0.0, entry_price=1.0, mark=1.0),)  # flat, it tells of one all the same
        positions = tuple(replace(position, size=position.size + off) for position in held)
    return {
        "equity": round(account.equity + float(faults.get("equity_off", 0)), 6),
        "positions": Jsonb([position.view() for position in positions]),
        "ahead": float(faults.get("beats_ahead", 0)),
    }


async def spent(dsn: str, deployment: str) -> tuple[float, int]:
    """Return the deployment's cost this month (US dollars) and its number of orders this UTC day.

    Both come from the deployment's rows. Each call opens a connection of its own. In production idle connections are
    dropped long before the next tick, so every tick logs in again; that is where a runner with an old password begins
    to fail.
    """
    async with await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, options="-c TimeZone=UTC", application_name="live-runner tick"
    ) as connection:
        cursor = await connection.execute(SPENT, {"deployment": deployment})
        row = await cursor.fetchone()
    return (float(row[0]), int(row[1])) if row else (0.0, 0)


class Commands:
    """A runner's database connection that only listens for commands to its deployment."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def listen(cls, dsn: str, deployment: str) -> Commands:
        """Log in with the runner's database password, and LISTEN for commands.

        Raise `psycopg.OperationalError` if the database refuses the login.
        """
        connection = await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, options="-c TimeZone=UTC", application_name="live-runner listen"
        )
        # the id has hyphens: unquoted, the channel would not be one name (C28)
        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(f"agent_commands_{deployment}")))
        return cls(connection)

    async def ids(self) -> AsyncIterator[str]:
        """Yield the id of each new command that the database announces to the runner by a notification."""
        async for notification in self._connection.notifies():
            yield notification.payload

    async def close(self) -> None:
        await self._connection.close()
