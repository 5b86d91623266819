"""Prove that every address, credential and clock of a profile works, by reading only.

The doctor does this before a phase needs them, and changes nothing.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from runbook_lib.commands.command import Command, Sql, http, round_trip, shell, sql, subscribe
from runbook_lib.commands.expectations import (
    Expectation,
    Finding,
    Matcher,
    at_least,
    clocks,
    each,
    judge,
    not_null,
    over_each,
    reply,
    rows,
    text,
)
from runbook_lib.errors import RunbookError
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from runbook_lib.commands.command import Reply
    from runbook_lib.settings.profiles import Settings


WHOLE = 15.0  # seconds that all probes, run in parallel, may take
QUERY = 5.0  # seconds that one query may take: those on one connection wait for each other
LASTING = timedelta(days=7)  # that a key must be good for
NOBODY = "0x0000000000000000000000000000000000000000"
ENOUGH = Matcher("not named, or at least 10", lambda left: left is None or float(left) >= 10)
PAYS = Matcher("no limit, or at least 1 dollar", lambda left: left is None or float(left) >= 1)
LASTS = Matcher("never, or in a week or later", lambda at: at is None or _time(at) > datetime.now(UTC) + LASTING)
SUBSCRIPTIONS = ("userFills", "orderUpdates", "webData3")  # what a runner needs to see (C19)


@dataclass(frozen=True)
class Probe:
    """One fact that the doctor proves, and the reading that proves it.

    ``breaks`` names the steps that need the fact, ``fix`` how to mend it. ``then`` makes one more command from the last
    reply. ``as_owner``: the read-only role, if the profile names one, is not used. ``here`` looks at this machine, and
    takes the place of commands.
    """

    name: str
    commands: tuple[Command, ...]
    expect: Expectation | Sequence[Expectation]
    breaks: str
    fix: str
    made_by: str = ""  # the step that makes it true; until that step has passed, a failure is no fault
    then: Callable[[Reply], Command] | None = None
    as_owner: bool = False
    here: Callable[[Settings], Finding] | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of a doctor's probe. If ``made_by`` names a step, a failure counts only after that step has passed."""

    name: str
    good: bool
    seen: str
    breaks: str
    fix: str
    made_by: str = ""

    @property
    def word(self) -> str:
        return "passed" if self.good else f"not before {self.made_by}" if self.made_by else "failed"


def examine(settings: Settings, more: Sequence[Probe] = ()) -> list[Verdict]:
    """Run all of the doctor's probes in parallel. Probes that only send SQL share connections; the others do not.

    A probe that takes over 15 s has failed: with start and end, all of it takes less than 20 s.
    """
    chosen = [*probes(settings), *more]
    answers: dict[int, Verdict] = {}
    # Daemon threads: a service that sends one byte a second must not keep the process from ending.
    threads = [threading.Thread(target=_run, args=(settings, lane, answers), daemon=True) for lane in _lanes(chosen)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + WHOLE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [answers.get(number) or _late(probe) for number, probe in enumerate(chosen)]


def _late(probe: Probe) -> Verdict:
    return Verdict(probe.name, False, f"no answer within {WHOLE:g} s", probe.breaks, probe.fix)


def _lanes(chosen: Sequence[Probe]) -> Iterable[list[tuple[int, Probe]]]:
    """Return the numbered probes that run one after another on the same connections.

    Probes that only query share one connection for each role: a session pooler has few, and the runners need them.
    """
    lanes: dict[object, list[tuple[int, Probe]]] = {}
    for number, probe in enumerate(chosen):
        queries = bool(probe.commands) and all(isinstance(command, Sql) for command in probe.commands)
        lanes.setdefault(("queries", probe.as_owner) if queries else number, []).append((number, probe))
    return lanes.values()


def _run(settings: Settings, lane: list[tuple[int, Probe]], answers: dict[int, Verdict]) -> None:
    owner = settings.database.model_copy(update={"read_only_user": None, "read_only_password": None})
    services = Services(settings.model_copy(update={"database": owner}) if lane[0][1].as_owner else settings)
    try:
        for number, probe in lane:
            answers[number] = _verdict(services, probe)
    finally:
        services.close()


def _verdict(services: Services, probe: Probe) -> Verdict:
    settings = services.settings
    try:
        commands = [command.filled(settings.lookup) for command in probe.commands]
        replies = [services.look(command, within=QUERY if isinstance(command, Sql) else None) for command in commands]
        if probe.then is not None:
            replies.append(services.look(probe.then(replies[-1]).filled(settings.lookup)))
        finding = probe.here(settings) if probe.here else judge(probe.expect, replies)
        seen, good = finding.complaint or finding.seen, finding.complaint is None
    except RunbookError as error:
        seen, good = str(error), False
    return Verdict(probe.name, good, settings.redactor().text(seen), probe.breaks, probe.fix, probe.made_by)


def probes(settings: Settings) -> list[Probe]:
    """Return the doctor's probes of a profile, in the order in which they are shown."""
    renew = "make a new token for the organisation or team the profile names"
    return [
        Probe(
            "database role and zone",
            (
                sql("""
                    select current_user as role, current_setting('TimeZone') as zone, version() as version,
                           current_setting('server_version_num')::int as number, not pg_is_in_recovery() and (
                             select reset_val from pg_settings where name = 'default_transaction_read_only') = 'off'
                             as writable
                """),
            ),
            reply(role="postgres", zone="UTC", writable=True, number=at_least(150000), version=not_null),
            "every step that asks the database",
            "compare database.url and its password with Project Settings, Database",
            as_owner=True,
        ),
        *_read_only_role(settings),
        Probe(
            "notification arrives",
            (round_trip("runbook_doctor"),),
            each(delivered=True, lock="one holder"),
            "0.1d, every command to a runner, and the writing lock, which two operators could hold at once",
            "use port 5432: direct, or the session pooler",
        ),
        Probe(
            "clocks",
            (sql("select clock_timestamp() as database_time"), _exchange_status()),
            clocks("database_time", "time", within=settings.budgets.clock_skew),
            "0.1c, every signed request",
            "switch on time synchronisation on this machine",
        ),
        Probe(
            "supabase token",
            (http("supabase", "GET /v1/projects/{project}"),),
            each(ref=settings.project, status="ACTIVE_HEALTHY"),
            "0.1f, 0.1g, rotation of the database password",
            "make a personal access token in the Supabase dashboard and export SUPABASE_ACCESS_TOKEN",
        ),
        Probe(
            "backups",
            (http("supabase", "GET /v1/projects/{project}/database/backups"),),
            over_each("point-in-time recovery, or a backup", _restorable),
            "0.1e: nothing could be restored",
            "Supabase dashboard, Database, Backups: switch on point-in-time recovery, or wait for a daily one",
        ),
        Probe(
            "fly token", (http("fly", "GET /v1/tokens/current", pick="tokens"),), rows(), "0.3, every machine", renew
        ),
        Probe(
            "fly deploy token",
            (
                http(
                    "fly",
                    "GET /v1/tokens/current",
                    headers={"Authorization": "Bearer $FLY_DEPLOY_TOKEN"},
                    pick="tokens",
                ),
            ),
            rows(),
            "0.4b, every deployment that the web app makes",
            "make it again with fly tokens create deploy, and export FLY_DEPLOY_TOKEN",
        ),
        Probe(
            "registry",
            (http("registry", "GET /v2/"),),
            reply(200),
            "0.3g",
            "the registry takes the Fly token by Basic authentication: " + renew,
        ),
        Probe(
            "vercel project",
            (http("vercel", "GET /v9/projects/{vercel.project}"),),
            reply(name=settings.vercel.project, accountId=settings.vercel.team or not_null),
            "0.4",
            "compare vercel.project and vercel.team; else " + renew,
        ),
        Probe(
            "web app",  # its page: a wrong secret at a job's address would ring in the watch, as a call that failed
            (http("web", "GET /"),),
            over_each("the application answers", _application, errors_allowed=True, empty=True),
            "every page; 0.5, 3.2",
            "the application itself must answer at web.url: no redirect, no login of a deployment protection",
        ),
        Probe(
            "venue markets",
            (http("hyperliquid", "POST /info", json={"type": "allMids"}, reads=True),),
            each(BTC=at_least(0)),
            "2.1, every tick on mainnet",
            "check hyperliquid.url and the venue's status page",
        ),
        *_wallet(settings),
        Probe(
            "venue subscriptions",
            (subscribe("hyperliquid", *({"type": kind, "user": NOBODY} for kind in SUBSCRIPTIONS)),),
            each(accepted=True),
            "2.5, the runner's sight of its own orders and fills",
            "the venue retired a subscription the runner needs, or the way to its socket is closed",
        ),
        Probe(
            "rate limits",
            (http("vercel", "GET /v9/projects/{vercel.project}"),),
            each(x_ratelimit_remaining=ENOUGH),
            "0.4, every redeploy",
            "wait until the limit resets; somebody else is using the same token",
        ),
        Probe(
            "openrouter key",
            (http("openrouter", "GET /api/v1/key", pick="data"),),
            each(usage=not_null, limit_remaining=PAYS, is_management_key=False, expires_at=LASTS),
            "1.2, every tick",
            "make a key at openrouter.ai that lasts, has money left, and is no management key: that one may not ask a "
            "model. Export it as OPENROUTER_API_KEY",
        ),
        Probe(
            "command line tools",
            (shell("supabase --version", reads=True), shell("fly version", reads=True)),
            (text(r"\d+\.\d+"), text(r"\d+\.\d+")),
            "0.1g, 0.3f",
            "install the supabase and fly command line tools",
        ),
        Probe(
            "platform repository",
            (shell("test -f apps/live-runner/Dockerfile && echo found", reads=True),),
            text("^found$"),
            "0.1h, 0.3f",
            "repository in the profile must be the root of a checkout of the platform",
        ),
    ]


def _exchange_status() -> Command:
    return http("hyperliquid", "POST /info", json={"type": "exchangeStatus"}, reads=True)


def _read_only_role(settings: Settings) -> list[Probe]:
    """Return the probe of the read-only role, if the profile names one. The role reads every table and changes none."""
    if settings.database.read_only_user is None:
        return []
    rights = sql("""
        select current_user as role, current_setting('default_transaction_read_only') as read_only,
               coalesce(string_agg(c.relname, ', ') filter (where not has_table_privilege(c.oid, 'select')), '')
                 as not_readable,
               coalesce(string_agg(c.relname, ', ')
                 filter (where has_table_privilege(c.oid, 'insert, update, delete')), '') as writable
        from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    """)
    name = settings.database.read_only_user.partition(".")[0]  # a pooler's user ends in the project's ref
    return [
        Probe(
            "read-only role",
            (rights,),
            reply(role=name, read_only="on", not_readable="", writable=""),
            "every check, every chart, the console",
            "create role … login bypassrls; grant it pg_monitor, and select on all tables in schema public; alter role "
            "… set default_transaction_read_only = on",
        )
    ]


def _wallet(settings: Settings) -> list[Probe]:
    """Return the probe of the master wallet, if the profile names one."""
    if settings.hyperliquid.wallet is None:
        return []
    return [
        Probe(
            "master wallet",
            (http("hyperliquid", "POST /info", json={"type": "userRole", "user": "{hyperliquid.wallet}"}, reads=True),),
            reply(role="user"),
            "2.1, and every halt, which would look at a wallet that holds nothing",
            "missing: no deposit has arrived. agent or subAccount: hyperliquid.wallet must be the master's address",
            made_by="2.1a",
        )
    ]


def _restorable(answer: Reply) -> Finding:
    row = answer.rows[0] if answer.rows else {}
    kept = row.get("backups")
    if row.get("pitr_enabled") is True:
        return Finding("point-in-time recovery")
    return Finding(f"{len(kept)} backups") if kept else Finding("", "no point-in-time recovery, and no backup")


def _application(answer: Reply) -> Finding:
    """Find out whether the web app itself answers. The answer may be a refusal, because nobody has signed in."""
    seen = f"status={answer.status}"
    if answer.status in (401, 403) and answer.text.lstrip().startswith("<"):
        return Finding(seen, f"{seen} with a page: deployment protection answers, not the application")
    if answer.status in (301, 308):
        return Finding(seen, f"{seen}: this address has moved: {answer.error}")
    return Finding(seen, None if answer.status and answer.status < 500 else f"{seen}: {answer.error}")


def _time(at: Any) -> datetime:
    return datetime.fromisoformat(str(at))
