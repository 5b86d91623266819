"""Vercel's stand-in: one project's variables, deployments and crons (facts 2). Its HTTP is in ``vercel_routes``.

A deployment keeps the variables of the moment it was made, so a changed one does nothing until a redeploy.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cronsim import CronSim

from runbook_lib.rehearsal.world import World

Json = dict[str, Any]

INTEGRATION = (  # what the Marketplace integration sets by itself (checklist 0.4)
    "SUPABASE_URL",
    "SUPABASE_SERVICE_ROLE_KEY",
    "NEXT_PUBLIC_SUPABASE_URL",
    "NEXT_PUBLIC_SUPABASE_ANON_KEY",
    "POSTGRES_PASSWORD",
)
TYPES = ("system", "encrypted", "plain", "sensitive", "secret")
BUILD = 0.3  # seconds a deployment takes to become READY
CRON_LOOK = 0.5  # seconds between two looks at the schedules


class VercelError(Exception):
    """An error as the vendor words it: HTTP status, code, text."""

    def __init__(self, status: int, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.body: Json = {"error": {"code": code, "message": message, **more}}


def milliseconds() -> int:
    """Now, as the vendor writes it."""
    return time.time_ns() // 1_000_000


@dataclass
class Variable:
    """One environment variable; a sensitive one never shows its value again."""

    key: str
    value: str
    type: str
    target: list[str]
    comment: str | None = None
    configuration: str | None = None  # the integration that owns it
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created: int = field(default_factory=milliseconds)
    updated: int = field(default_factory=milliseconds)

    def view(self, *, decrypted: bool) -> Json:
        """The variable as the API shows it; encrypted ones are opaque unless asked for."""
        shown = self.value if decrypted or self.type == "plain" else f"encrypted:{self.id}"
        return {
            "id": self.id,
            "key": self.key,
            "value": "" if self.type == "sensitive" else shown,
            "type": self.type,
            "target": self.target,
            "decrypted": decrypted and self.type != "sensitive",
            "createdAt": self.created,
            "updatedAt": self.updated,
            "configurationId": self.configuration,
            "comment": self.comment or "",
            "visibility": "secret" if self.type == "sensitive" else "public",
        }


@dataclass
class Deployment:
    """One deployment: the variables and crons it was built with. ``seconds`` is how long its build takes."""

    name: str
    environment: dict[str, str]
    crons: list[Json]
    target: str | None = "production"
    seconds: float = BUILD
    fails: bool = False
    id: str = field(default_factory=lambda: f"dpl_{secrets.token_hex(12)}")
    created: int = field(default_factory=milliseconds)
    commit: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def ready(self) -> int:
        """When its build is over, in milliseconds."""
        return self.created + int(self.seconds * 1000)

    @property
    def state(self) -> str:
        if milliseconds() < self.ready:
            return "BUILDING"
        return "ERROR" if self.fails else "READY"

    def view(self) -> Json:
        """The deployment as the lists show it."""
        done = self.state == "READY"
        return {
            "uid": self.id,
            "name": self.name,
            "url": f"{self.name}-{self.id[4:13]}.vercel.app",
            "state": self.state,
            "readyState": self.state,
            "readySubstate": "PROMOTED" if done and self.target == "production" else None,
            "created": self.created,
            "createdAt": self.created,
            "ready": self.ready if done else None,
            "target": self.target,
            "meta": {"githubCommitSha": self.commit, "githubCommitRef": "main"},
            "isRollbackCandidate": done,
        }

    def detail(self) -> Json:
        """The deployment as it shows alone."""
        return self.view() | {"id": self.id, "status": self.state, "alias": []}


class Vercel:
    """The project. ``crons_run`` lets a scenario stop the scheduler without the API showing it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.project_id = f"prj_{secrets.token_hex(12)}"
        self.variables: dict[str, Variable] = {}
        self.deployments: list[Deployment] = []  # oldest first
        self.logs: deque[Json] = deque(maxlen=1000)
        self.crons_disabled_at: int | None = None
        self.crons_run = True
        self.build_seconds = BUILD
        values = world.secrets | {"POSTGRES_PASSWORD": world.secret("SUPABASE_DB_PASSWORD")}
        for key in INTEGRATION:
            self.put(key, values[key], "encrypted", configuration="icfg_supabase")
        self.deploy(seconds=0)

    def put(self, key: str, value: str, kind: str = "encrypted", **more: Any) -> Variable:
        """Set a production variable, as the API and the integration do."""
        found = self.variable(key)
        if found is None:
            found = Variable(key, value, kind, ["production"], **more)
            self.variables[found.id] = found
        else:
            found.value, found.type, found.updated = value, kind, milliseconds()
        return found

    def variable(self, key: str, target: str = "production") -> Variable | None:
        """The variable of a name, in one environment."""
        matching = (one for one in self.variables.values() if one.key == key and target in one.target)
        return next(matching, None)

    def deploy(self, *, seconds: float | None = None, commit: str | None = None) -> Deployment:
        """Build a production deployment from the repository, with the variables of this moment."""
        definitions = json.loads((self.world.folder / "repository/apps/web/vercel.json").read_text())
        made = Deployment(
            self.world.names.vercel_project,
            {one.key: one.value for one in self.variables.values() if "production" in one.target},
            definitions.get("crons", []),
            seconds=self.build_seconds if seconds is None else seconds,
        )
        if commit:
            made.commit = commit
        self.deployments.append(made)
        return made

    def deployment(self, reference: str) -> Deployment:
        """A deployment by id or address; 404 when there is none."""
        for one in self.deployments:
            if reference in (one.id, one.view()["url"]):
                return one
        raise VercelError(404, "not_found", f"Could not find the Deployment: {reference}")

    def live(self) -> Deployment | None:
        """The deployment that serves the production domain: the newest that was built."""
        built = [one for one in self.deployments if one.target == "production" and one.state == "READY"]
        return built[-1] if built else None

    def environment(self) -> dict[str, str]:
        """The variables the web app runs with: those of the live deployment, not those just set."""
        live = self.live()
        return live.environment if live else {}

    def crons(self) -> Json:
        """The project's crons, as the live deployment defines them."""
        live = self.live()
        host = self.world.names.domain
        return {
            "enabledAt": self.deployments[0].created if self.deployments else milliseconds(),
            "disabledAt": self.crons_disabled_at,
            "updatedAt": live.created if live else milliseconds(),
            "deploymentId": live.id if live else None,
            "definitions": [{"host": host, **one} for one in (live.crons if live else [])],
        }

    def invoke(self, path: str) -> None:
        """Call a cron's path as Vercel does: GET, with the live deployment's own secret, no retry."""
        threading.Thread(target=self._call, args=(path,), daemon=True).start()

    async def keep_time(self) -> None:
        """Run the live deployment's crons when they are due, in UTC, until the platform closes."""
        seen = datetime.now(UTC)
        while True:
            await asyncio.sleep(CRON_LOOK)
            before, seen = seen, datetime.now(UTC)
            if self.crons_run and self.crons_disabled_at is None:
                for path in due(self.crons()["definitions"], before, seen):
                    self.invoke(path)

    def _call(self, path: str) -> None:
        secret = self.environment().get("CRON_SECRET")
        headers = {"user-agent": "vercel-cron/1.0"} | ({"authorization": f"Bearer {secret}"} if secret else {})
        try:
            self.world.call("web", "GET", path, headers=headers)
        except OSError as problem:
            self.log("error", f"cron {path}: {problem}", path=path, status=504)

    def log(self, level: str, message: str, *, path: str, status: int, method: str = "GET") -> None:
        """A line of the live deployment's runtime log."""
        live = self.live()
        self.logs.append(
            {
                "level": level,
                "message": message,
                "rowId": secrets.token_hex(8),
                "source": "serverless",
                "timestampInMs": milliseconds(),
                "domain": self.world.names.domain,
                "messageTruncated": False,
                "requestMethod": method,
                "requestPath": path,
                "responseStatusCode": status,
                "deploymentId": live.id if live else "",
            }
        )


def due(definitions: list[Json], after: datetime, until: datetime) -> list[str]:
    """Paths of the crons whose time came after one moment and not after another (both UTC)."""
    return [one["path"] for one in definitions if next(CronSim(one["schedule"], after)) <= until]
