"""The HTTP of Fly's stand-in: ``api.machines.dev`` (/v1) and the logs of ``api.fly.io`` (/api/v1) at one address
(facts 1.2), and the image registry's at another."""

from __future__ import annotations

import base64
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
UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def app(fly: Fly) -> Starlette:
    """Both APIs, for whoever has a good token."""

    def admit(ask: Ask) -> None:
        if not fly.allows(ask.headers.get("authorization", ""), ask.parts.get("app")):
            raise Refusal(401, "unauthenticated: the token is missing, expired or not for this app")

    endpoints = _apps(fly) | _machines(fly)
    return application("fly", endpoints, admit=admit, numbered="fly-request-id")


def body_of(ask: Ask) -> Json:
    """The JSON object of a request; 400 for anything else."""
    found = ask.body()
    if not isinstance(found, dict):
        raise Refusal(400, "invalid_argument: body is not a JSON object")
    return found


def seconds(value: Any, default: float) -> float:
    """A duration in seconds: a number, or text as Go writes it (``10s``, ``1m30s``)."""
    if value in {None, ""}:
        return default
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", str(value))
    if not parts or any(unit not in UNITS for _, unit in parts):
        raise Refusal(400, f"invalid_argument: {value!r} is not a duration")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def signal_number(name: Any) -> int:
    """The number of a signal given by name; SIGINT when none is."""
    if name and name not in signal.Signals.__members__:
        raise Refusal(400, f"invalid_argument: {name!r} is not a signal")
    return signal.Signals[name or "SIGINT"]


# -- apps, secrets, tokens, logs


def _apps(fly: Fly) -> dict[str, Endpoint]:
    async def list_apps(ask: Ask) -> Json:
        wanted = ask.query.get("org_slug", fly.organization)
        found = [one.view() for one in fly.apps.values() if one.organization == wanted]
        return {"apps": found, "total_apps": len(found)}

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
        found = fly.set_secrets(ask.parts["app"], body_of(ask).get("values") or {})
        return {"secrets": found.secrets_view(), "version": found.secrets_version, "Version": found.secrets_version}

    async def one_secret(ask: Ask) -> Json:
        found, name = fly.app(ask.parts["app"]), ask.parts["name"]
        if name not in found.secrets:
            raise Refusal(404, f"secret not found: {name}")
        if ask.method == "DELETE":
            fly.set_secrets(found.name, {name: None})
            return {"version": found.secrets_version, "Version": found.secrets_version}
        [view] = [one for one in found.secrets_view() if one["name"] == name]
        return view | {"version": found.secrets_version}

    async def current_tokens(_: Ask) -> Json:
        return {"tokens": [{"token_id": fly.organization, "org_slug": fly.organization}]}

    async def logs(ask: Ask) -> Json:
        token = ask.query.get("next_token") or "0"
        lines = fly.app(ask.parts["app"]).page(ask.query.get("instance"), int(token) if token.isdigit() else 0)
        following = lines[-1]["id"] if lines else token if token != "0" else ""
        return {"data": lines, "meta": {"next_token": following}}

    return {
        "GET /v1/apps": list_apps,
        "POST /v1/apps": create_app,
        "GET /v1/apps/{app}": get_app,
        "GET /v1/apps/{app}/secrets": list_secrets,
        "POST /v1/apps/{app}/secrets": set_secrets,
        "GET /v1/apps/{app}/secrets/{name}": one_secret,
        "DELETE /v1/apps/{app}/secrets/{name}": one_secret,
        "GET /v1/tokens/current": current_tokens,
        "GET /api/v1/apps/{app}/logs": logs,
    }


# -- machines


def _machines(fly: Fly) -> dict[str, Endpoint]:
    async def listed(ask: Ask) -> list[Json]:
        """A bare array; ``include_deleted``, ``region``, ``state`` and ``metadata.*`` select."""
        found = fly.app(ask.parts["app"])
        machines = list(found.machines.values()) if ask.query.get("include_deleted") == "true" else found.listed()
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
        found, body = fly.app(ask.parts["app"]), body_of(ask)
        fly.spend("create", found.name)
        config, name = body.get("config") or {}, body.get("name") or f"rehearsal-{len(found.machines) + 1}"
        machine = Machine(fly, found, name, body.get("region") or fly.region, config, fly.image(config))
        found.machines[machine.id] = machine
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
        """An action on a machine as an endpoint: the limit, then the machine, then the action."""

        async def endpoint(ask: Ask) -> Any:
            fly.spend("get" if ask.method == "GET" else name, ask.parts["id"])
            return await action(ask, fly.machine(ask.parts["app"], ask.parts["id"]))

        return endpoint

    one = "/v1/apps/{app}/machines/{id}"
    return {
        "GET /v1/apps/{app}/machines": listed,
        "POST /v1/apps/{app}/machines": create,
        f"GET {one}": on("get", _get),
        f"POST {one}": on("update", update),
        f"DELETE {one}": on("destroy", _destroy),
        f"POST {one}/start": on("start", _start),
        f"POST {one}/stop": on("stop", _stop),
        f"POST {one}/restart": on("restart", _restart),
        f"GET {one}/wait": on("get", _wait),
        f"POST {one}/exec": on("exec", _exec),
        f"GET {one}/events": on("get", _events),
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
    """200 when the state is reached, 408 when the time is over."""
    states = {state for text in ask.query.getlist("state") for state in text.split(",")} or {"started"}
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


# -- the registry


def registry_app(fly: Fly) -> Starlette:
    """``/v2`` of ``registry.fly.io``: manifests by tag and digest, as the OCI distribution API has them."""

    def admit(ask: Ask) -> None:
        """Judge the password of Basic auth; the user is ``x`` by convention and does not matter."""
        scheme, _, encoded = ask.headers.get("authorization", "").partition(" ")
        try:
            password = base64.b64decode(encoded).decode().partition(":")[2] if scheme.lower() == "basic" else ""
        except ValueError:
            password = ""
        if not fly.allows(password, ask.parts.get("repository")):
            headers = {"WWW-Authenticate": 'Basic realm="registry.fly.io"'}
            raise Refusal(401, "authentication required", "UNAUTHORIZED", headers=headers)

    async def get(ask: Ask) -> Response:
        found = fly.manifests.get((ask.parts["repository"], ask.parts["reference"]))
        if found is None:
            raise Refusal(404, "manifest unknown", "MANIFEST_UNKNOWN")
        return _pushed(fly, ask, found, 200)

    async def put(ask: Ask) -> Response:
        return _pushed(fly, ask, ask.raw, 201)

    async def ping(_: Ask) -> Json:
        return {}

    path = "/v2/{repository}/manifests/{reference}"
    return application("registry", {"GET /v2/": ping, f"GET {path}": get, f"PUT {path}": put}, admit=admit)


def _pushed(fly: Fly, ask: Ask, manifest: bytes, status: int) -> Response:
    digest = fly.push(ask.parts["repository"], ask.parts["reference"], manifest)
    return Response(manifest, status, {"Docker-Content-Digest": digest}, media_type=MANIFEST)
