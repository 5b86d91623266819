"""Prove that every address, credential and clock of a profile works, by reading only.

The doctor does this before a phase needs them, and changes nothing.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook_lib.commands.command import Command, http, round_trip, shell, sql, subscribe
from runbook_lib.commands.expectations import (
    Expectation,
    Matcher,
    at_least,
    clocks,
    each,
    judge,
    not_null,
    reply,
    rows,
    text,
    turned_away,
)
from runbook_lib.errors import RunbookError
from runbook_lib.services.services import Services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runbook_lib.settings.profiles import Settings


WHOLE = 18.0  # seconds that all probes, run in parallel, may take
NOBODY = "0x0000000000000000000000000000000000000000"
ENOUGH = Matcher("not named, or at least 10", lambda left: left is None or float(left) >= 10)
SUBSCRIPTIONS = ("userFills", "orderUpdates", "webData3")  # what a runner needs to see (C19)


@dataclass(frozen=True)
class Probe:
    """One fact that the doctor proves, and the reading that proves it.

    ``breaks`` names the steps that need the fact, ``fix`` how to mend it.
    """

    name: str
    commands: tuple[Command, ...]
    expect: Expectation | Sequence[Expectation]
    breaks: str
    fix: str
    made_by: str = ""  # the step that makes it true; until that step has passed, a failure is no fault


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
    """Run all of the doctor's probes in parallel, each on its own connections.

    A probe that takes over 18 s has failed.
    """
    chosen = [*probes(settings), *more]
    answers: dict[int, Verdict] = {}
    # Daemon threads: a service that sends one byte a second must not keep the process from ending.
    threads = [
        threading.Thread(
            target=lambda n, p: answers.update({n: _verdict(settings, p)}), args=(number, probe), daemon=True
        )
        for number, probe in enumerate(chosen)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + WHOLE
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return [answers.get(number) or _late(probe) for number, probe in enumerate(chosen)]


def _late(probe: Probe) -> Verdict:
    return Verdict(probe.name, False, f"no answer within {WHOLE:g} s", probe.breaks, probe.fix)


def _verdict(settings: Settings, probe: Probe) -> Verdict:
    services = Services(settings)
    try:
        commands = [command.filled(settings.lookup) for command in probe.commands]
        finding = judge(probe.expect, [services.look(command) for command in commands])
        seen, good = finding.complaint or finding.seen, finding.complaint is None
    except RunbookError as error:
        seen, good = str(error), False
    finally:
        services.close()
    return Verdict(probe.name, good, settings.redactor().text(seen), probe.breaks, probe.fix, probe.made_by)


def probes(settings: Settings) -> list[Probe]:
    """Return the doctor's probes of a profile, in the order in which they are shown."""
    renew = "make a new token for the organisation or team the profile names"
    return [
        Probe(
            "database role and zone",
            (sql("select current_user as role, current_setting('TimeZone') as zone, version() as version"),),
            reply(role="postgres", zone="UTC", version=not_null),
            "every step that asks the database",
            "compare database.url and its password with Project Settings, Database",
        ),
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
            "fly token", (http("fly", "GET /v1/tokens/current", pick="tokens"),), rows(), "0.3, every machine", renew
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
            reply(name=settings.vercel.project),
            "0.4",
            renew,
        ),
        Probe(
            "web app",
            (http("web", "GET /api/jobs/heartbeat-sweep", headers={"Authorization": "Bearer not-the-secret"}),),
            turned_away(),
            "0.5, 3.2",
            "the web app must answer at web.url and turn a wrong cron secret away",
        ),
        Probe(
            "venue markets",
            (http("hyperliquid", "POST /info", json={"type": "allMids"}, reads=True),),
            each(BTC=at_least(0)),
            "2.1, every tick on mainnet",
            "check hyperliquid.url and the venue's status page",
        ),
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
            each(usage=not_null),
            "1.2, every tick",
            "make a key at openrouter.ai and export OPENROUTER_API_KEY",
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
