"""The routes of Fly's Machines API that concern machines (facts 1.2)."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal.host import FlyError, Json
from runbook_lib.rehearsal.machines import PERSISTENT, Lease, Machine

if TYPE_CHECKING:
    from runbook_lib.rehearsal.fly import Fly

WAIT = 60.0  # seconds: the longest, and the default, of /wait
UNITS = {"": 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

Action = Callable[[Request, Machine], Awaitable[Any]]


async def body_of(request: Request) -> Json:
    """The JSON object of a request; 400 for anything else, {} for nothing."""
    raw = await request.body()
    try:
        found = json.loads(raw or b"{}")
    except ValueError as problem:
        raise FlyError(400, f"invalid_argument: body is not JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise FlyError(400, "invalid_argument: body is not a JSON object")
    return found


def seconds(value: Any, default: float) -> float:
    """A duration in seconds: a number, or text as Go writes it (``10s``, ``1m30s``, ``8760h``)."""
    if value in {None, ""}:
        return default
    if isinstance(value, int | float):
        return float(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)([a-z]*)", str(value))
    if not parts or any(unit not in UNITS for _, unit in parts):
        raise FlyError(400, f"invalid_argument: {value!r} is not a duration")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def signal_number(value: Any) -> int:
    """The number of a signal given by name or number; SIGINT when none is."""
    if not value:
        return signal.SIGINT
    try:
        return signal.Signals(int(value)) if str(value).isdigit() else signal.Signals[str(value).upper()]
    except (KeyError, ValueError):
        raise FlyError(400, f"invalid_argument: {value!r} is not a signal") from None


def routes(fly: Fly) -> list[Route]:
    """Everything below ``/v1/apps/{app}/machines``."""
    one = "/v1/apps/{app}/machines/{id}"
    actions: list[tuple[str, str, Action]] = [
        ("GET", "", _get),
        ("POST", "", partial(_update, fly)),
        ("DELETE", "", _destroy),
        ("POST", "/start", _start),
        ("POST", "/stop", _stop),
        ("POST", "/restart", _restart),
        ("POST", "/signal", _signal),
        ("GET", "/wait", _wait),
        ("POST", "/exec", _exec),
        ("GET", "/events", _events),
        ("GET", "/ps", _ps),
        ("GET", "/metadata", _metadata),
        ("POST", "/metadata/{key}", _set_metadata),
        ("DELETE", "/metadata/{key}", _set_metadata),
        ("GET", "/lease", _get_lease),
        ("POST", "/lease", _take_lease),
        ("DELETE", "/lease", _release_lease),
    ]
    return [
        Route("/v1/apps/{app}/machines", partial(_list, fly), methods=["GET"]),
        Route("/v1/apps/{app}/machines", partial(_create, fly), methods=["POST"]),
        *(Route(one + path, _bound(fly, path, action), methods=[method]) for method, path, action in actions),
    ]


def _bound(fly: Fly, path: str, action: Action) -> Callable[[Request], Awaitable[Response]]:
    """An action as an endpoint: the limit, the machine, its lease, then the action."""
    free = {"/lease", "/exec"}  # these change no machine, or bring their own rule

    async def endpoint(request: Request) -> Response:
        kind = "get" if request.method == "GET" else path or request.method
        if not fly.spend(kind, request.path_params["id"]):
            return JSONResponse({"error": "rate limit exceeded"}, 429)
        machine = fly.machine(request.path_params["app"], request.path_params["id"])
        if request.method != "GET" and path not in free:
            _check_lease(request, machine)
        answer = await action(request, machine)
        return answer if isinstance(answer, Response) else JSONResponse(answer)

    return endpoint


async def _list(fly: Fly, request: Request) -> Response:
    """A bare array; ``include_deleted``, ``region``, ``state`` and ``metadata.*`` select."""
    query = request.query_params
    found = fly.app(request.path_params["app"])
    machines = list(found.machines.values()) if query.get("include_deleted") == "true" else found.listed()
    states = [state for state in query.get("state", "").split(",") if state]
    wanted = {key.removeprefix("metadata."): value for key, value in query.items() if key.startswith("metadata.")}
    chosen = [
        machine.view()
        for machine in machines
        if (not states or machine.state in states)
        and query.get("region", machine.region) == machine.region
        and wanted.items() <= (machine.config.get("metadata") or {}).items()
    ]
    return JSONResponse(chosen)


async def _create(fly: Fly, request: Request) -> Response:
    name = request.path_params["app"]
    if not fly.spend("create", name):
        return JSONResponse({"error": "rate limit exceeded"}, 429)
    body = await body_of(request)
    machine = fly.create_machine(
        name,
        body.get("config") or {},
        label=body.get("name") or "",
        region=body.get("region") or "",
        start=not body.get("skip_launch"),
    )
    if body.get("lease_ttl"):
        _lease(machine, float(body["lease_ttl"]), "")
    nonce = {"nonce": machine.lease.nonce} if machine.lease else {}
    # the reply shows it as it was made: it has not started yet
    return JSONResponse(machine.view() | {"state": "created"} | nonce)


async def _get(_: Request, machine: Machine) -> Json:
    return machine.view()


async def _update(fly: Fly, request: Request, machine: Machine) -> Json:
    body = await body_of(request)
    if body.get("current_version") not in {None, "", machine.instance_id}:
        raise FlyError(412, f"failed_precondition: current version is {machine.instance_id}")
    config = body.get("config") or machine.config
    await machine.update(config, fly.image(config), launch=not body.get("skip_launch"))
    return machine.view()


async def _destroy(request: Request, machine: Machine) -> Json:
    force = "true" in {request.query_params.get("force"), request.query_params.get("kill")}
    if machine.state != "destroyed":
        await machine.destroy(force=force)
    return {"ok": True}


async def _start(_: Request, machine: Machine) -> Json:
    return {"previous_state": machine.start(), "migrated": False, "new_host": ""}


async def _stop(request: Request, machine: Machine) -> Json:
    body = await body_of(request)
    await machine.stop(signal_number(body.get("signal")), seconds(body.get("timeout"), 5.0))
    return {"ok": True}


async def _restart(request: Request, machine: Machine) -> Json:
    query = request.query_params
    number = signal.SIGKILL if query.get("force_stop") == "true" else signal_number(query.get("signal"))
    await machine.restart(number, seconds(query.get("timeout"), 5.0))
    return {"ok": True}


async def _signal(request: Request, machine: Machine) -> Json:
    machine.signal(signal_number((await body_of(request)).get("signal")))
    return {"ok": True}


async def _wait(request: Request, machine: Machine) -> Response:
    """200 when the state is reached, 408 when the time is over."""
    query = request.query_params
    states = {state for text in query.getlist("state") for state in text.split(",")} or {"started"}
    if "settled" in states:
        states |= PERSISTENT
    timeout = min(seconds(query.get("timeout"), WAIT), WAIT)
    version = query.get("version") or query.get("instance_id")
    if version not in {None, machine.instance_id}:
        raise FlyError(400, f"invalid_argument: version {version} is not the machine's {machine.instance_id}")
    if not await machine.wait(frozenset(states), timeout):
        wanted = ", ".join(sorted(states))
        text = f"machine failed to reach desired state, {wanted}, currently {machine.state}"
        raise FlyError(408, f"deadline_exceeded: {text}")
    latest = machine.events[0]["id"] if machine.events else ""
    return JSONResponse({"ok": True, "state": machine.state, "version": machine.instance_id, "event_id": latest})


async def _exec(request: Request, machine: Machine) -> Json:
    body = await body_of(request)
    command = body.get("command") or shlex.split(body.get("cmd") or "")
    if not command:
        raise FlyError(400, "invalid_argument: command is required")
    return await machine.execute(
        [str(part) for part in command], body.get("stdin") or "", seconds(body.get("timeout"), WAIT)
    )


async def _events(request: Request, machine: Machine) -> list[Json]:
    return list(machine.events)[: int(request.query_params.get("limit", "20"))]


async def _ps(_: Request, machine: Machine) -> list[Json]:
    return [{"pid": machine.process.pid, "command": "node live-runner"}] if machine.process else []


async def _metadata(_: Request, machine: Machine) -> Json:
    return dict(machine.config.get("metadata") or {})


async def _set_metadata(request: Request, machine: Machine) -> Response:
    metadata = machine.config.setdefault("metadata", {})
    key = request.path_params["key"]
    if request.method == "DELETE":
        metadata.pop(key, None)
    else:
        metadata[key] = (await body_of(request)).get("value", "")
    return Response(status_code=204)


def _held(machine: Machine) -> Lease | None:
    if machine.lease and machine.lease.expires_at <= time.time():
        machine.lease = None
    return machine.lease


def _check_lease(request: Request, machine: Machine) -> None:
    lease = _held(machine)
    if lease and request.headers.get("fly-machine-lease-nonce") != lease.nonce:
        text = f"machine ID {machine.id} lease currently held by {lease.owner}, expires at {lease.expires_at}"
        raise FlyError(409, text)


def _lease(machine: Machine, ttl: float, description: str) -> Lease:
    machine.lease = Lease(secrets.token_hex(6), int(time.time() + ttl), description=description)
    return machine.lease


def _lease_view(machine: Machine, lease: Lease) -> Json:
    data = {
        "nonce": lease.nonce,
        "expires_at": lease.expires_at,
        "owner": lease.owner,
        "description": lease.description,
        "version": machine.instance_id,
    }
    # flat as in the spec and nested as flyctl reads it
    return {"status": "success", "data": data, **data}


async def _get_lease(_: Request, machine: Machine) -> Json:
    lease = _held(machine)
    if lease is None:
        raise FlyError(404, "lease not found")
    return _lease_view(machine, lease)


async def _take_lease(request: Request, machine: Machine) -> Response:
    _check_lease(request, machine)
    body = await body_of(request)
    ttl = seconds(request.query_params.get("ttl") or body.get("ttl"), 13.0)
    return JSONResponse(_lease_view(machine, _lease(machine, ttl, body.get("description") or "")), 201)


async def _release_lease(request: Request, machine: Machine) -> Json:
    if _held(machine) is None:
        raise FlyError(404, "lease not found")
    _check_lease(request, machine)
    machine.lease = None
    return {"ok": True}
