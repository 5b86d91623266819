"""Describe the shapes of the vendors' answers, by route, for notebooks, halt and console alike.

The models name only the fields that the runbook relies on and ignore all others: vendors add fields without notice.
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
Number = FiniteFloat  # accepts text too, because venues write decimals as text


class Answer(BaseModel):
    """The base class for the shapes of vendors' JSON objects.

    pydantic builds the schema of a shape when an answer first needs the shape.
    """

    model_config = ConfigDict(extra="ignore", defer_build=True)


def _no_error(body: Any) -> Any:
    """Refuse an answer's body that holds an error.

    A proxy or gateway may send one with status 200 in place of the service's answer.
    """
    if isinstance(body, dict) and body.get("error"):
        raise ValueError(f"the answer is an error: {body['error']}")
    return body


def _whole(pagination: Any) -> Any:
    """Refuse an answer that is only one of several pages, because entries on other pages would seem not to exist."""
    if isinstance(pagination, dict) and pagination.get("next") is not None:
        raise ValueError("the list goes on on another page")
    return pagination


# --- Fly ------------------------------------------------------------------------------------------------------------


class Machine(Answer):
    """The shape of a Fly machine. The configuration may be missing while the machine is being made."""

    id: Name
    state: Name
    config: dict[str, Any] | None = None
    events: list[dict[str, Any]] | None = None


class Secret(Answer):
    """The shape of a Fly app's secret. Fly returns the secret's name and never its value."""

    name: Name


class Secrets(Answer):
    """The shape of Fly's list of all secrets of an app."""

    secrets: list[Secret]


class Done(Answer):
    """The shape of Fly's answer to a request that Fly accepted."""

    ok: StrictBool


class Started(Answer):
    """The shape of Fly's answer to the request to start a machine."""

    previous_state: StrictStr


class Executed(Answer):
    """The shape of Fly's answer to a command that ran inside a machine: the command's exit code."""

    exit_code: StrictInt


class App(Answer):
    """The shape of a Fly app."""

    name: Name


class Lines(Answer):
    """The shape of one page of a Fly app's log."""

    data: list[dict[str, Any]]


class Tokens(Answer):
    """The shape of the permissions of a Fly token."""

    tokens: list[dict[str, Any]]


# --- Vercel ---------------------------------------------------------------------------------------------------------


class Variable(Answer):
    """The shape of a Vercel project's environment variable, with the environments that get the variable."""

    key: Name
    target: list[StrictStr] | StrictStr | None = None
    type: StrictStr | None = None


class Variables(Answer):
    """The shape of Vercel's list of all environment variables of the project."""

    envs: list[Variable]
    pagination: Annotated[Any, AfterValidator(_whole)] = None


class Stored(Answer):
    """The shape of Vercel's answer to setting variables: the variables that Vercel stored, and those that failed."""

    created: dict[str, Any] | list[dict[str, Any]]
    failed: list[dict[str, Any]] = Field(default_factory=list)


class Project(Answer):
    """The shape of the Vercel project, with the deployment that serves each environment."""

    id: Name
    name: Name
    targets: dict[str, Any] | None = None


class Listed(Answer):
    """The shape of a Vercel deployment in a list of deployments."""

    uid: Name


class Deployments(Answer):
    """The shape of Vercel's list of the newest deployments."""

    deployments: list[Listed]


class Deployment(Answer):
    """The shape of a single Vercel deployment, with its state."""

    id: Name
    readyState: Name


class Requests(Answer):
    """The shape of a page of Vercel's request log, which says whether there are more pages."""

    rows: list[dict[str, Any]]
    hasMoreRows: StrictBool


# --- the venue ------------------------------------------------------------------------------------------------------


class Held(Answer):
    """The shape of a wallet's perpetual position in one coin, with its signed size."""

    coin: Name
    szi: Number


class Position(Answer):
    """The shape of the object in which the venue wraps each position."""

    position: Held


class Perpetuals(Answer):
    """The shape of a wallet's positions on one of the venue's perp exchanges.

    ``time`` is the time of the answer.
    """

    time: StrictInt
    assetPositions: list[Position]


class Resting(Answer):
    """The shape of a wallet's resting order at the venue."""

    coin: Name
    oid: StrictInt
    side: StrictStr
    sz: Number


class OrderOf(Answer):
    """The shape of the order inside an `OrderUpdate`."""

    coin: Name
    oid: StrictInt


class OrderUpdate(Answer):
    """The shape of a change of an order's status, with its time."""

    order: OrderOf
    status: Name
    statusTimestamp: StrictInt


class Fill(Answer):
    """The shape of one fill of an order at the venue: coin, time, price and size."""

    coin: Name
    time: StrictInt
    px: Number
    sz: Number


class Agent(Answer):
    """The shape of an agent, a key that may trade for a wallet at the venue.

    ``validUntil`` is the time at which the permission ends.
    """

    address: Name
    name: StrictStr | None = None
    validUntil: StrictInt | None = None


class Balance(Answer):
    """The shape of a wallet's balance of one token."""

    coin: Name
    total: Number


class Spot(Answer):
    """The shape of all spot balances of a wallet."""

    balances: list[Balance]


class Book(Answer):
    """The shape of one of the venue's perp exchanges.

    The main book has no name, and the venue lists it as null.
    """

    name: Name


class Asset(Answer):
    """The shape of a coin on one of the venue's exchanges. ``szDecimals`` is the number of decimals of its size."""

    name: Name
    szDecimals: StrictInt


class Market(Answer):
    """The shape of all coins of one exchange at the venue. Signed actions number the coins by their order here."""

    universe: list[Asset]


class Status(Answer):
    """The shape of the venue's status, which holds the time of the venue's clock."""

    time: StrictInt


class Role(Answer):
    """The shape of the role of an address at the venue: user, agent, vault and so on."""

    role: Name


class OrderFound(Answer):
    """The shape of the venue's answer about one order, which may not exist."""

    status: Name


class Taken(Answer):
    """The shape of the venue's answer to a signed action. A refusal comes with status 200, too."""

    status: Name
    response: Any = None


class Key(Answer):
    """The shape of OpenRouter's description of an API key."""

    data: dict[str, Any]


VENUE: dict[str, Shape] = {
    "allMids": Shape("a price by coin", dict[str, Number]),
    "clearinghouseState": Shape("a wallet's state with time and assetPositions", Perpetuals, moment="time"),
    "exchangeStatus": Shape("the venue's time", Status, fresh=False),  # `clocks` judges the age of this answer
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
    """Return the shape that the answer to a request must have. The request's route decides which.

    For an unknown route, the shape is any JSON that is not an error.
    """
    if command.method == "HEAD":
        return PAGE  # the answer to HEAD has no body to judge
    if command.service == "hyperliquid" and command.path == "/info" and isinstance(command.json, dict):
        known = VENUE.get(str(command.json.get("type")))
    else:
        known = next((shape for route, shape in _patterns(command.service) if route.fullmatch(_route(command))), None)
    return known or (JSON if command.read_only else CHANGED)


@cache
def _patterns(service: str) -> tuple[tuple[re.Pattern[str], Shape], ...]:
    """Return a service's routes as patterns with their shapes.

    A star in a route stands for one part of a path; in the registry's routes it stands for all the rest of the path.
    """
    rest = ".*" if service == "registry" else "[^/]+"
    return tuple(
        (re.compile(re.escape(route).replace(r"\*", rest)), shape) for route, shape in ROUTES.get(service, {}).items()
    )


def _route(command: Http) -> str:
    return f"{command.method} {command.path}"
