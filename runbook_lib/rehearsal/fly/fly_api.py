"""Serve the HTTP API of api.machines.dev for apps, secrets and machines.

The vendor's OpenAPI document and flyctl describe this API.
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response

from runbook_lib.rehearsal.fly.apps import Fly
from runbook_lib.rehearsal.fly.machines import PERSISTENT, STOP_TIMEOUT, Machine
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application

WAIT = 60.0  # seconds: the longest, and the default, of /wait
LEASE = 10.0  # seconds a lease lasts when nobody says
NONCE = "fly-machine-lease-nonce"  # the header by which the holder of a lease is known
UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
STATES = PERSISTENT | {"settled"}  # what may be waited for


def app(fly: Fly) -> Starlette:
    """Serve the Fly API to requests with a valid token.

    The token's scheme is Bearer (as documented) or FlyV1 (as flyctl sends it).
    """

    def admit(ask: Ask) -> None:
        if not fly.allows(ask.token("Bearer", "FlyV1"), ask.parts.get("app")):
            raise Refusal(401, "unauthenticated: the token is missing, expired or not for this app")

    endpoints = _apps(fly) | _machines(fly)
    return application("fly", endpoints, admit=admit, numbered="fly-request-id")


def body_of(ask: Ask) -> Json:
    """Return the JSON object in the body of a request to the Fly API.

    Raise a 400 `Refusal` if the body is anything else.
    """
    body = ask.body()
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_argument: body is not a JSON object")
    return body


def seconds(value: Any, default: float) -> float:
    """Convert a duration of the Fly API to seconds.

    The API takes a number, or text as Go writes a duration (``10s``, ``1m30s``).
    """
    if value in {None, ""}:
        return default
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", str(value))
    if not parts or any(unit not in UNITS for _, unit in parts):
        raise Refusal(400, f"invalid_argument: {value!r} is not a duration")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def signal_number(name: Any) -> int:
    """Return the number of the signal that a request to the Fly API names.

    If the request names no signal, return the number of SIGINT.
    """
    if name and name not in signal.Signals.__members__:
        raise Refusal(400, f"invalid_argument: {name!r} is not a signal")
    return signal.Signals[name or "SIGINT"]


# -- apps, secrets, tokens


def _apps(fly: Fly) -> dict[str, Endpoint]:
    async def list_apps(ask: Ask) -> Json:
        wanted = ask.query.get("org_slug", fly.organization)
        apps = [app.view() for app in fly.apps.values() if app.organization == wanted]
        return {"apps": apps, "total_apps": len(apps)}

    async def create_app(ask: Ask) -> Response:
        body = body_of(ask)
        name, organization = str(body.get("name") or body.get("app_name") or ""), body.get("org_slug")
        if organization not in {fly.organization, None}:
            raise Refusal(404, f"organization not found: {organization}")
        if name in fly.apps:
            raise Refusal(422, "Validation failed: Name has already been taken", more={"status": "name_taken"})
        return JSONResponse(fly.create_app(name).view(), 201)

    async def get_app(ask: Ask) -> Json:
        return fly.app(ask.parts["app"]).view()

    async def list_secrets(ask: Ask) -> Json:
        return {"secrets": fly.app(ask.parts["app"]).secrets_view()}

    async def set_secrets(ask: Ask) -> Json:
        app = fly.set_secrets(ask.parts["app"], body_of(ask).get("values") or {})
        return {"secrets": app.secrets_view(), "version": app.secrets_version, "Version": app.secrets_version}

    async def one_secret(ask: Ask) -> Json:
        app, name = fly.app(ask.parts["app"]), ask.parts["name"]
        if name not in app.secrets:
            raise Refusal(404, f"secret not found: {name}")
        if ask.method == "DELETE":
            fly.set_secrets(app.name, {name: None})
            return {"version": app.secrets_version, "Version": app.secrets_version}
        [view] = [secret for secret in app.secrets_view() if secret["name"] == name]
        return view | {"version": app.secrets_version}

    async def current_tokens(_: Ask) -> Json:
        return {"tokens": [{"token_id": fly.organization, "org_slug": fly.organization}]}

    return {
        "GET /v1/apps": list_apps,
        "POST /v1/apps": create_app,
        "GET /v1/apps/{app}": get_app,
        "GET /v1/apps/{app}/secrets": list_secrets,
        "POST /v1/apps/{app}/secrets": set_secrets,
        "GET /v1/apps/{app}/secrets/{name}": one_secret,
        "DELETE /v1/apps/{app}/secrets/{name}": one_secret,
        "GET /v1/tokens/current": current_tokens,
    }


# -- machines


def _machines(fly: Fly) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> list[Json]:
        """Answer the API's list of machines. Filter it by ``include_deleted``, ``region``, ``state`` and
        ``metadata.*``.
        """
        app = fly.app(ask.parts["app"])
        machines = list(app.machines.values()) if ask.query.get("include_deleted") == "true" else app.listed()
        states = [state for state in ask.query.get("state", "").split(",") if state]
        wanted = {key.partition(".")[2]: value for key, value in ask.query.items() if key.startswith("metadata.")}
        return [
            machine.view()
            for machine in machines
            if (not states or machine.state in states)
            and ask.query.get("region", machine.region) == machine.region
            and wanted.items() <= (machine.config.get("metadata") or {}).items()
        ]

    async def create(ask: Ask) -> Json:
        app, body = fly.app(ask.parts["app"]), body_of(ask)
        fly.spend("create", app.name)
        config, name = body.get("config") or {}, body.get("name") or f"rehearsal-{len(app.machines) + 1}"
        machine = Machine(fly, app, name, body.get("region") or fly.region, config, fly.image(config))
        app.machines[machine.id] = machine
        view = machine.view()  # it has not started yet
        if not body.get("skip_launch"):
            machine.start("flyd")
        return view

    async def update(ask: Ask, machine: Machine) -> Json:
        body = body_of(ask)
        if body.get("current_version") not in {None, "", machine.instance_id}:
            raise Refusal(412, f"failed_precondition: current version is {machine.instance_id}")
        config = body.get("config") or machine.config
        await machine.update(config, fly.image(config), launch=not body.get("skip_launch"))
        return machine.view()

    def on(name: str, action: Callable[[Ask, Machine], Awaitable[Any]]) -> Endpoint:
        """Return the endpoint of the Fly API for an action on a machine.

        Before it acts, the endpoint checks the rate limit, that the machine exists, and that nobody else leases it.
        """

        async def endpoint(ask: Ask) -> Any:
            fly.spend("get" if ask.method == "GET" else name, ask.parts["id"])
            machine = fly.machine(ask.parts["app"], ask.parts["id"])
            if ask.method != "GET":
                machine.refuse_leased(ask.headers.get(NONCE, ""))
            return await action(ask, machine)

        return endpoint

    machine = "/v1/apps/{app}/machines/{id}"
    return {
        "GET /v1/apps/{app}/machines": listed,
        "POST /v1/apps/{app}/machines": create,
        f"GET {machine}": on("get", _get),
        f"POST {machine}": on("update", update),
        f"DELETE {machine}": on("destroy", _destroy),
        f"POST {machine}/start": on("start", _start),
        f"POST {machine}/stop": on("stop", _stop),
        f"POST {machine}/restart": on("restart", _restart),
        f"GET {machine}/wait": on("get", _wait),
        f"POST {machine}/exec": on("exec", _exec),
        f"GET {machine}/events": on("get", _events),
        f"GET {machine}/metadata": on("get", _metadata),
        f"POST {machine}/metadata/{{key}}": on("metadata", _set_metadata),
        f"DELETE {machine}/metadata/{{key}}": on("metadata", _set_metadata),
        f"GET {machine}/lease": on("get", _lease),
        f"POST {machine}/lease": on("lease", _take_lease),
        f"DELETE {machine}/lease": on("lease", _release),
    }


async def _get(_: Ask, machine: Machine) -> Json:
    return machine.view()


async def _destroy(ask: Ask, machine: Machine) -> Json:
    if machine.state != "destroyed":
        await machine.destroy(force="true" in {ask.query.get("force"), ask.query.get("kill")})
    return {"ok": True}


async def _start(_: Ask, machine: Machine) -> Json:
    return {"previous_state": machine.start(), "migrated": False, "new_host": ""}


async def _stop(ask: Ask, machine: Machine) -> Json:
    body = body_of(ask)
    await machine.stop(signal_number(body.get("signal")), seconds(body.get("timeout"), STOP_TIMEOUT))
    return {"ok": True}


async def _restart(ask: Ask, machine: Machine) -> Json:
    number = signal.SIGKILL if ask.query.get("force_stop") == "true" else signal_number(ask.query.get("signal"))
    await machine.restart(number, seconds(ask.query.get("timeout"), STOP_TIMEOUT))
    return {"ok": True}


async def _wait(ask: Ask, machine: Machine) -> Json:
    """Answer 200 when the Fly machine reaches one of the states that the request asks for.

    Answer 408 if the machine reaches none of these states in time.
    """
    states = {state for text in ask.query.getlist("state") for state in text.split(",")} or {"started"}
    if wrong := sorted(states - STATES):
        raise Refusal(400, f"invalid_argument: {wrong[0]!r} is no state to wait for: {', '.join(sorted(STATES))}")
    version = ask.query.get("version") or ask.query.get("instance_id")
    if version not in {None, machine.instance_id}:
        raise Refusal(400, f"invalid_argument: version {version} is not the machine's {machine.instance_id}")
    reached = frozenset(states) | (PERSISTENT if "settled" in states else frozenset())
    if not await machine.wait(reached, min(seconds(ask.query.get("timeout"), WAIT), WAIT)):
        text = f"machine failed to reach desired state, {', '.join(sorted(states))}, currently {machine.state}"
        raise Refusal(408, f"deadline_exceeded: {text}")
    latest = machine.events[0]["id"]
    return {"ok": True, "state": machine.state, "version": machine.instance_id, "event_id": latest}


async def _exec(ask: Ask, machine: Machine) -> Json:
    body = body_of(ask)
    command = body.get("command") or shlex.split(body.get("cmd") or "")
    if not command:
        raise Refusal(400, "invalid_argument: command is required")
    words = [str(part) for part in command]
    return await machine.execute(words, body.get("stdin") or "", seconds(body.get("timeout"), WAIT))


async def _events(ask: Ask, machine: Machine) -> list[Json]:
    return list(machine.events)[: int(ask.query.get("limit", "20"))]


async def _metadata(_: Ask, machine: Machine) -> Json:
    return dict(machine.config.get("metadata") or {})


async def _set_metadata(ask: Ask, machine: Machine) -> Response:
    """Set one metadata value of a Fly machine, or remove the value if the method is DELETE.

    The machine gets no new version by that.
    """
    metadata = machine.config.setdefault("metadata", {})
    if ask.method == "DELETE":
        metadata.pop(ask.parts["key"], None)
    else:
        metadata[ask.parts["key"]] = str(body_of(ask).get("value", ""))
    return Response(status_code=204)


async def _lease(_: Ask, machine: Machine) -> Json:
    if machine.lease is None:
        raise Refusal(404, "lease not found")
    return {"status": "success", "data": machine.lease.view()}


async def _take_lease(ask: Ask, machine: Machine) -> Response:
    """Give a client the lease of a Fly machine.

    The time to live is in the body, as the specification says, or in the query, as flyctl sends it.
    """
    body = body_of(ask)
    lease = machine.take_lease(
        seconds(ask.query.get("ttl") or body.get("ttl"), LEASE), str(body.get("description", ""))
    )
    return JSONResponse({"status": "success", "data": lease.view() | {"nonce": lease.nonce}}, 201)


async def _release(_: Ask, machine: Machine) -> Json:
    machine.lease = None
    return {"ok": True}
