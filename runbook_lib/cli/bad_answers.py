"""Drill with bad answers: spoil each service's answers in every way, and count how often one is taken for good news.

The halt, the console and the steps of the notebooks are asked in turn.

The stage is a platform of which nothing good can be said: each wallet has one thing open in one book, a machine runs
and cannot be stopped, and no change of a switch takes effect. Any report to the contrary has taken a bad answer for
good news. A halt asks Fly, Vercel and the venue in independent parts, so one halt tries a route of each service.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading import deployment_queries, runner_commands, venue_books
from runbook_lib.agentic_trading.fly_machines import MACHINES, is_down
from runbook_lib.agentic_trading.venue_books import SPOT
from runbook_lib.checklist.deployment_machines import machine_down, machine_gone
from runbook_lib.checklist.wallet import book_questions, flat, fresh_wallet, holds_at_most, state_questions
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
    from runbook_lib.halt.state import Halting
    from runbook_lib.settings.profiles import Settings

# Seconds: nothing comes about on this stage, so nothing is worth waiting for but two looks at every book.
LIMITS = Halt(answer=0.6, pause=0.8, flat=2.5, stop=0.9)
# What is open: each on a wallet of its own, on which nothing else could say that it is not flat.
POSITION, TOKENS, ORDER = "a position", "tokens", "an order in spot"
BUILDERS_POSITION, BUILDERS_ORDER = "a builder's position", "a builder's order"
OPEN: dict[str, dict[str, Any]] = {
    POSITION: {"coin": "BTC", "usd": 50},  # more than a runner has of its own, on either side
    TOKENS: {"coin": "@107", "usd": 20},
    ORDER: {"coin": "@107", "usd": 20, "rest": True},  # which no runner cancels
    BUILDERS_POSITION: {"coin": "xyz:GOLD", "usd": 20},
    BUILDERS_ORDER: {"coin": "flx:TSLA", "usd": 20, "rest": True},
}
# Each question whose answer alone tells of it.
HIDES = {
    "clearinghouseState": POSITION,
    "frontendOpenOrders": ORDER,
    "spotClearinghouseState": TOKENS,
    "clearinghouseState xyz": BUILDERS_POSITION,
    "frontendOpenOrders flx": BUILDERS_ORDER,
    "perpDexs": BUILDERS_POSITION,
}
# Wallets of which a halt may say so: what no order rests on is without orders, and none is flat.
AT_MOST = {"flat": 0, "cancel": sum("rest" not in what for what in OPEN.values())}
ANSWER, REDEPLOY = 0.8, 1.5
PATIENCE = 20.0  # seconds for what is done to the stage itself
# What comes in place of an answer; the last of them are refusals for now, and a connection that is hung up.
BAD: dict[str, dict[str, Any]] = {
    **{kind: {"kind": kind} for kind in ("html", "null", "error", "cut", "deep", "garbage", "bomb", "drip", "stale")},
    **{f"{status} for ever": {"status": status} for status in (409, 412, 429, 503)},
    **{f"{status} once": {"status": status, "times": 1} for status in (409, 412, 429, 503)},
    "hung up": {"kind": "drop"},
}
NEVER_READY = {"id": "dpl_never_ready", "readyState": "BUILDING"}
AFTER = ("cut", "stale")  # come after the stand-in did what it was asked: of a change, it would be done
OPERATOR = (
    "127.0.0.1"  # whose questions are spoiled: a runner that gets bad answers itself ends, and its machine with it
)
COUNTED = re.compile(r"([0-9]+) of [0-9]+ wallets")  # how a halt says how far it has come
OF_SQL = ("error", "timeout", "read-only", "hang", "lost")
# What cannot be changed on this stage: a machine, the runners' switch, what serves the web app (a build is made, and is
# never ready), what the venue holds.
STAGE: tuple[dict[str, Any], ...] = (
    {"service": "fly", "method": "POST", "path": "*/stop", "status": 500},
    {"service": "fly", "method": "POST", "path": "*/secrets", "status": 500},
    {"service": "vercel", "method": "POST", "path": "/v13/deployments", "status": 200, "body": NEVER_READY},
    {"service": "vercel", "method": "GET", "path": "/v13/deployments/*", "status": 200, "body": NEVER_READY},
)


@dataclass(frozen=True)
class Route:
    """A kind of request to a service whose answers are spoiled.

    ``parts`` are the parts of a halt that depend on the answers.

    ``where`` holds the fields by which an HTTP fault of the rehearsal selects the request.
    """

    name: str
    where: dict[str, Any]
    parts: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Return whether this kind of request changes something at the service."""
        return self.where.get("method") == "POST" and "asks" not in self.where

    def faults(self) -> dict[str, dict[str, Any]]:
        """Return the bad answers that this route can give: name -> the HTTP fault that causes the answer."""
        return {word: {**self.where, **bad} for word, bad in BAD.items() if not (self.changes and word in AFTER)}


@dataclass(frozen=True)
class Claim:
    """A step's expectation that is false on the drill's `Stage`, with its commands and the route to spoil."""

    name: str
    commands: tuple[Command, ...]
    expect: Expectation
    spoiled: Route


def _fly(method: str, path: str, *parts: str) -> Route:
    return Route(f"fly {method} {path}", {"service": "fly", "method": method, "path": path}, parts)


def _vercel(method: str, path: str, *parts: str) -> Route:
    return Route(f"vercel {method} {path}", {"service": "vercel", "method": method, "path": path}, parts)


def _venue(kind: str, *parts: str) -> Route:
    return Route(f"venue {kind}", {"service": "hyperliquid", "path": "/info", "asks": kind, "source": OPERATOR}, parts)


MACHINE, EVENTS = _fly("GET", "*/machines/*"), _fly("GET", "*/machines/*/events")
LISTED, SECRETS = _fly("GET", "*/machines", "machines"), _fly("GET", "*/secrets", "fly")
VARIABLES = _vercel("GET", "*/env", "switches", "refusal")
BUILDS = _vercel("GET", "/v7/deployments", "switches", "refusal")
BUILD = _vercel("GET", "/v13/deployments/*", "switches", "refusal")
SERVES = _vercel("GET", "/v9/projects/*", "switches", "refusal")
# Routes of three services that one run of a halt asks: a row is spoiled at the same time.
OF_FLY = (LISTED, _fly("POST", "*/stop", "machines"), SECRETS, _fly("POST", "*/secrets", "fly"))
OF_VERCEL = (
    VARIABLES,
    _vercel("POST", "*/env", "switches", "refusal"),
    SERVES,
    BUILDS,
    _vercel("POST", "/v13/deployments", "switches", "refusal"),
    BUILD,
)
OF_THE_VENUE = tuple(_venue(question, *AT_MOST) for question in HIDES)


@dataclass
class Stage:
    """The platform on which bad answers are tried. Its live deployment can be neither flattened nor stopped."""

    settings: Settings
    folder: Path
    database: SqlFaults
    deployment: str
    wallets: dict[str, str]  # what is open -> the wallet on which it is
    services: Services
    began: float = field(default_factory=monotonic)

    def set_up(self) -> None:
        """Prepare the platform for bad answers: open positions and orders that nobody can cancel or close."""
        self._ask(http("person", "POST /gestures/click", json={"kind": runner_commands.PAUSE}))
        for thing, trade in OPEN.items():
            if thing != POSITION:  # the first is on the wallet of the live deployment
                self.wallets[thing] = self._another_wallet()
                self._ask(http("person", "POST /gestures/have_traded", json={}))  # so that a halt sees to it
            self._ask(http("person", "POST /gestures/trade", json=trade))
        self.wallets["an agent"] = self._another_wallet()
        self._ask(http("person", "POST /faults/venue-rejects"))
        for fault in STAGE:
            self._ask(http("person", "POST /http-faults", json=fault))

    def _another_wallet(self) -> str:
        """Fund a new wallet, give it an agent, and return its address."""
        funded = self._ask(http("person", "POST /gestures/fund", json={"fresh": True}))
        for gesture in ("pair", "authorise"):
            self._ask(http("person", "POST /gestures/{gesture}", gesture=gesture, json={}))
        return str(funded["address"])

    def require_machine(self) -> None:
        """Raise `ServiceError` if the drill's machine has stopped: the bad answer "stopped" would then be true."""
        machines = self.services.look(MACHINES.filled(self.settings.lookup), within=PATIENCE).rows
        if not machines or any(map(is_down, machines)):
            raise ServiceError("the drill's machine does not run any more: what is said of it proves nothing")

    @contextmanager
    def spoiled(self, faults: Sequence[dict[str, Any]]) -> Iterator[None]:
        """Let the stand-ins give bad answers while the ``with`` block runs.

        Each of ``faults`` is an HTTP fault of the rehearsal.
        """
        made = [self._ask(http("person", "POST /http-faults", json=fault)) for fault in faults]
        try:
            yield
        finally:
            for row in made:
                self._ask(http("person", "DELETE /http-faults/{number}", number=row["id"]))

    def _ask(self, command: Http) -> dict[str, Any]:
        reply = self.services.change(command, within=PATIENCE)
        if reply.error:
            raise ServiceError(f"the drill's {command.method} {command.path}: {reply.error}")
        return reply.rows[0] if reply.rows else {}


def rows() -> Iterator[Row]:
    """Try every bad answer on the halt, the console and the steps.

    Yield each result row as soon as its trial is done.
    """
    with ExitStack() as stack:
        stage = stack.enter_context(_stage())
        yield from _of_steps(stage)
        yield from _of_the_halt(stage)
        yield from _of_sql(stage)


def false_good_news(drilled: Sequence[Row]) -> str:
    """Describe how many of the bad answers were taken for good news."""
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
            with closing(Services(settings)) as services:
                deployment, wallet = _live(services)
                stage = Stage(settings, Path(folder), database, deployment, {POSITION: wallet}, services)
                stage.set_up()
                yield stage
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
    reply = services.look(state, within=PATIENCE)
    live = [row for row in reply.rows if row["broker"] == runner_commands.LIVE_BROKER]
    return str(live[-1]["deployment"]), str(live[-1]["wallet"])


# --- the halt -------------------------------------------------------------------------------------------------------


def _of_the_halt(stage: Stage) -> Iterator[Row]:
    for together in zip_longest(OF_FLY, OF_VERCEL, OF_THE_VENUE):
        routes = [route for route in together if route is not None]
        for word in BAD:
            stage.require_machine()
            spoiled = [route for route in routes if word in route.faults()]
            with stage.spoiled([route.faults()[word] for route in spoiled]):
                halted = _halted(stage)
            for route in spoiled:
                words = " ".join(halted.words[part] for part in route.parts)
                yield _row(f"{route.name}: {word}", "halt", halted.good(route.parts), words, halted.seconds)


@dataclass(frozen=True)
class Halted:
    """The end of a halt under bad answers: each part's outcome and words.

    ``wallets`` holds the largest number of wallets that each part reported as done.
    """

    outcomes: dict[str, str | None]
    words: dict[str, str]
    wallets: dict[str, int]
    seconds: float

    def good(self, parts: Sequence[str]) -> list[str]:
        """Return what the halt reported as done in these parts. All of it is false."""
        said = [part for part in parts if self.outcomes.get(part) == "passed"]
        return said + [
            f"{part} of {n} wallets" for part, n in self.wallets.items() if part in parts and n > AT_MOST[part]
        ]


def _halted(stage: Stage) -> Halted:
    """Halt everything. Note the highest number of wallets that each part of the halt reported as done."""
    began, heard = monotonic(), dict.fromkeys(AT_MOST, 0)

    def hear(halting: Halting) -> None:
        for part in heard:
            number = COUNTED.match(halting.parts[part].seen)
            heard[part] = max(heard[part], int(number[1]) if number else 0)

    done = halt(stage.settings, Request(), root=stage.folder, show=hear)
    outcomes = {part.name: part.outcome for part in done.parts}
    words = {part.name: f"{part.name} {part.outcome}: {part.complaint or part.seen}." for part in done.parts}
    return Halted(outcomes, words, heard, monotonic() - began)


# --- the database ---------------------------------------------------------------------------------------------------


def _of_sql(stage: Stage) -> Iterator[Row]:
    """Let each SQL statement of the halt and the console fail in every way. Yield a result row for each failure."""
    pair = [(stage.deployment, runner_commands.FLATTEN)]
    send = runner_commands.send_commands(pair, key="", issuer="")
    state = runner_commands.sent_state([], [], keys=[])
    overview = deployment_queries.every_deployment(1.0)
    for name, statement in (("sends", send), ("state", state), ("wallets", deployment_queries.live_wallets())):
        for kind in OF_SQL:
            stage.require_machine()
            with _broken(stage, statement, kind):
                halted = _halted(stage)
            said = halted.good(("flat", "cancel", "machines"))
            yield _row(f"sql {name}: {kind}", "halt", said, halted.words["flat"], halted.seconds)
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
    """Return the text by which the proxy recognises a SQL statement: its longest line without a bound value."""
    lines = (line.strip() for line in statement.statement.splitlines())
    return max((line for line in lines if "%(" not in line), key=len)


def _pressed(stage: Stage, fault: str) -> Row:
    began = monotonic()
    target = runner_commands.Target(stage.deployment)
    sent = press(stage.settings, runner_commands.FLATTEN, [target], root=stage.folder)
    said = [runner_commands.FLATTEN] if sent.outcome == "passed" else []
    return _row(fault, "console", said, f"{sent.outcome}: {sent.words}", monotonic() - began)


def _read(stage: Stage, fault: str) -> Row:
    """Read the console's overview and return a result row. Seeing no deployments would be false good news."""
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
    """Spoil the answers of one route after another. Yield a result row for each step that depends on the route.

    Those steps run in parallel.
    """
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
    """Return expectations that are false here: that machines are gone, wallets empty, or lists empty."""
    machines = MACHINES.filled(stage.settings.lookup)
    machine = stage.services.look(machines).rows[-1]["id"]
    return [
        Claim("machine gone", (machines,), machine_gone(stage.deployment), LISTED),
        Claim("machine down", (machines,), machine_down(stage.deployment), LISTED),
        *_of_wallets(stage),
        *_of_lists(stage, machine),
    ]


def _of_wallets(stage: Stage) -> Iterator[Claim]:
    """Yield expectations that a wallet is empty. All are false, and only a spoiled answer can make one seem true."""
    listed = stage.services.look(venue_books.books())
    nobodys = sql("select null as cloid, null as agent_address where false")  # what a run made that did nothing
    for question, thing in HIDES.items():
        wallet, route = stage.wallets[thing], _venue(question)
        states, books = tuple(state_questions(wallet, listed)), tuple(book_questions(wallet, listed))
        lists = venue_books.info("userFills", user=wallet), venue_books.info("extraAgents", user=wallet)
        agents = stage.services.look(lists[1]).column("address")
        ours = sql("select null as cloid, unnest(%(agents)s::text[]) as agent_address", agents=agents)
        yield Claim(f"flat, {question}", books, flat(wallet, listed), route)
        yield Claim(f"fresh wallet, {question}", (ours, *lists, *books), fresh_wallet(wallet, listed), route)
        if "Orders" not in question:
            yield Claim(f"tiny, {question}", states, holds_at_most(1.0, wallet, listed), route)
    wallet = stage.wallets["an agent"]
    lists = venue_books.info("userFills", user=wallet), venue_books.info("extraAgents", user=wallet)
    asked: tuple[Command, ...] = (nobodys, *lists, *book_questions(wallet, listed))
    yield Claim("fresh wallet, extraAgents", asked, fresh_wallet(wallet, listed), _venue("extraAgents"))


def _of_lists(stage: Stage, machine: str) -> Iterator[Claim]:
    """Yield expectations that a list is empty or a thing does not exist. They are all false."""
    lookup, project = stage.settings.lookup, stage.settings.vercel.project
    traded, tokens = stage.wallets[POSITION], stage.wallets[TOKENS]
    serves = http("vercel", "GET /v9/projects/{vercel.project}", pick="targets.production").filled(lookup)
    build = stage.services.look(serves).value("id")
    empty: dict[str, tuple[Http, Route]] = {
        "tokens": (replace(venue_books.state(tokens, SPOT), pick="balances"), _venue("spotClearinghouseState")),
        "orders ever": (venue_books.info("historicalOrders", user=traded), _venue("historicalOrders")),
        "fills": (venue_books.info("userFills", user=traded), _venue("userFills")),
        "agents": (venue_books.info("extraAgents", user=traded), _venue("extraAgents")),
        "role": (venue_books.info("userRole", user=traded), _venue("userRole")),
        "machine": (http("fly", "GET /v1/apps/{fly.app}/machines/{machine}", machine=machine), MACHINE),
        "events": (http("fly", "GET /v1/apps/{fly.app}/machines/{machine}/events", machine=machine), EVENTS),
        "secrets": (http("fly", "GET /v1/apps/{fly.app}/secrets", pick="secrets"), SECRETS),
        "variables": (http("vercel", "GET /v10/projects/{vercel.project}/env", pick="envs"), VARIABLES),
        "builds": (http("vercel", "GET /v7/deployments", query={"projectId": project}, pick="deployments"), BUILDS),
        "build": (http("vercel", "GET /v13/deployments/{build}", build=build), BUILD),
        "live build": (serves, SERVES),
        "key": (http("openrouter", "GET /api/v1/key", pick="data"), _key()),
    }
    for name, (command, route) in empty.items():
        yield Claim(f"no {name}", (command.filled(lookup),), no_rows(name), route)


def _key() -> Route:
    return Route("openrouter GET /api/v1/key", {"service": "openrouter", "method": "GET", "path": "/api/v1/key"})


def _row(fault: str, asker: str, said: Sequence[str], words: str, seconds: float) -> Row:
    """Return the result row of one bad answer.

    The verdict is "missed" if ``said`` reports any good news, because good news is always false here.
    """
    verdict = "missed" if said else "caught"
    return Row(THE_HALT, fault, asker, ", ".join(said) or asker, verdict, "no good news", words, "", round(seconds, 2))
