"""Drill with bad answers: spoil each service's answer in every way, and count what reports it as good news.

The halt, the console and the steps of the notebooks are asked in turn.

On the drill's platform nothing good is true: a position is open and an order rests, a machine runs and cannot be
stopped, no switch can be made live. Any part that reports good news has trusted a bad answer. A halt asks Fly, Vercel
and the venue in independent parts, so one halt can test a spoiled route of each of the three.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import deployment_queries, runner_commands, venue_books
from runbook_lib.agentic_trading.venue_books import SPOT
from runbook_lib.checklist.deployment_machines import machine_gone
from runbook_lib.checklist.safety_nets import machine_down
from runbook_lib.checklist.wallet import book_questions, flat, fresh_wallet
from runbook_lib.commands.command import Command, Http, http, sql
from runbook_lib.commands.expectations import Expectation, no_rows
from runbook_lib.console.overview import Reader
from runbook_lib.console.sent_commands import press
from runbook_lib.errors import ServiceError
from runbook_lib.halt.state import Request
from runbook_lib.halt.stop import halt
from runbook_lib.rehearsal import lifecycle
from runbook_lib.rehearsal.postgres.sql_faults import SqlFault, SqlFaults
from runbook_lib.runs.drills.catch_matrix import THE_HALT
from runbook_lib.runs.drills.parallel import Row
from runbook_lib.services.deadlines import side_by_side
from runbook_lib.services.services import Services
from runbook_lib.settings import profiles
from runbook_lib.settings.profiles import Halt
from runbook_lib.steps import checks

if TYPE_CHECKING:
    from runbook_lib.commands.command import Sql
    from runbook_lib.settings.profiles import Settings

# Seconds, all short: on this stage nothing ever succeeds, so there is nothing to wait for.
LIMITS = Halt(answer=0.6, pause=0.8, flat=1.6, stop=0.9)
FLAT_RESTS_ON = ("clearinghouseState", "frontendOpenOrders")
ANSWER, REDEPLOY = 0.8, 1.5
# Faults that replace an answer; the last ones are refusals for now and a dropped connection.
BAD: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in ("html", "null", "error", "cut", "deep", "garbage", "bomb", "drip", "stale")},
    **{f"{status} for ever": {"status": status} for status in (409, 412, 429, 503)},
    **{f"{status} once": {"status": status, "times": 1} for status in (409, 429, 503)},
    "hung up": {"kind": "drop"},
}
AFTER = ("cut", "stale")  # sent after the stand-in has done what was asked, so that a change would really be made
OF_SQL = ("error", "timeout", "read-only", "hang", "lost")
# Faults by which no change succeeds on this stage: no machine stops, no switch is set, no redeploy is made.
STAGE: tuple[dict[str, Any], ...] = (
    {"service": "fly", "method": "POST", "path": "*/stop", "status": 500},
    {"service": "fly", "method": "POST", "path": "*/secrets", "status": 500},
    {"service": "vercel", "method": "POST", "path": "/v13/deployments", "status": 500},
)


@dataclass(frozen=True)
class Route:
    """One kind of request to a service, and the ``parts`` of a halt whose outcomes depend on its answer.

    ``where`` holds the fields by which an HTTP fault of the rehearsal selects the request.
    """

    name: str
    where: dict[str, Any]
    parts: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Return whether the request changes something at the service."""
        return self.where.get("method") == "POST" and "asks" not in self.where

    def faults(self) -> dict[str, dict[str, Any]]:
        """Return the bad answers that this route can give: name -> HTTP fault that makes the stand-in send it."""
        return {word: {**self.where, **bad} for word, bad in BAD.items() if not (self.changes and word in AFTER)}


@dataclass(frozen=True)
class Claim:
    """A claim of a step that is false on this stage: its commands, its expectation, and the route to spoil."""

    name: str
    commands: tuple[Command, ...]
    expect: Expectation
    spoiled: Route


def _fly(method: str, path: str, *parts: str) -> Route:
    return Route(f"fly {method} {path}", {"service": "fly", "method": method, "path": path}, parts)


def _vercel(method: str, path: str, *parts: str) -> Route:
    return Route(f"vercel {method} {path}", {"service": "vercel", "method": method, "path": path}, parts)


def _venue(kind: str, *parts: str) -> Route:
    return Route(f"venue {kind}", {"service": "hyperliquid", "path": "/info", "asks": kind}, parts)


MACHINES, SECRETS = _fly("GET", "*/machines", "machines"), _fly("GET", "*/secrets", "fly")
VARIABLES = _vercel("GET", "*/env", "switches", "refusal")
BUILDS = _vercel("GET", "/v7/deployments", "switches", "refusal")
# Routes of three services that one run of a halt asks; the first of each are spoiled together, then the second ones.
OF_FLY = (MACHINES, _fly("POST", "*/stop", "machines"), SECRETS, _fly("POST", "*/secrets", "fly"))
OF_VERCEL = (
    VARIABLES,
    _vercel("POST", "*/env", "switches", "refusal"),
    _vercel("GET", "/v9/projects/*", "switches", "refusal"),
    BUILDS,
    _vercel("POST", "/v13/deployments", "switches", "refusal"),
)
OF_THE_VENUE = (
    _venue("clearinghouseState", "flat"),
    _venue("frontendOpenOrders", "cancel", "flat"),
    _venue("spotClearinghouseState", "flat"),
    _venue("perpDexs", "cancel", "flat"),
)


@dataclass
class Stage:
    """The platform that the drill uses: a live deployment that can be neither flattened nor stopped."""

    settings: Settings
    folder: Path
    database: SqlFaults
    deployment: str
    wallet: str
    services: Services
    began: float = field(default_factory=monotonic)

    def set_up(self) -> None:
        """Open a position that no order can close and a spot order that no runner cancels; let every change fail."""
        for trade in ({"coin": "BTC", "usd": 20}, {"coin": "@107", "usd": 20, "rest": True}):
            self._ask(http("person", "POST /gestures/trade", json=trade))
        self._ask(http("person", "POST /faults/venue-rejects"))
        for fault in STAGE:
            self._ask(http("person", "POST /http-faults", json=fault))

    @contextmanager
    def spoiled(self, faults: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Put HTTP faults in force in the rehearsal while the ``with`` block runs."""
        made = [self._ask(http("person", "POST /http-faults", json=fault)) for fault in faults]
        try:
            yield
        finally:
            for row in made:
                self._ask(http("person", "DELETE /http-faults/{number}", number=row["id"]))

    def _ask(self, command: Http) -> dict[str, Any]:
        reply = self.services.change(command)
        if reply.error:
            raise ServiceError(f"the drill's {command.method} {command.path}: {reply.error}")
        return reply.rows[0] if reply.rows else {}


def rows() -> Iterator[Row]:
    """Try every bad answer on halt, console and steps, and yield one result row for each when it is done."""
    with ExitStack() as stack:
        stage = stack.enter_context(_stage())
        yield from _of_steps(stage)
        yield from _of_the_halt(stage)
        yield from _of_sql(stage)


def false_good_news(drilled: Sequence[Row]) -> str:
    """Describe how many of the drilled bad answers were reported as good news."""
    bad = sum(row.verdict != "caught" for row in drilled)
    return f"{bad} false good news in {len(drilled)} cells (route by bad answer by halt, console and step)"


@contextmanager
def _stage() -> Iterator[Stage]:
    before = dict(os.environ)
    try:
        with (
            lifecycle.rehearse(state="live") as running,
            tempfile.TemporaryDirectory() as folder,
            SqlFaults(running.addresses["database"]) as database,
        ):
            os.environ.update(running.environment)
            settings = _hurried(profiles.load("rehearsal"), database.url)
            services = Services(settings)
            stage = Stage(settings, Path(folder), database, *_live(services), services)
            stage.set_up()
            yield stage
            services.close()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _hurried(settings: Settings, database: str) -> Settings:
    budgets = settings.budgets
    budgets = budgets.model_copy(update={"answer": ANSWER, "redeploy": REDEPLOY, "halt": LIMITS})
    through = settings.database.model_copy(update={"url": database})
    return settings.model_copy(update={"budgets": budgets, "database": through})


def _live(services: Services) -> tuple[str, str]:
    """Return the id of the live deployment and the address of its wallet."""
    state = runner_commands.sent_state([runner_commands.PAUSE], [], keys=["none"], everyone=True)
    reply = services.look(state, within=10.0)
    live = [row for row in reply.rows if row["broker"] == runner_commands.LIVE_BROKER]
    return str(live[-1]["deployment"]), str(live[-1]["wallet"])


# --- the halt -------------------------------------------------------------------------------------------------------


def _of_the_halt(stage: Stage) -> Iterator[Row]:
    for together in zip_longest(OF_FLY, OF_VERCEL, OF_THE_VENUE):
        routes = [route for route in together if route is not None]
        for word in BAD:
            spoiled = [route for route in routes if word in route.faults()]
            with stage.spoiled([route.faults()[word] for route in spoiled]):
                outcomes, words, seconds = _halted(stage)
            for route in spoiled:
                said = [part for part in route.parts if outcomes.get(part) == "passed"]
                yield _row(
                    f"{route.name}: {word}", "halt", said, " ".join(words[part] for part in route.parts), seconds
                )


def _halted(stage: Stage) -> tuple[dict[str, str | None], dict[str, str], float]:
    """Halt everything; return each part's outcome, each part's words, and the seconds that the halt took."""
    began = monotonic()
    done = halt(stage.settings, Request(), root=stage.folder)
    outcomes = {part.name: part.outcome for part in done.parts}
    words = {part.name: f"{part.name} {part.outcome}: {part.complaint or part.seen}." for part in done.parts}
    return outcomes, words, monotonic() - began


# --- the database ---------------------------------------------------------------------------------------------------


def _of_sql(stage: Stage) -> Iterator[Row]:
    """Make each SQL statement of the halt and the console fail in each way; yield one result row for each."""
    pair = [(stage.deployment, runner_commands.FLATTEN)]
    send = runner_commands.send_commands(pair, key="", issuer="")
    state = runner_commands.sent_state([], [], keys=[])
    overview = deployment_queries.every_deployment(1.0)
    for name, statement in (("sends", send), ("state", state), ("wallets", runner_commands.live_wallets())):
        for kind in OF_SQL:
            with _broken(stage, statement, kind):
                outcomes, words, seconds = _halted(stage)
            said = [part for part in ("flat", "cancel", "machines") if outcomes.get(part) == "passed"]
            yield _row(f"sql {name}: {kind}", "halt", said, words["flat"], seconds)
    for name, statement in (("sends", send), ("state", state)):
        for kind in OF_SQL:
            with _broken(stage, statement, kind):
                yield _pressed(stage, f"sql {name}: {kind}")
    for kind in OF_SQL:
        with _broken(stage, overview, kind):
            yield _read(stage, f"sql overview: {kind}")


@contextmanager
def _broken(stage: Stage, statement: Sql, kind: str) -> Iterator[None]:
    stage.database.fault = SqlFault(_mark(statement), kind)
    try:
        yield
    finally:
        stage.database.fault = None


def _mark(statement: Sql) -> str:
    """Return the text by which the proxy recognises a statement: its longest line without a bound value."""
    lines = (line.strip() for line in statement.statement.splitlines())
    return max((line for line in lines if "%(" not in line), key=len)


def _pressed(stage: Stage, fault: str) -> Row:
    began = monotonic()
    target = runner_commands.Target(stage.deployment)
    sent = press(stage.settings, runner_commands.FLATTEN, [target], root=stage.folder)
    said = [runner_commands.FLATTEN] if sent.outcome == "passed" else []
    return _row(fault, "console", said, f"{sent.outcome}: {sent.words}", monotonic() - began)


def _read(stage: Stage, fault: str) -> Row:
    """Read the console's overview and return a result row; an overview without deployments is false good news."""
    began, reader = monotonic(), Reader(stage.settings)
    try:
        seen = reader.read()
        said, words = (["nothing runs"] if not seen.rows else []), f"{len(seen.rows)} deployments"
    except ServiceError as error:
        said, words = [], str(error)
    finally:
        reader.close()
    return _row(fault, "console", said, words, monotonic() - began)


# --- the steps ------------------------------------------------------------------------------------------------------


def _of_steps(stage: Stage) -> Iterator[Row]:
    """Spoil one route at a time, run the steps that depend on it in parallel, and yield each step's result row."""
    claims = _claims(stage)
    for word in BAD:
        for route in dict.fromkeys(claim.spoiled.name for claim in claims):
            mine = [claim for claim in claims if claim.spoiled.name == route]
            with stage.spoiled([mine[0].spoiled.faults()[word]]):
                yield from side_by_side((partial(_judged, stage, claim, word) for claim in mine), 4)


def _judged(stage: Stage, claim: Claim, word: str) -> Row:
    began, services = monotonic(), Services(stage.settings)
    try:
        look = checks.look(services, claim.commands, claim.expect, 0.0, lambda _: None)
    finally:
        services.close()
    said = [claim.name] if look.finding.complaint is None else []
    return _row(f"{claim.spoiled.name}: {word}", claim.name, said, look.finding.complaint or "", monotonic() - began)


def _claims(stage: Stage) -> list[Claim]:
    """Return steps' claims about machines, the wallet and supposedly empty lists; on this stage all are false."""
    wallet, settings = stage.wallet, stage.settings
    machines = http("fly", "GET /v1/apps/{fly.app}/machines").filled(settings.lookup)
    listed = stage.services.look(venue_books.books())
    books = tuple(book_questions(wallet, listed))
    fills, agents = venue_books.ask("userFills", user=wallet), venue_books.ask("extraAgents", user=wallet)
    ours = sql("select null as cloid, null as agent_address where false")  # this run did nothing on the wallet
    made = [
        Claim("machine gone", (machines,), machine_gone(stage.deployment), MACHINES),
        Claim("machine down", (machines,), machine_down(stage.deployment), MACHINES),
        *(Claim(f"flat, {kind}", books, flat(listed), _venue(kind)) for kind in FLAT_RESTS_ON),
        *(
            Claim(f"fresh wallet, {kind}", (ours, fills, agents, *books), fresh_wallet(listed), _venue(kind))
            for kind in (*FLAT_RESTS_ON, "userFills", "extraAgents")
        ),
    ]
    empty = {
        "tokens": (venue_books.state(wallet, SPOT), _venue("spotClearinghouseState")),
        "orders ever": (venue_books.ask("historicalOrders", user=wallet), _venue("historicalOrders")),
        "fills": (fills, _venue("userFills")),
        "agents": (agents, _venue("extraAgents")),
        "secrets": (http("fly", "GET /v1/apps/{fly.app}/secrets", pick="secrets"), SECRETS),
        "variables": (http("vercel", "GET /v10/projects/{vercel.project}/env", pick="envs"), VARIABLES),
        "builds": (http("vercel", "GET /v7/deployments", query={"projectId": settings.vercel.project}), BUILDS),
        "key": (http("openrouter", "GET /api/v1/key", pick="data"), _key()),
    }
    filled = [(name, command.filled(settings.lookup), route) for name, (command, route) in empty.items()]
    return made + [Claim(f"no {name}", (command,), no_rows(name), route) for name, command, route in filled]


def _key() -> Route:
    return Route("openrouter GET /api/v1/key", {"service": "openrouter", "method": "GET", "path": "/api/v1/key"})


def _row(fault: str, asker: str, said: Sequence[str], words: str, seconds: float) -> Row:
    """Return a result row; since no good news is true here, its verdict is "missed" if ``said`` holds any."""
    verdict = "missed" if said else "caught"
    return Row(THE_HALT, fault, asker, ", ".join(said) or asker, verdict, "no good news", words, "", round(seconds, 2))
