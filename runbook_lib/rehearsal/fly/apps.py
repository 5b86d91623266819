"""Keep the state of Fly.io's stand-in: apps, secrets, images, tokens and logs.

Its HTTP is in ``fly_api``.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runbook_lib.rehearsal.fly.machines import Machine, Process, timestamp
from runbook_lib.rehearsal.world.http_server import Json, Refusal

RATES = {"get": (5.0, 10), "other": (1.0, 3)}  # requests per second and burst, by kind, as Fly documents
KEPT, PAGE = 20_000, 100  # log lines of an app that are remembered, and in a reply

# (environment, file descriptor that takes stdout and stderr) -> the process
Launch = Callable[[dict[str, str], int], Awaitable[Process]]


@dataclass
class Secret:
    """A secret of a Fly app. Its digest changes whenever its value changes, but does not reveal the value."""

    value: str
    digest: str
    created_at: str
    updated_at: str


@dataclass
class App:
    """A Fly app: secrets and their version, machines by id, and log lines in the API's shape."""

    name: str
    organization: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    number: int = field(default_factory=lambda: secrets.randbelow(10**7))
    secrets: dict[str, Secret] = field(default_factory=dict)
    secrets_version: int = 0
    machines: dict[str, Machine] = field(default_factory=dict)
    lines: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT))

    def listed(self) -> list[Machine]:
        """Return the Fly app's machines, except the destroyed ones."""
        return [machine for machine in self.machines.values() if machine.state != "destroyed"]

    def values(self) -> dict[str, str]:
        """Return the current values of the Fly app's secrets, by name."""
        return {name: secret.value for name, secret in self.secrets.items()}

    def view(self) -> Json:
        """Return the App object of Fly's API."""
        organization, status = {"name": self.organization, "slug": self.organization}, "deployed"
        return {
            "id": self.id, "internal_numeric_id": self.number, "name": self.name, "organization": organization,
            "network": "default", "status": status if self.machines else "pending",
            "machine_count": len(self.listed()), "volume_count": 0,
        }  # fmt: skip

    def secrets_view(self) -> list[Json]:
        """Return the Fly app's secrets as the API lists them, without their values."""
        secrets = [{"name": name} | vars(secret) for name, secret in sorted(self.secrets.items())]
        return [{key: shown for key, shown in secret.items() if key != "value"} for secret in secrets]

    def page(self, instance: str | None, after: int) -> list[Json]:
        """Return the Fly app's log lines that came after ``after`` (nanoseconds).

        If ``after`` is 0, return the latest lines.
        """
        lines = [line for line in self.lines if instance in {None, "", line["attributes"]["instance"]}]
        return [line for line in lines if int(line["id"]) > after][:PAGE] if after else lines[-PAGE:]


class Fly:
    """The state of the Fly stand-in: its apps, images, tokens and logs.

    ``tokens`` are the operator's, valid for everything; ``deploy_tokens`` maps each further token to the one app for
    which it is valid. ``launch`` starts a machine's process. ``image_environment`` holds the variables that every image
    sets (the rehearsal's folder, the tick). ``folder`` gets a log file per machine.

    Named faults set these switches: ``restart_takes_new_secrets`` (on this the vendor's pages disagree), ``limited``
    (answer 429 beyond the vendor's rate limits), ``restart_delay`` (seconds between a crash and the next start).
    """

    def __init__(
        self,
        *,
        launch: Launch,
        folder: Path,
        tokens: Iterable[str],
        deploy_tokens: Mapping[str, str],
        image_environment: Mapping[str, str] | None = None,
        organization: str = "rehearsal",
        region: str = "nrt",
    ) -> None:
        self.launch, self.folder = launch, folder
        self.tokens, self.deploy_tokens = set(tokens), deploy_tokens
        self.image_environment = dict(image_environment or {})
        self.organization, self.region = organization, region
        self.restart_delay, self.restart_takes_new_secrets, self.limited = 0.2, False, False
        self.apps: dict[str, App] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}  # (repository, tag or digest) -> as it was pushed
        self._salt, self._last = secrets.token_bytes(16), 0
        self._buckets: dict[str, tuple[float, float]] = {}

    # -- apps, secrets and machines, also for a starting state

    def app(self, name: str) -> App:
        """Return a Fly app by name. Raise a 404 `Refusal` if no app has that name."""
        if name not in self.apps:
            raise Refusal(404, f"App not found: {name}")
        return self.apps[name]

    def create_app(self, name: str) -> App:
        """Make a Fly app. Raise a 422 `Refusal` if the app's name is not valid."""
        if not name or not name.replace("-", "").isalnum() or name != name.lower():
            raise Refusal(422, "Validation failed: Name must be lowercase letters, numbers and dashes")
        self.apps[name] = App(name, self.organization)
        return self.apps[name]

    def set_secrets(self, name: str, values: Mapping[str, str | None]) -> App:
        """Set secrets of a Fly app, or delete those whose value is None. Running machines keep the old values."""
        app = self.app(name)
        for key, value in values.items():
            before, now = app.secrets.pop(key, None), timestamp()
            if value is not None:
                digest = hashlib.sha256(self._salt + f"{key}={value}".encode()).hexdigest()[:16]
                app.secrets[key] = Secret(value, digest, before.created_at if before else now, now)
        app.secrets_version += 1
        return app

    def machine(self, name: str, machine_id: str) -> Machine:
        """Return a machine of a Fly app, even a destroyed one.

        Raise a 404 `Refusal` if the app never had the machine.
        """
        machines = self.app(name).machines
        if machine_id not in machines:
            raise Refusal(404, f"machine not found: {machine_id}")
        return machines[machine_id]

    async def close(self) -> None:
        """End the process of every machine of every Fly app."""
        machines = [machine for app in self.apps.values() for machine in app.listed()]
        await asyncio.gather(*(machine.destroy(force=True) for machine in machines))

    # -- images and logs

    def push(self, repository: str, tag: str, manifest: bytes) -> str:
        """Store a manifest of a Fly app's image under its tag and its digest. Return the digest."""
        digest = digest_of(manifest)
        self.manifests[repository, tag] = self.manifests[repository, digest] = manifest
        return digest

    def image(self, config: Json) -> Json:
        """Return the ``image_ref`` of the image that a machine's configuration names.

        Raise a 400 `Refusal` if no image of a Fly app fits. A configuration names its image ``…/<app>@sha256:…`` or
        ``…/<app>:<tag>``.
        """
        wanted = str(config.get("image") or "")
        named, _, digest = wanted.removeprefix("registry.fly.io/").partition("@")
        repository, _, tag = named.partition(":")
        manifest = self.manifests.get((repository, digest or tag or "latest"))
        if manifest is None:
            text = f"failed to get manifest {wanted}: request failed: not found: manifest unknown"
            raise Refusal(400, f"invalid_argument: {text if wanted else 'config.image is required'}")
        image = {"registry": "registry.fly.io", "repository": repository, "labels": {}} | ({"tag": tag} if tag else {})
        return image | {"digest": digest_of(manifest)}

    def log(self, app: str, machine: Machine, provider: str, message: str) -> None:
        """Add a line to a Fly app's log, with the time at which the line arrived.

        The line is kept in memory for the API, and in a file for people.
        """
        self._last = max(time.time_ns(), self._last + 1)
        instance, region = machine.id, machine.region
        attributes = {"timestamp": timestamp(self._last), "message": message, "level": "info", "instance": instance,
                      "region": region, "meta": {"instance": instance, "region": region,
                                                 "event": {"provider": provider}}}  # fmt: skip
        self.apps[app].lines.append({"id": str(self._last), "type": "log", "attributes": attributes})
        with (self.folder / f"machine-{instance}.log").open("a") as file:
            file.write(f"{message}\n")

    # -- tokens and limits

    def allows(self, token: str, app_name: str | None) -> bool:
        """Return whether a Fly token is valid and, if ``app_name`` is given, valid for that app."""
        return token in self.tokens or (token in self.deploy_tokens and app_name in {None, self.deploy_tokens[token]})

    def spend(self, action: str, key: str) -> None:
        """Count a request against Fly's rate limit, which is per action and per app or machine (``key``).

        Raise a 429 `Refusal` if the limit is used up and limits are switched on.
        """
        if not self.limited:
            return
        rate, burst = RATES.get(action, RATES["other"])
        now = time.monotonic()
        level, at = self._buckets.get(f"{action} {key}", (float(burst), now))
        level = min(burst, level + (now - at) * rate)
        self._buckets[f"{action} {key}"] = (level - 1 if level >= 1 else level, now)
        if level < 1:
            raise Refusal(429, "rate limit exceeded")


def digest_of(manifest: bytes) -> str:
    """Return the digest by which Fly's image registry names a manifest."""
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
