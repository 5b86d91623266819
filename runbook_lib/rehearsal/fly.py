"""Fly.io's stand-in: apps, secrets, images and tokens, and the HTTP of the Machines API (facts 1.1 to 1.6).

Its machines are in ``machines``, the routes in ``app_routes`` and ``machine_routes``, the logs in ``fly_logs``.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from runbook_lib.rehearsal import app_routes, machine_routes
from runbook_lib.rehearsal.fly_logs import Logs, logs_route
from runbook_lib.rehearsal.host import FlyError, Host, Json, Launch, timestamp
from runbook_lib.rehearsal.machines import Machine
from runbook_lib.rehearsal.registry import Registry, registry_app, split_image

__all__ = ["App", "Fly", "FlyError", "app", "registry_app"]

# requests per second and burst, by kind of request (facts 1.1)
RATES = {"get": (5.0, 10), "other": (1.0, 3)}


@dataclass
class Secret:
    """One app secret; the digest is opaque, and changes with the value."""

    value: str
    digest: str
    created_at: str
    updated_at: str

    def view(self, name: str) -> Json:
        return {
            "name": name,
            "digest": self.digest,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


@dataclass
class App:
    """A Fly app: its secrets with their version counter, and its machines by id."""

    name: str
    org_slug: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    number: int = field(default_factory=lambda: secrets.randbelow(10**7))
    secrets: dict[str, Secret] = field(default_factory=dict)
    secrets_version: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)

    def listed(self) -> list[Machine]:
        """Its machines, without the destroyed."""
        return [machine for machine in self.machines.values() if machine.state != "destroyed"]

    def view(self) -> Json:
        count = len(self.listed())
        return {
            "id": self.id,
            "internal_numeric_id": self.number,
            "name": self.name,
            "organization": {"name": self.org_slug, "slug": self.org_slug},
            "network": "default",
            "status": "deployed" if self.machines else "pending",
            "machine_count": count,
            "volume_count": 0,
        }


@dataclass(frozen=True)
class Token:
    """A token made by ``fly tokens create deploy``: good for one app until ``expires_at`` (Unix seconds)."""

    app: str
    expires_at: float


class Fly:
    """The state of the Fly stand-in.

    ``tokens`` are the operator's, good for everything; ``deploy_tokens`` maps further ones to the only app they
    are good for. ``launch`` starts a machine's process; ``image_environment`` is what every image brings along
    (the rehearsal's folder, the tick). ``folder`` takes a log file per machine. Switches, for scenarios:
    ``restart_takes_new_secrets`` (the vendor's pages disagree), ``limited`` (answers 429 by the vendor's limits),
    ``restart_delay`` (seconds).
    """

    def __init__(
        self,
        *,
        launch: Launch,
        folder: Path,
        tokens: Iterable[str],
        deploy_tokens: Mapping[str, str] | None = None,
        image_environment: Mapping[str, str] | None = None,
        organization: str = "rehearsal",
        region: str = "nrt",
        restart_delay: float = 0.2,
    ) -> None:
        self.launch = launch
        self.tokens = set(tokens)
        self.deploy_tokens = {
            token: Token(app_name, time.time() + app_routes.DEFAULT_EXPIRY)
            for token, app_name in (deploy_tokens or {}).items()
        }
        self.image_environment = dict(image_environment or {})
        self.organization, self.region = organization, region
        self.restart_delay = restart_delay
        self.restart_takes_new_secrets = False
        self.limited = False
        self.apps: dict[str, App] = {}
        self.registry = Registry()
        self.logs = Logs(folder)
        self._salt = secrets.token_bytes(16)
        self._buckets: dict[str, tuple[float, float]] = {}

    # -- apps, secrets and machines, also for a scenario's starting state

    def app(self, name: str) -> App:
        if name not in self.apps:
            raise FlyError(404, f"App not found: {name}" if name else "App not found")
        return self.apps[name]

    def create_app(self, name: str, org_slug: str | None = None) -> App:
        """Make an app; 422 when the name is taken or no name."""
        org_slug = org_slug or self.organization
        if org_slug not in {self.organization, "personal"}:
            raise FlyError(404, f"organization not found: {org_slug}")
        if not name or not name.replace("-", "").isalnum() or name != name.lower():
            raise FlyError(422, "Validation failed: Name must be lowercase letters, numbers and dashes")
        if name in self.apps:
            raise FlyError(422, "Validation failed: Name has already been taken", "name_taken")
        self.apps[name] = App(name, org_slug)
        return self.apps[name]

    def set_secrets(self, name: str, values: Mapping[str, str | None]) -> App:
        """Set (or with None delete) secrets of an app; running machines do not notice."""
        found = self.app(name)
        for key, value in values.items():
            if value is None:
                found.secrets.pop(key, None)
                continue
            digest = hashlib.sha256(self._salt + f"{key}={value}".encode()).hexdigest()[:16]
            before, now = found.secrets.get(key), timestamp()
            found.secrets[key] = Secret(value, digest, before.created_at if before else now, now)
        found.secrets_version += 1
        return found

    def create_machine(
        self, name: str, config: Json, *, label: str = "", region: str = "", start: bool = True
    ) -> Machine:
        """Make a machine of an image that was pushed; it starts at once unless ``start`` is false."""
        found = self.app(name)
        host = Host(
            app=name,
            launch=self.launch,
            secrets=lambda: {key: secret.value for key, secret in found.secrets.items()},
            log=self.logs.writer(name, region or self.region),
            image_environment=self.image_environment,
            restart_takes_new_secrets=lambda: self.restart_takes_new_secrets,
            restart_delay=self.restart_delay,
        )
        machine = Machine(
            host, label or f"rehearsal-{len(found.machines) + 1}", region or self.region, config, self.image(config)
        )
        found.machines[machine.id] = machine
        if start:
            machine.start("flyd")
        return machine

    def machine(self, name: str, machine_id: str) -> Machine:
        machines = self.app(name).machines
        if machine_id not in machines:
            raise FlyError(404, f"machine not found: {machine_id}")
        return machines[machine_id]

    def image(self, config: Json) -> Json:
        """The ``image_ref`` of a configuration; 400 for an image nobody pushed."""
        wanted = str(config.get("image") or "")
        repository, reference = split_image(wanted)
        digest = self.registry.digest(repository, reference)
        if digest is None:
            text = f"failed to get manifest {wanted}: request failed: not found: manifest unknown"
            raise FlyError(400, f"invalid_argument: {text}" if wanted else "invalid_argument: config.image is required")
        tag = {} if reference.startswith("sha256:") else {"tag": reference}
        return {"registry": "registry.fly.io", "repository": repository, **tag, "digest": digest, "labels": {}}

    async def close(self) -> None:
        """End every machine's process."""
        machines = [machine for found in self.apps.values() for machine in found.listed()]
        await asyncio.gather(*(machine.destroy(force=True) for machine in machines))

    # -- tokens and limits

    def deploy_token(self, name: str, expiry: float) -> str:
        """Make a token that is good for one app, for ``expiry`` seconds."""
        self.app(name)
        token = f"fm2_{secrets.token_urlsafe(48)}"
        self.deploy_tokens[token] = Token(name, time.time() + expiry)
        return token

    def allows(self, token: str, app_name: str | None) -> bool:
        """Whether a token is good, for ``app_name`` if one is named. Pasted schemes are ignored."""
        token = token.removeprefix("Bearer ").removeprefix("FlyV1 ").strip()
        if token in self.tokens:
            return True
        found = self.deploy_tokens.get(token)
        return found is not None and found.expires_at > time.time() and app_name in {None, found.app}

    def spend(self, action: str, key: str) -> bool:
        """Take a request from the bucket of ``key``; false when it is empty and limits are on."""
        if not self.limited:
            return True
        rate, burst = RATES.get(action, RATES["other"])
        level, at = self._buckets.get(f"{action} {key}", (float(burst), time.monotonic()))
        now = time.monotonic()
        level = min(burst, level + (now - at) * rate)
        self._buckets[f"{action} {key}"] = (level - 1 if level >= 1 else level, now)
        return level >= 1


def app(fly: Fly) -> Starlette:
    """The HTTP of ``api.machines.dev`` (/v1) and of the logs on ``api.fly.io`` (/api/v1), one address."""
    return Starlette(
        routes=[*app_routes.routes(fly), *machine_routes.routes(fly), logs_route(fly.logs)],
        middleware=[Middleware(_Gatekeeper, fly=fly)],
        exception_handlers={FlyError: _answer, 404: _unknown, 405: _unknown},
    )


async def _answer(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, FlyError)  # noqa: S101  registered for this type only
    return JSONResponse(problem.body, problem.code)


async def _unknown(request: Request, _: Exception) -> Response:
    return JSONResponse({"error": f"the rehearsal knows no {request.method} {request.url.path}"}, 404)


class _Gatekeeper(BaseHTTPMiddleware):
    """Refuse what has no good token (401), and answer with the vendor's request id."""

    def __init__(self, app: Any, fly: Fly) -> None:
        super().__init__(app)
        self.fly = fly

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        parts = request.url.path.split("/")
        named = parts[parts.index("apps") + 1] if "apps" in parts[:-1] else None
        if self.fly.allows(request.headers.get("authorization", ""), named):
            answer = await call_next(request)
        else:
            answer = JSONResponse({"error": "unauthenticated: the token is missing, expired or not for this app"}, 401)
        answer.headers["fly-request-id"] = secrets.token_hex(13)
        return answer
