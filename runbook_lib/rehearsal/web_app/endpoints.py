"""Serve the platform's web app: its pages, and the endpoints that cron jobs call (checklist 0.5, 3.2)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any, LiteralString

import psycopg
from starlette.applications import Starlette

from runbook_lib.rehearsal.web_app.deployments import Deployments
from runbook_lib.rehearsal.web_app.skills import Skills
from runbook_lib.rehearsal.web_app.wallets import Wallets
from runbook_lib.rehearsal.world.http_server import Ask, Endpoint, Json, Refusal, application
from runbook_lib.rehearsal.world.world import World

# Seconds of silence no sweep marks, for the platform's 15 minutes. A busy machine stalls for some. A step waits for the
# sweep that it calls itself; nobody waits for those on schedule, and each could mark a runner that is only slow.
SWEEP_FLOOR, SCHEDULED_FLOOR = 5.0, 30.0
# A deployment that never beat counts from its creation. The interval is its own Skill version's.
SWEEP: LiteralString = """
    with beats as (
      select d.id, coalesce(s.updated_at, d.created_at) as beat,
             greatest(3 * coalesce((v.payload #>> '{schedule,every}')::interval, %(tick)s), %(floor)s) as longest
      from public.deployments d
      left join public.agent_state s on s.deployment_id = d.id
      left join public.skill_versions v on v.skill_id = d.skill_id and v.version = d.skill_version
      where d.status = any(%(scanned)s)
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
    """The web app. It runs with the environment variables of the Vercel deployment that serves production."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.skills = Skills(world)
        self.deployments = Deployments(world)
        self.wallets = Wallets(world)
        self.sweeps = True  # a fault's switch: the sweep answers, and marks nothing
        self.scanned = ["running", "paused", "halted"]  # statuses the sweep looks at
        self.late = 0.0  # seconds of silence the sweep allows beyond what it should
        self.names_deployments = True  # a fault's switch: machines are told which deployment they run
        self.removes_machines = True  # another: the machine of a deployment that stopped is destroyed
        self.broken: str | None = None  # what the server's log says when the deploy page fails (checklist 1.6)

    def environment(self) -> dict[str, str]:
        """Return the web app's variables: the rehearsal's secrets, overridden by the variables of the Vercel deployment
        that serves production.
        """
        deployed: dict[str, str] = self.world.vercel.live().environment
        return self.world.secrets | deployed

    def sweep(self, *, scheduled: bool = False) -> Json:
        """Sweep when a cron job calls the web app: set deployments without a recent heartbeat to error.

        A deployment may be silent for max(3 x interval, a minimum).
        """
        floor = f"{(SCHEDULED_FLOOR if scheduled else SWEEP_FLOOR) + self.late} seconds"
        if not self.sweeps:
            floor = "100 years"
        values = {"tick": f"{self.world.tick} seconds", "floor": floor, "scanned": self.scanned}
        return self.world.query(SWEEP, values)[0]

    def collect(self, *, scheduled: bool = False) -> Json:
        """Delete generated agents that were not approved in time. A cron job calls the web app for this."""
        return self.world.query(COLLECT)[0]


def app(web: Web) -> Starlette:
    """Serve the platform's domain: the pages for browsers, and the endpoints for cron jobs."""
    endpoints = _pages(web) | {f"GET {path}": _job(web, do) for path, do in JOBS.items()}
    return application("web", {route: _logged(web, act) for route, act in endpoints.items()})


def _job(web: Web, do: Callable[..., Json]) -> Endpoint:
    """Return a web app's endpoint for a cron job. A call must carry the ``CRON_SECRET`` of the Vercel deployment that
    serves production.
    """

    def act(ask: Ask) -> Json:
        wanted = f"Bearer {web.environment()['CRON_SECRET']}"
        if not hmac.compare_digest(ask.headers.get("authorization", ""), wanted):
            raise Refusal(401, "unauthorized")
        return do(web, scheduled=ask.headers.get("user-agent", "").startswith("vercel-cron/"))

    return act


def _pages(web: Web) -> dict[str, Endpoint]:
    """Return the endpoints of the web app's pages, by method and path.

    All but the sign-in need ``Authorization: Bearer`` with the session that the sign-in returns.
    """
    sessions: dict[str, str] = {}
    skills, deployments, wallets = web.skills, web.deployments, web.wallets

    def sign_in(ask: Ask) -> Json:
        session = secrets.token_urlsafe(24)
        sessions[session] = skills.sign_in(ask.body()["email"])
        return {"session": session, "user_id": sessions[session]}

    def deploy(user: str, skill: str, *, confirmed: bool = False, **choice: Any) -> Json:
        if web.broken:
            raise RuntimeError(web.broken)
        if not confirmed:
            raise Refusal(400, "check the confirmation box")
        return deployments.create(user, skill, **choice)

    def deploy_page(user: str, skill: str, wallet: str = "") -> Json:
        shared = deployments.shares_margin(wallet)
        return {"skill": skills.skill(user, skill), "agents": deployments.agents(user), "cross_margin_warning": shared}

    def page(action: Callable[..., Json]) -> Endpoint:
        """Return the endpoint of a page of the web app. The endpoint calls ``action(user, …)``.

        The fields of the form, the query and the path are passed as arguments.
        """

        def act(ask: Ask) -> Json:
            if ask.bearer not in sessions:
                raise Refusal(401, "sign in first")
            return action(sessions[ask.bearer], **{**ask.query, **ask.body(), **ask.parts})

        return act

    pages: dict[str, Callable[..., Json]] = {
        "POST /skills": skills.create,
        "GET /skills/{skill}": skills.skill,
        "POST /skills/{skill}/versions": skills.save,
        "POST /skills/{skill}/backtests": skills.backtest,
        "GET /skills/{skill}/deploy": deploy_page,
        "POST /skills/{skill}/deploy": deploy,
        "GET /deployments/{deployment}": deployments.page,
        "POST /deployments/{deployment}/commands": deployments.command,
        "POST /deployments/{deployment}/revoke": deployments.revoke,
        "GET /wallets/{address}/message": wallets.message,
        "POST /wallets": wallets.pair,
        "POST /wallets/{address}/agents": wallets.propose,
        "POST /agents/approve": wallets.approve,
    }
    return {"POST /auth/sign-in": sign_in} | {route: page(action) for route, action in pages.items()}


def _logged(web: Web, act: Endpoint) -> Endpoint:
    """Return an endpoint of the web app that calls ``act`` and logs how the call ended.

    Only the log holds the cause of an internal error.
    """

    def endpoint(ask: Ask) -> Json:
        def log(level: str, text: str, status: int) -> None:
            web.world.vercel.log(level, text, path=ask.path, status=status, method=ask.method)

        try:
            answer: Json = act(ask)
        except (Refusal, TypeError) as problem:
            status = problem.status if isinstance(problem, Refusal) else 400
            log("warning", str(problem), status)
            raise Refusal(status, str(problem)) from problem
        except (RuntimeError, psycopg.Error) as problem:
            log("error", str(problem).partition("\n")[0], 500)
            raise Refusal(500, "internal error") from problem
        log("info", f"{ask.method} {ask.path}", 200)
        return answer

    return endpoint


JOBS = {"/api/jobs/heartbeat-sweep": Web.sweep, "/api/jobs/pending-agents-gc": Web.collect}
