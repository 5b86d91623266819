"""The platform's own web app: its cron endpoints (checklist 0.5, 3.2; facts platform 10, 11). Pages: ``pages``."""

from __future__ import annotations

import hmac
from typing import Any, LiteralString

import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runbook_lib.rehearsal import pages
from runbook_lib.rehearsal.deploying import Deploying
from runbook_lib.rehearsal.serving import application
from runbook_lib.rehearsal.studio import Studio
from runbook_lib.rehearsal.wallets import Wallets
from runbook_lib.rehearsal.world import World

# A deployment that never beat counts from its creation. The interval is its own Skill version's.
SWEEP: LiteralString = """
    with beats as (
      select d.id, coalesce(s.updated_at, d.created_at) as beat,
             greatest(3 * coalesce((v.payload #>> '{schedule,every}')::interval, %(tick)s), %(floor)s) as longest
      from public.deployments d
      left join public.agent_state s on s.deployment_id = d.id
      left join public.skill_versions v on v.skill_id = d.skill_id and v.version = d.skill_version
      where d.status in ('running', 'paused', 'halted')
    ), marked as (
      update public.deployments d
      set status = 'error', error_text = format('heartbeat lost: last seen %%s', to_char(
            beats.beat at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
      from beats where beats.id = d.id and now() - beats.beat > beats.longest
      returning d.id
    )
    select (select count(*) from beats)::int as checked, (select count(*) from marked)::int as marked
"""
COLLECT: LiteralString = """
    with gone as (
      delete from public.pending_hyperliquid_agents where expires_at < now() returning 1
    )
    select count(*)::int as deleted from gone
"""


class Web:
    """The web app. It runs with the environment of Vercel's live deployment."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.studio = Studio(world)
        self.deploying = Deploying(world)
        self.wallets = Wallets(world)
        self.sweeps = True  # a scenario's switch: the sweep answers, and marks nothing
        self.late = 0.0  # seconds of silence the sweep allows beyond what it should
        self.names_deployments = True  # a scenario's switch: machines are told which deployment they run
        self.removes_machines = True  # another: the machine of a deployment that stopped is destroyed
        self.broken: str | None = None  # what the server's log says when the deploy page fails (checklist 1.6)

    def environment(self) -> dict[str, str]:
        """Variables of the live deployment; those it lacks come from the rehearsal's own."""
        deployed: dict[str, str] = self.world.vercel.environment()
        return self.world.secrets | deployed

    def sweep(self) -> dict[str, Any]:
        """Mark deployments without a heartbeat for longer than max(3 x interval, floor)."""
        floor = f"{self.world.sweep_floor + self.late} seconds"
        if not self.sweeps:
            floor = "100 years"
        return self.world.query(SWEEP, {"tick": f"{self.world.tick} seconds", "floor": floor})[0]

    def collect(self) -> dict[str, Any]:
        """Delete agents that were generated and not approved in time."""
        return self.world.query(COLLECT)[0]


def app(web: Web) -> Starlette:
    """The HTTP of the platform's domain."""

    def job(request: Request) -> Response:
        path = request.url.path
        secret = web.environment()["CRON_SECRET"]
        if not hmac.compare_digest(request.headers.get("authorization", ""), f"Bearer {secret}"):
            web.world.vercel.log("warning", "unauthorized", path=path, status=401)
            return JSONResponse({"error": "unauthorized"}, 401)
        try:
            answer = JOBS[path](web)
        except psycopg.Error as problem:
            text = str(problem).splitlines()[0]
            web.world.vercel.log("error", f"{path}: {text}", path=path, status=500)
            return JSONResponse({"error": "internal error"}, 500)
        web.world.vercel.log("info", f"{path}: {answer}", path=path, status=200)
        return JSONResponse(answer)

    return application(*(Route(path, job) for path in JOBS), *pages.routes(web))


JOBS = {"/api/jobs/heartbeat-sweep": Web.sweep, "/api/jobs/pending-agents-gc": Web.collect}
