"""Hold the checklist's incident sheet: for each symptom, the first action, its proof and the way to the cause.

A row has a symptom, the first action, the proof that the action worked, and the evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.runner_commands import FENCED, command_state, revoke, send_command
from runbook_lib.agentic_trading.venue_books import info
from runbook_lib.checklist.halt_command import halt_line
from runbook_lib.checklist.web_app_variables import production_variables
from runbook_lib.commands.command import Command, Reply, Series, Sql, http, sql
from runbook_lib.commands.expectations import (
    Expectation,
    Finding,
    between,
    each,
    not_null,
    one_of,
    over_all,
    reply,
    rows,
    turned_away,
)
from runbook_lib.errors import ConfigError, nearest
from runbook_lib.settings.choice import addressed
from runbook_lib.steps.display.cards import Sheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings.profiles import Settings


@dataclass(frozen=True)
class Incident:
    """One row of the incident sheet, filled in for one deployment.

    ``action`` is the first action, ``proof`` and ``expect`` show whether it worked, ``path`` says how to find the root
    cause. In a rehearsal, the stand-in for the person carries out ``gesture`` with ``facts``.
    """

    symptom: str
    first: str
    path: str
    action: Command
    proof: Command
    expect: Expectation
    evidence: tuple[Command, Command]
    gesture: str = "sign_in"
    facts: Mapping[str, Any] = field(default_factory=dict)
    within: float = 0.0  # seconds the action may take to have its effect, where that is more than an answer's
    profile: str = ""  # which the printed commands name

    @property
    def guide(self) -> Sheet:
        """Return the rows of the incident sheet that the operator reads while the first action runs."""
        halt = addressed("It spreads, or nothing here explains it: ./runbook halt --all", self.profile)
        path = addressed(self.path, self.profile)
        return Sheet({"symptom": self.symptom, "first action": self.first, "root cause": path, "go to halt": halt})


def first_looks(symptom: str) -> tuple[Command, ...]:
    """Return the commands to send before an incident's first action, because the action needs their replies."""
    if not _is(symptom, "cron secret"):
        return ()
    return (http("vercel", "GET /v9/projects/{vercel.project}", pick="targets.production"),)


def incident(symptom: str, deployment: Mapping[str, Any], settings: Settings, serving: str = "") -> Incident:
    """Return the incident sheet's row for a symptom.

    The caller gives the symptom's short name or its words on the sheet.

    ``deployment`` needs ``id``, ``wallet`` and ``agent_address`` (both null on paper). ``serving`` is the id of what
    serves production at Vercel, which only the cron secret needs. Raise `ConfigError`, which names the nearest symptom,
    if the sheet does not have this one.
    """
    for name, (words, make) in SHEET.items():
        if _is(symptom, name):
            return replace(make(words, {**deployment, "serving": serving}, settings), profile=settings.name)
    raise ConfigError(f"no symptom {symptom!r} on the incident sheet: {nearest(symptom.strip().lower(), SHEET)}")


def _is(symptom: str, name: str) -> bool:
    return symptom.strip().lower() in (name, SHEET[name][0].lower())


def concerned(symptom: str) -> Expectation:
    """Expect exactly one deployment in the reply. If the symptom concerns the whole platform, accept any number.

    If there are several, the operator must name one: acting on the newest could stop the wrong deployment. Replies:
    the deployments, and those of `first_looks`.
    """
    wanted = rows() if any(_is(symptom, name) for name in PLATFORM_WIDE) else rows(1)
    known = wanted & each(id=not_null, status=not_null)

    def test(replies: Sequence[Reply]) -> Finding:
        finding = known.judge(replies[:1])
        if finding.complaint or not first_looks(symptom):
            return finding
        return (rows(1) & each(id=not_null)).judge(replies[1:])

    return over_all("the deployment is known", test)


def paused(kind: str, longest: float) -> Expectation:
    """Expect that an incident's first action stopped the trading.

    The runner obeyed within ``longest`` seconds, and the deployment is paused, halted or stopped.

    Reply: `command_state`.
    """
    return reply(kind=kind, seconds=between(0, longest), status=one_of(*FENCED))


# --- the rows -------------------------------------------------------------------------------------------------------


def _rapid_orders(words: str, deployment: Mapping[str, Any], settings: Settings) -> Incident:
    deployment_id = str(deployment["id"])
    orders = sql(
        """
        select date_trunc('hour', o.placed_at, 'UTC') as hour, count(*) as orders, sum(o.fee_usd) as fees_usd,
               max(sv.payload #>> '{risk,maxOrdersPerDay}') as most_a_day
        from public.mainnet_orders o join public.deployments d on d.id = o.deployment_id
        join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
        where d.id = %(deployment)s and o.placed_at > now() - interval '24 hours' group by 1 order by 1 desc
        """,
        deployment=deployment_id,
    )
    return Incident(
        words,
        "Pause",
        "More orders a day than maxOrdersPerDay: the engine should have caught it, it is a bug; keep it paused. Fewer: "
        "the Skill asks for them; tighten the cap in a new version.",
        send_command("pause", deployment_id),
        command_state("pause", deployment_id),
        paused("pause", settings.budgets.answer),
        (orders, _decisions(deployment_id)),
    )


def _wrong_size(words: str, deployment: Mapping[str, Any], settings: Settings) -> Incident:
    deployment_id = str(deployment["id"])
    sizes = sql(
        """
        select o.placed_at, o.symbol, o.side, o.size_base, o.size_base * o.avg_fill_price as ordered_usd,
               said.usd as decided_usd, said.kind from public.mainnet_orders o left join lateral (
          select (ds.proposed_action ->> 'sizeUsd')::numeric as usd, ds.proposed_action ->> 'kind' as kind
          from public.decision_snapshots ds where ds.deployment_id = o.deployment_id and ds.proposed_action is not null
          order by abs(extract(epoch from ds.tick_at - o.placed_at)) limit 1) said on true
        where o.deployment_id = %(deployment)s order by o.placed_at desc limit 20
        """,
        deployment=deployment_id,
    )
    held = sql(
        "select positions, equity_usd, updated_at from public.agent_state where deployment_id = %(deployment)s",
        deployment=deployment_id,
    )
    return Incident(
        words,
        "Pause, do NOT flatten yet",
        "decided_usd beside ordered_usd: they differ, the broker sized it wrongly; they agree, the Skill asked for it "
        "and a cap is too loose. Neither explains the position: somebody else trades on this wallet (agent key).",
        send_command("pause", deployment_id),
        command_state("pause", deployment_id),
        paused("pause", settings.budgets.answer),
        (sizes, held),
    )


def _big_loss(words: str, deployment: Mapping[str, Any], settings: Settings) -> Incident:
    deployment_id = str(deployment["id"])
    loss = sql(
        """
        select min(found.usd) as lowest_usd, max(found.usd) as highest_usd, (array_agg(found.usd order by found.ts))[1]
               as first_usd, s.equity_usd as now_usd, sv.payload #>> '{risk,dailyLossHaltPct}' as halt_pct,
               100 * (1 - s.equity_usd / nullif((array_agg(found.usd order by found.ts))[1], 0)) as lost_pct
        from public.deployments d join public.agent_state s on s.deployment_id = d.id
        join public.skill_versions sv on sv.skill_id = d.skill_id and sv.version = d.skill_version
        left join lateral (select l.ts, (l.data ->> 'equity_usd')::numeric as usd from public.agent_logs l
          where l.deployment_id = d.id and l.event = 'reconciled' and l.ts >= date_trunc('day', now(), 'UTC')) found
          on true
        where d.id = %(deployment)s group by s.equity_usd, sv.payload
        """,
        deployment=deployment_id,
    )
    return Incident(
        words,
        "Flatten",
        "lost_pct over halt_pct and no daily_loss_halt: the halt failed, a bug. Under it: dailyLossHaltPct was set "
        "high; lower it in a new version.",
        send_command("flatten", deployment_id),
        command_state("flatten", deployment_id),
        paused("flatten", settings.budgets.answer) & reply(positions=0),
        (loss, _lines(deployment_id, "daily_loss_halt", "liquidation", "order_filled")),
    )


def _websocket(words: str, deployment: Mapping[str, Any], _: Settings) -> Incident:
    deployment_id = str(deployment["id"])
    state = sql(
        """
        select d.status, extract(epoch from now() - max(l.ts)) as seconds_since_reconciled
        from public.deployments d join public.agent_logs l on l.deployment_id = d.id and l.event = 'reconciled'
        where d.id = %(deployment)s group by d.id
        """,
        deployment=deployment_id,
    )
    return Incident(
        words,
        "Watch the machine's log for webdata2_apply_failed",
        "The venue's API or the network, and it usually recovers. If it persists: fly secrets set "
        "HYPERLIQUID_LIVE_ENABLED=false (./runbook halt --all does it, and what must follow). In every line: the image "
        "is older than the retirement of webData2.",
        http("fly_logs", "GET /api/v1/apps/{fly.app}/logs", pick="data"),
        state,
        rows(1) & each(seconds_since_reconciled=not_null, status=not_null),
        (_lines(deployment_id, "webdata2_apply_failed", "all_mids_fetch_failed", "state_drift", "tick_failed"), state),
    )


def _cron_secret(words: str, deployment: Mapping[str, Any], settings: Settings) -> Incident:
    variable = {"key": "CRON_SECRET", "value": "$NEW_SECRET", "type": "sensitive", "target": ["production"]}
    redeploy = {"name": "{vercel.project}", "deploymentId": deployment["serving"], "target": "production"}
    unswept = sql("""
        select d.id, d.status, d.error_text, extract(epoch from now() - s.updated_at) as seconds_stale
        from public.deployments d left join public.agent_state s on s.deployment_id = d.id
        where d.status not in ('stopped', 'provisioning') order by seconds_stale desc nulls first
    """)
    return Incident(
        words,
        "Rotate CRON_SECRET in Vercel, and deploy the web app again: until then the old one opens",
        "Whoever has it can only ask for sweeps. Schedulers and files that hold it are next: "
        f"{addressed('./runbook run rotate_secret', settings.name)} -p secret=CRON_SECRET.",
        Series(
            (
                http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=[variable]),
                http("vercel", "POST /v13/deployments", json=redeploy),
            )
        ),
        http("web", "GET /api/jobs/heartbeat-sweep", headers={"Authorization": "Bearer $CRON_SECRET"}),
        turned_away(),
        (unswept, http("vercel", "GET /v9/projects/{vercel.project}", pick="crons.definitions")),
        within=settings.budgets.redeploy,
    )


def _agent_key(words: str, deployment: Mapping[str, Any], _: Settings) -> Incident:
    if not deployment.get("agent_address"):
        raise ConfigError(f"deployment {deployment['id']} has no agent: name the live one with -p deployment=…")
    agent, wallet = str(deployment["agent_address"]), str(deployment["wallet"])
    agents = sql(
        """
        select a.agent_address, a.revoked_at, c.created_at as stop_queued_at, d.id, d.status
        from public.hyperliquid_agents a join public.deployments d on d.hyperliquid_agent_id = a.id
        left join public.agent_commands c on c.deployment_id = d.id and c.kind = 'stop'
        where a.agent_address = %(agent)s and d.id = %(deployment)s
        """,
        agent=agent,
        deployment=str(deployment["id"]),
    )
    return Incident(
        words,
        "Revoke, at once; then remove the agent in the venue's app",
        "Both steps are needed (ADR-0016): the platform cannot take the key's right to trade away. Orders or fills "
        "without a row are somebody else's. Then find where the key was read: the Vault, or a machine's memory.",
        revoke(agent),
        agents,
        rows() & each(revoked_at=not_null, stop_queued_at=not_null),
        (info("extraAgents", user=wallet), info("userFills", user=wallet)),
        "remove_agent",
        {"agent": agent},
    )


def _everything(words: str, deployment: Mapping[str, Any], settings: Settings) -> Incident:
    active = sql("select id, broker_kind, status from public.deployments where status not in ('stopped', 'error')")
    unheard = sql("""
        select deployment_id, kind, created_at, acked_at from public.agent_commands
        where created_at > now() - interval '1 hour' order by created_at desc
    """)
    return Incident(
        words,
        "Halt: both switches off, everything flat and stopped",
        "The halt's own record says what was stopped, and what was not. Nothing starts again before ./runbook unhalt.",
        halt_line(settings),
        http("vercel", "GET /v10/projects/{vercel.project}/env", pick="envs"),
        production_variables(DEPLOYMENTS_DISABLED="true"),
        (active, unheard),
    )


Row = Callable[[str, "Mapping[str, Any]", "Settings"], Incident]
# short name: the checklist's words, and the row
SHEET: dict[str, tuple[str, Row]] = {
    "rapid orders": ("Skill is firing rapid orders", _rapid_orders),
    "wrong size": ("Position is wrong size vs intended", _wrong_size),
    "big loss": ("Big loss showing on HL", _big_loss),
    "websocket": ("WS keeps disconnecting", _websocket),
    "cron secret": ("Cron secret leaked", _cron_secret),
    "agent key": ("Suspect agent key compromise", _agent_key),
    "stop everything": ("Need to stop everything platform-wide", _everything),
}


PLATFORM_WIDE = ("cron secret", "stop everything")  # symptoms whose first action concerns every deployment

# --- evidence -------------------------------------------------------------------------------------------------------


def _decisions(deployment: str) -> Sql:
    return sql(
        """
        select tick_at, proposed_action ->> 'kind' as kind, proposed_action ->> 'sizeUsd' as size_usd,
               verdict ->> 'status' as verdict, verdict ->> 'rule' as rule
        from public.decision_snapshots where deployment_id = %(deployment)s order by tick_at desc limit 20
        """,
        deployment=deployment,
    )


def _lines(deployment: str, *events: str) -> Sql:
    return sql(
        """
        select ts, level, event, message from public.agent_logs
        where deployment_id = %(deployment)s and event = any(string_to_array(%(events)s, ' ')) order by ts desc limit 20
        """,
        deployment=deployment,
        events=" ".join(events),
    )
