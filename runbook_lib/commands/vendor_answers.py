"""What each vendor answers, by route: the shapes that notebooks, halt and console share (facts 1 to 6).

Models name the fields that somebody here relies on and let every other pass: vendors add fields without notice.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, StrictBool, StrictInt, StrictStr

from runbook_lib.commands.answer_shapes import Shape

if TYPE_CHECKING:
    from runbook_lib.commands.command import Http

Name = Annotated[StrictStr, Field(min_length=1)]
Number = FiniteFloat  # also written as text, as venues write decimals


class Answer(BaseModel):
    """An object of an answer; schemas are built when the first one comes."""

    model_config = ConfigDict(extra="ignore", defer_build=True)


def _no_error(body: Any) -> Any:
    """Refuse what proxies and gateways answer with status 200 in place of the service."""
    if isinstance(body, dict) and body.get("error"):
        raise ValueError(f"the answer is an error: {body['error']}")
    return body


def _whole(pagination: Any) -> Any:
    """Refuse the first page of several: what is not on it would seem not to be there."""
    if isinstance(pagination, dict) and pagination.get("next") is not None:
        raise ValueError("the list goes on on another page")
    return pagination


# --- Fly ------------------------------------------------------------------------------------------------------------


class Machine(Answer):
    """A machine; its configuration may be missing while it is made."""

    id: Name
    state: Name
    config: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None


class Secret(Answer):
    """An app secret: its value is never told."""

    name: Name


class Secrets(Answer):
    """Every secret of an app."""

    secrets: list[Secret]


class Done(Answer):
    """What Fly answers to an order it takes."""

    ok: StrictBool


class Started(Answer):
    """What Fly answers to a start."""

    previous_state: StrictStr


class Executed(Answer):
    """How a command inside a machine ended."""

    exit_code: StrictInt


class App(Answer):
    """An app."""

    name: Name


class Lines(Answer):
    """A page of a log."""

    data: list[dict[str, Any]]


class Tokens(Answer):
    """What a token may do."""

    tokens: list[dict[str, Any]]


# --- Vercel ---------------------------------------------------------------------------------------------------------


class Variable(Answer):
    """An environment variable of the project, and the environments it is for."""

    key: Name
    target: list[StrictStr] | StrictStr | None = None
    type: StrictStr | None = None


class Variables(Answer):
    """Every environment variable of the project."""

    envs: list[Variable]
    pagination: Annotated[Any, AfterValidator(_whole)] = None


class Stored(Answer):
    """What became of each variable that was to be set: some may have failed."""

    created: dict[str, Any] | list[dict[str, Any]]
    failed: list[dict[str, Any]] = Field(default_factory=list)


class Project(Answer):
    """The project, with what serves each environment."""

    id: Name
    name: Name
    targets: dict[str, Any] | None = None


class Listed(Answer):
    """A deployment in a list."""

    uid: Name


class Deployments(Answer):
    """The newest deployments."""

    deployments: list[Listed]


class Deployment(Answer):
    """One deployment."""

    id: Name
    readyState: Name


class Requests(Answer):
    """A page of the request log, and whether there are more."""

    rows: list[dict[str, Any]]
    hasMoreRows: StrictBool


# --- the venue ------------------------------------------------------------------------------------------------------


class Held(Answer):
    """What is held of one coin: its signed size."""

    coin: Name
    szi: Number


class Position(Answer):
    """A position as the venue wraps it."""

    position: Held


class Perpetuals(Answer):
    """The state of a wallet in one book of perpetuals."""

    time: StrictInt
    assetPositions: list[Position]


class Resting(Answer):
    """A resting order."""

    coin: Name
    oid: StrictInt
    side: StrictStr
    sz: Number


class OrderOf(Answer):
    """The order an update is about."""

    coin: Name
    oid: StrictInt


class OrderUpdate(Answer):
    """What became of an order, and when."""

    order: OrderOf
    status: Name
    statusTimestamp: StrictInt


class Fill(Answer):
    """A fill."""

    coin: Name
    time: StrictInt
    px: Number
    sz: Number


class Agent(Answer):
    """An agent that may trade for a wallet, and until when."""

    address: Name
    name: StrictStr | None = None
    validUntil: StrictInt | None = None


class Balance(Answer):
    """What a wallet has of one token."""

    coin: Name
    total: Number


class Spot(Answer):
    """The spot side of a wallet."""

    balances: list[Balance]


class Book(Answer):
    """A builder's book of perpetuals; the main one has no name and is listed as null."""

    name: Name


class Asset(Answer):
    """A coin that is traded, and the decimals of its size."""

    name: Name
    szDecimals: StrictInt


class Market(Answer):
    """Every coin of a book, in the order of its number."""

    universe: list[Asset]


class Status(Answer):
    """The venue's clock."""

    time: StrictInt


class Role(Answer):
    """Who an address is."""

    role: Name


class OrderFound(Answer):
    """One order, or that there is none."""

    status: Name


class Taken(Answer):
    """What the venue answers to a signed action: refusals come with status 200 as well."""

    status: Name
    response: Any = None


class Key(Answer):
    """What OpenRouter says of a key."""

    data: dict[str, Any]


VENUE: dict[str, Shape] = {
    "allMids": Shape("a price by coin", dict[str, Number]),
    "clearinghouseState": Shape("a wallet's state with time and assetPositions", Perpetuals, moment="time"),
    "exchangeStatus": Shape("the venue's time", Status, fresh=False),  # the question about clocks is its own judge
    "extraAgents": Shape("a list of agents", list[Agent]),
    "frontendOpenOrders": Shape("a list of resting orders", list[Resting]),
    "historicalOrders": Shape("a list of order updates", list[OrderUpdate]),
    "meta": Shape("a market with its universe", Market),
    "openOrders": Shape("a list of resting orders", list[Resting]),
    "orderStatus": Shape("an order's status", OrderFound),
    "perpDexs": Shape("a list of books", Annotated[list[Book | None], Field(min_length=1)]),
    "spotClearinghouseState": Shape("a wallet's balances", Spot),
    "userAbstraction": Shape("the mode of an account", Name),
    "userFills": Shape("a list of fills", list[Fill]),
    "userFillsByTime": Shape("a list of fills", list[Fill]),
    "userRole": Shape("the role of an address", Role),
}

# --- every route ----------------------------------------------------------------------------------------------------

JSON = Shape("JSON that is no error", Annotated[dict[str, Any] | list[Any], AfterValidator(_no_error)])
CHANGED = Shape(JSON.words, JSON.form, empty=True)  # many changes are answered by their status alone
PAGE = Shape("a page", fresh=False)  # pages and image manifests are cached on purpose
ROUTES: dict[str, dict[str, Shape]] = {
    "fly": {
        "GET /v1/apps/*": Shape("an app", App),
        "GET /v1/apps/*/machines": Shape("a list of machines", list[Machine]),
        "POST /v1/apps/*/machines": Shape("a machine", Machine),
        "GET /v1/apps/*/machines/*": Shape("a machine", Machine),
        "POST /v1/apps/*/machines/*": Shape("a machine", Machine),
        "DELETE /v1/apps/*/machines/*": Shape("that it is done", Done),
        "POST /v1/apps/*/machines/*/stop": Shape("that it is done", Done),
        "POST /v1/apps/*/machines/*/start": Shape("that it is started", Started),
        "POST /v1/apps/*/machines/*/exec": Shape("how a command ended", Executed),
        "GET /v1/apps/*/machines/*/events": Shape("a list of events", list[dict[str, Any]]),
        "GET /v1/apps/*/secrets": Shape("a list of secrets", Secrets),
        "POST /v1/apps/*/secrets": Shape("a list of secrets", Secrets),
        "GET /v1/tokens/current": Shape("what the token may do", Tokens),
    },
    "fly_logs": {"GET /api/v1/apps/*/logs": Shape("a page of a log", Lines)},
    "vercel": {
        "GET /v9/projects/*": Shape("a project", Project),
        "GET /v10/projects/*/env": Shape("a list of variables", Variables),
        "POST /v10/projects/*/env": Shape("the variables that were set", Stored),
        "GET /v7/deployments": Shape("a list of deployments", Deployments),
        "GET /v13/deployments/*": Shape("a deployment", Deployment),
        "POST /v13/deployments": Shape("a deployment", Deployment),
    },
    "vercel_logs": {"GET /api/logs/request-logs": Shape("a page of requests", Requests)},
    "openrouter": {"GET /api/v1/key": Shape("a key with its data", Key)},
    "hyperliquid": {"POST /exchange": Shape("what became of an action", Taken)},
    "registry": {"GET /*": PAGE, "HEAD /*": PAGE},
    "web": {"GET /": PAGE},
}


def shape_of(command: Http) -> Shape:
    """The shape of the answer to a request, by its route; of one that nobody described, JSON that is no error."""
    if command.method == "HEAD":
        return PAGE  # an answer without a body, by definition
    if command.service == "hyperliquid" and command.path == "/info" and isinstance(command.json, dict):
        known = VENUE.get(str(command.json.get("type")))
    else:
        known = next((shape for route, shape in _patterns(command.service) if route.fullmatch(_route(command))), None)
    return known or (JSON if command.read_only else CHANGED)


@cache
def _patterns(service: str) -> tuple[tuple[re.Pattern[str], Shape], ...]:
    """The routes of a service as patterns: a star stands for one part of a path; in the registry's for all the rest."""
    rest = ".*" if service == "registry" else "[^/]+"
    return tuple(
        (re.compile(re.escape(route).replace(r"\*", rest)), shape) for route, shape in ROUTES.get(service, {}).items()
    )


def _route(command: Http) -> str:
    return f"{command.method} {command.path}"
