"""Vercel's stand-in: one project's variables, deployments and crons (facts 2). Its HTTP is in ``vercel_api``.

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

from runbook_lib.rehearsal.world.http_server import Json, Refusal
from runbook_lib.rehearsal.world.world import World

INTEGRATION = (  # what the Marketplace integration sets by itself (checklist 0.4)
    "SUPABASE_URL", "SUPABASE_SERVICE_ROLE_KEY", "NEXT_PUBLIC_SUPABASE_URL", "NEXT_PUBLIC_SUPABASE_ANON_KEY",
    "POSTGRES_PASSWORD",
)  # fmt: skip
BUILD = 0.3  # seconds a deployment takes to become READY
CRON_LOOK = 0.5  # seconds between two looks at the schedules


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
    configuration: str | None = None  # the integration that owns it
    comment: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created: int = field(default_factory=milliseconds)
    updated: int = field(default_factory=milliseconds)

    def view(self, *, decrypted: bool = False) -> Json:
        """The variable as the API shows it; encrypted ones are opaque unless asked for."""
        hidden, shown = self.type == "sensitive", decrypted or self.type == "plain"
        value = "" if hidden else self.value if shown else f"encrypted:{self.id}"
        return {
            "id": self.id, "key": self.key, "value": value, "type": self.type, "target": self.target,
            "decrypted": decrypted and not hidden, "createdAt": self.created, "updatedAt": self.updated,
            "configurationId": self.configuration, "comment": self.comment,
        }  # fmt: skip


@dataclass
class Deployment:
    """One deployment: the variables and crons it was built with. ``seconds`` is how long its build takes."""

    name: str
    environment: dict[str, str]
    crons: list[Json]
    seconds: float
    target: str | None = "production"
    id: str = field(default_factory=lambda: f"dpl_{secrets.token_hex(12)}")
    created: int = field(default_factory=milliseconds)
    commit: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def ready(self) -> int:
        """When its build is over, in milliseconds."""
        return self.created + int(self.seconds * 1000)

    @property
    def state(self) -> str:
        return "BUILDING" if milliseconds() < self.ready else "READY"

    def view(self) -> Json:
        """The deployment as the lists show it."""
        state, done = self.state, self.state == "READY"
        return {
            "uid": self.id, "name": self.name, "url": f"{self.name}-{self.id[4:13]}.vercel.app", "state": state,
            "readyState": state, "readySubstate": "PROMOTED" if done and self.target == "production" else None,
            "created": self.created, "createdAt": self.created, "ready": self.ready if done else None,
            "target": self.target, "meta": {"githubCommitSha": self.commit, "githubCommitRef": "main"},
            "isRollbackCandidate": done,
        }  # fmt: skip

    def detail(self) -> Json:
        """The deployment as it shows alone."""
        return self.view() | {"id": self.id, "status": self.state, "alias": []}


class Vercel:
    """The project. ``crons_run`` lets a fault stop the scheduler without the API showing it."""

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
            self.put(key, values[key]).configuration = "icfg_supabase"
        self.deploy(seconds=0)

    def put(self, key: str, value: str, kind: str = "encrypted", target: str = "production") -> Variable:
        """Set a variable in one environment, as the API and the integration do."""
        found = self.variable(key, target) or Variable(key, value, kind, [target])
        found.value, found.type, found.updated = value, kind, milliseconds()
        self.variables[found.id] = found
        return found

    def variable(self, key: str, target: str = "production") -> Variable | None:
        """The variable of a name, in one environment."""
        matching = (one for one in self.variables.values() if one.key == key and target in one.target)
        return next(matching, None)

    def deploy(self, *, seconds: float | None = None) -> Deployment:
        """Build a production deployment from the repository, with the variables of this moment."""
        definitions = json.loads((self.world.folder / "repository/apps/web/vercel.json").read_text())
        variables = {one.key: one.value for one in self.variables.values() if "production" in one.target}
        build, name = self.build_seconds if seconds is None else seconds, self.world.names.vercel_project
        self.deployments.append(Deployment(name, variables, definitions.get("crons", []), build))
        return self.deployments[-1]

    def deployment(self, reference: str) -> Deployment:
        """A deployment by id or address; 404 when there is none."""
        for one in self.deployments:
            if reference in (one.id, one.view()["url"]):
                return one
        raise Refusal(404, f"Could not find the Deployment: {reference}", "not_found")

    def live(self) -> Deployment:
        """The deployment that serves the production domain: the newest that was built."""
        return [one for one in self.deployments if one.target == "production" and one.state == "READY"][-1]

    def crons(self) -> Json:
        """The project's crons, as the live deployment defines them."""
        live, host = self.live(), self.world.names.domain
        return {
            "enabledAt": self.deployments[0].created, "disabledAt": self.crons_disabled_at, "updatedAt": live.created,
            "deploymentId": live.id, "definitions": [{"host": host, **one} for one in live.crons],
        }  # fmt: skip

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
        secret = self.live().environment.get("CRON_SECRET")
        headers = {"user-agent": "vercel-cron/1.0"} | ({"authorization": f"Bearer {secret}"} if secret else {})
        try:
            self.world.call("web", "GET", path, headers=headers)
        except OSError as problem:
            self.log("error", f"cron {path}: {problem}", path=path, status=504)

    def log(self, level: str, message: str, *, path: str, status: int, method: str = "GET") -> None:
        """A line of the live deployment's runtime log."""
        line: dict[str, Any] = {
            "level": level, "message": message, "rowId": secrets.token_hex(8), "source": "serverless",
            "timestampInMs": milliseconds(), "domain": self.world.names.domain, "messageTruncated": False,
            "requestMethod": method, "requestPath": path, "responseStatusCode": status,
        }  # fmt: skip
        self.logs.append(line | {"deploymentId": self.live().id})


def due(definitions: list[Json], after: datetime, until: datetime) -> list[str]:
    """Paths of the crons whose time came after one moment and not after another (both UTC)."""
    return [one["path"] for one in definitions if next(CronSim(one["schedule"], after)) <= until]
