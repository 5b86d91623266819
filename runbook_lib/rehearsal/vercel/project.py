"""Keep the state of the Vercel stand-in: one project's variables, deployments and crons.

The HTTP API over this state is in `vercel_api`. A deployment keeps the variables of the moment it was made, so a
changed variable has no effect until a redeploy. The deployment that was promoted last serves production; it need not be
the newest.
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
USER = "user_rehearsal"  # who makes every deployment
BUILD = 0.3  # seconds a deployment takes to become READY
TICK = 300.0  # seconds that a tick of the rehearsal stands for
CRON_LOOK = 0.5  # seconds between two looks at the schedules


def milliseconds() -> int:
    """Return the present time in milliseconds, in which Vercel counts time."""
    return time.time_ns() // 1_000_000


@dataclass
class Variable:
    """A Vercel environment variable. The API never shows the value of a ``sensitive`` variable."""

    key: str
    value: str
    type: str
    target: list[str]  # of production, preview and development; empty where it is for custom environments only
    custom_environments: list[str] = field(default_factory=list)
    branch: str | None = None  # of preview deployments, the only ones that can have a branch of their own
    configuration: str | None = None  # the integration that owns it
    comment: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    created: int = field(default_factory=milliseconds)
    updated: int = field(default_factory=milliseconds)

    def view(self, *, decrypted: bool = False) -> Json:
        """Return the Vercel project's variable in the API's form.

        An encrypted value is unreadable unless ``decrypted`` is set.
        """
        hidden, shown = self.type == "sensitive", decrypted or self.type == "plain"
        value = "" if hidden else self.value if shown else f"encrypted:{self.id}"
        return {
            "id": self.id, "key": self.key, "value": value, "type": self.type, "target": self.target,
            "decrypted": decrypted and not hidden, "createdAt": self.created, "updatedAt": self.updated,
            "configurationId": self.configuration, "comment": self.comment, "gitBranch": self.branch,
            "customEnvironmentIds": self.custom_environments, "securityIssues": [],
        }  # fmt: skip

    @property
    def scope(self) -> tuple[set[str], str | None]:
        """Return the environments and the branch for which a Vercel project's variable is set.

        Two variables with the same name never share both an environment and the branch.
        """
        return {*self.target, *self.custom_environments}, self.branch


@dataclass
class Deployment:
    """A deployment of the Vercel project, with the variables and crons of its build, which takes ``seconds``."""

    name: str
    team: str
    environment: dict[str, str]
    crons: list[Json]
    seconds: float
    target: str | None = "production"
    promotes: bool = True  # whether it serves production as soon as it is built; a staged one waits to be promoted
    promoted: int | None = None  # when it was promoted by hand, in milliseconds
    id: str = field(default_factory=lambda: f"dpl_{secrets.token_hex(12)}")
    created: int = field(default_factory=milliseconds)
    commit: str = field(default_factory=lambda: secrets.token_hex(20))

    @property
    def ready(self) -> int:
        """Return when the Vercel deployment's build ends, in milliseconds."""
        return self.created + int(self.seconds * 1000)

    @property
    def state(self) -> str:
        return "BUILDING" if milliseconds() < self.ready else "READY"

    @property
    def serves_since(self) -> int | None:
        """Return when the Vercel deployment began to serve production.

        Return None if the deployment never served production.
        """
        if self.target != "production" or self.state != "READY":
            return None
        return self.promoted or (self.ready if self.promotes else None)

    def view(self) -> Json:
        """Return the Vercel deployment in the form of the API's lists."""
        state, done = self.state, self.state == "READY"
        # PROMOTED says that it once served production, not that it does.
        substate = ("PROMOTED" if self.serves_since else "STAGED") if done and self.target == "production" else None
        return {
            "uid": self.id, "name": self.name, "url": f"{self.name}-{self.id[4:13]}.vercel.app", "state": state,
            "readyState": state, "readySubstate": substate,
            "created": self.created, "createdAt": self.created, "ready": self.ready if done else None,
            "target": self.target, "meta": {"githubCommitSha": self.commit, "githubCommitRef": "main"},
            "isRollbackCandidate": done, "type": "LAMBDAS", "creator": {"uid": USER, "username": "operator"},
        }  # fmt: skip

    def detail(self) -> Json:
        """Return the Vercel deployment in the form of the API's answer about one deployment."""
        team = {"id": self.team, "name": "Rehearsal", "slug": "rehearsal"}
        alone = {"id": self.id, "status": self.state, "alias": [], "ownerId": self.team, "team": team, "plan": "pro"}
        return self.view() | alone | {"aliasAssigned": self.state == "READY"}


class Vercel:
    """The Vercel project, with attributes that named faults change.

    If ``crons_run`` is off, the scheduler stands still, and the API does not show that. If ``promotes_builds`` is off,
    a new production build does not serve until it is promoted, as after a rollback.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.project_id = f"prj_{secrets.token_hex(12)}"
        self.variables: dict[str, Variable] = {}
        self.deployments: list[Deployment] = []  # oldest first
        self.logs: deque[Json] = deque(maxlen=1000)  # of requests, oldest first
        self.lines = 0  # how many there ever were
        self.crons_disabled_at: int | None = None
        self.crons_run = self.promotes_builds = True
        self.build_seconds = BUILD
        values = world.secrets | {"POSTGRES_PASSWORD": world.secret("SUPABASE_DB_PASSWORD")}
        for key in INTEGRATION:
            self.put(key, values[key]).configuration = "icfg_supabase"
        self.put("HYPERLIQUID_LIVE_ENABLED", "false", "plain", "preview")  # whoever takes it for production's is wrong
        self.deploy(seconds=0)

    def put(self, key: str, value: str, kind: str = "encrypted", target: str = "production") -> Variable:
        """Set a variable of the Vercel project in one environment, as the API and Supabase's integration do."""
        variable = self.variable(key, target) or Variable(key, value, kind, [target])
        variable.value, variable.type, variable.updated = value, kind, milliseconds()
        self.variables[variable.id] = variable
        return variable

    def variable(self, key: str, target: str = "production") -> Variable | None:
        """Return the Vercel project's variable that has this name in one environment.

        Return None if there is no such variable.
        """
        matching = (variable for variable in self.variables.values() if variable.key == key)
        return next((variable for variable in matching if target in variable.target), None)

    def deploy(self, *, seconds: float | None = None) -> Deployment:
        """Build a production deployment of the Vercel project from the repository. It gets the present variables."""
        definitions = json.loads((self.world.folder / "repository/apps/web/vercel.json").read_text())
        production = [variable for variable in self.variables.values() if "production" in variable.target]
        made = Deployment(
            name=self.world.names.vercel_project,
            team=self.world.names.vercel_team,
            environment={variable.key: variable.value for variable in production},
            crons=definitions.get("crons", []),
            seconds=self.build_seconds if seconds is None else seconds,
            promotes=self.promotes_builds,
        )
        self.deployments.append(made)
        return made

    def promote(self, deployment: Deployment) -> None:
        """Make a deployment of the Vercel project serve production.

        From then on each new build serves when the build is ready, as with Vercel.
        """
        deployment.promoted, self.promotes_builds = milliseconds(), True

    def roll_back(self, deployment: Deployment) -> None:
        """Make an older deployment of the Vercel project serve production again.

        From then on each new build waits to be promoted, as with Vercel.
        """
        self.promote(deployment)
        self.promotes_builds = False

    def deployment(self, reference: str) -> Deployment:
        """Return a Vercel project's deployment by its id or address.

        Raise a 404 `Refusal` if there is no such deployment.
        """
        for deployment in self.deployments:
            if reference in (deployment.id, deployment.view()["url"]):
                return deployment
        raise Refusal(404, f"Could not find the Deployment: {reference}", "not_found")

    def live(self) -> Deployment:
        """Return the deployment that serves production on Vercel: the last one promoted."""
        # Of two that were promoted in the same millisecond the later made one serves.
        return max(enumerate(self.deployments), key=lambda entry: (entry[1].serves_since or 0, entry[0]))[1]

    def crons(self) -> Json:
        """Return the crons of the Vercel project, as the deployment that serves production defines them."""
        live, host = self.live(), self.world.names.domain
        return {
            "enabledAt": self.deployments[0].created, "disabledAt": self.crons_disabled_at, "updatedAt": live.created,
            "deploymentId": live.id, "definitions": [{"host": host, **cron} for cron in live.crons],
        }  # fmt: skip

    def invoke(self, path: str) -> None:
        """Call the path of one of the project's crons, as Vercel does.

        The call is a GET with the live deployment's secret, and is never repeated.
        """
        threading.Thread(target=self._call, args=(path,), daemon=True).start()

    async def keep_time(self) -> None:
        """Run the Vercel project's crons when they are due, in UTC, until the platform ends.

        A tick of the rehearsal stands for five minutes: a cron of every fifteen minutes runs every third tick.
        """
        began = seen = datetime.now(UTC)
        while True:
            await asyncio.sleep(CRON_LOOK)
            before, seen = seen, began + (datetime.now(UTC) - began) * (TICK / self.world.tick)
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
        """Add a line to the runtime log of the Vercel deployment that serves production."""
        line: dict[str, Any] = {
            "level": level, "message": message, "rowId": secrets.token_hex(8), "source": "serverless",
            "timestampInMs": milliseconds(), "domain": self.world.names.domain, "messageTruncated": False,
            "requestMethod": method, "requestPath": path, "responseStatusCode": status,
        }  # fmt: skip
        self.lines += 1
        self.logs.append(line | {"deploymentId": self.live().id, "number": self.lines})


def due(definitions: list[Json], after: datetime, until: datetime) -> list[str]:
    """Return the paths of the Vercel project's crons that come due after ``after`` and by ``until`` (both UTC)."""
    return [cron["path"] for cron in definitions if next(CronSim(cron["schedule"], after)) <= until]
