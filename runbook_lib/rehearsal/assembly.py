"""Assemble the stand-ins of one rehearsal, and serve them."""

from __future__ import annotations

import asyncio
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from runbook_lib.rehearsal import deadman, named_faults, openrouter, states
from runbook_lib.rehearsal.exchange import hyperliquid_api
from runbook_lib.rehearsal.exchange.orders_and_margin import Exchange
from runbook_lib.rehearsal.fly import apps, fly_api, logs_api, registry_api, runner_forks
from runbook_lib.rehearsal.person import gestures, person_api
from runbook_lib.rehearsal.supabase import management_api
from runbook_lib.rehearsal.vercel import project, request_log_api, vercel_api
from runbook_lib.rehearsal.web_app import endpoints
from runbook_lib.rehearsal.world import http_faults, http_server
from runbook_lib.rehearsal.world.folders import write_json
from runbook_lib.rehearsal.world.world import World

OF_ANOTHER_APP = {"a-deploy-token-of-another-app": "another-app"}  # a token that Fly knows, and that opens nothing here


class Assembly:
    """The stand-ins of one platform process, assembled around a database that already runs."""

    def __init__(self, folder: Path, environment: dict[str, str], options: dict[str, Any], database: Any) -> None:
        self.state: str = options["state"]
        self.faults: list[str] = options["faults"]
        self.sockets = http_server.bind(http_server.HOSTS)
        addresses = {name: http_server.address(bound) for name, bound in self.sockets.items()}
        addresses |= {"repository": str(folder / "repository"), "database": database.url}
        self.check = str(uuid.uuid4())
        addresses["deadman"] += f"/{self.check}"
        self.world = World(folder, addresses, environment, float(options["tick"]), database=database)
        self.runners = runner_forks.RunnerForks(started=partial(self.world.record, "runners"))
        self._fill()

    def _fill(self) -> None:
        """Make every stand-in, each as it is when a rehearsal begins."""
        world = self.world
        world.faults = http_faults.Faults(frozenset(http_server.HOSTS))
        world.fly = self._fly()
        world.hyperliquid = Exchange(time.time)
        # a tick stands for five minutes, so a minute of the venue's limits is a fifth of it
        world.hyperliquid.limits.minute = world.tick / 5
        world.vercel = project.Vercel(world)
        world.web = endpoints.Web(world)
        world.supabase = management_api.Supabase(world)
        world.openrouter = openrouter.OpenRouter(world)
        world.person = gestures.Person(world)
        world.named_faults = named_faults.NamedFaults(world)

    def _fly(self) -> apps.Fly:
        world = self.world
        return apps.Fly(
            launch=self.runners.launch,
            folder=world.folder / "logs",
            tokens=[world.secret("FLY_API_TOKEN")],
            deploy_tokens={world.secret("FLY_DEPLOY_TOKEN"): world.names.fly_app, **OF_ANOTHER_APP},
            image_environment={
                "RUNBOOK_REHEARSAL": str(world.folder),
                "RUNBOOK_REST": world.database.admin_dsn,
                "RUNBOOK_TICK": str(world.tick),
            },
            organization=world.names.fly_org,
            region=world.names.region,
        )

    def apps(self) -> dict[str, ASGIApp]:
        """Return the HTTP application of every assembled stand-in, keyed by the name of the stand-in's address."""
        world = self.world
        return {
            "fly": fly_api.app(world.fly),
            "fly_logs": logs_api.app(world.fly),
            "registry": registry_api.app(world.fly),
            "vercel": vercel_api.app(world.vercel),
            "vercel_logs": request_log_api.app(world.vercel),
            "web": endpoints.app(world.web),
            "supabase": management_api.app(world.supabase),
            "hyperliquid": hyperliquid_api.app(world.hyperliquid),
            "openrouter": openrouter.app(world.openrouter),
            "deadman": deadman.app(self.check),
            "person": person_api.app(world.person),
        }

    async def run(self, ended: asyncio.Event) -> None:
        """Serve the assembled stand-ins until ``ended`` is set.

        Meanwhile the platform is brought into the rehearsal's starting state. The file ``ready`` appears in the folder
        once the state is reached.
        """
        served = {name: self.world.faults.wrap(name, app) for name, app in self.apps().items()}
        await http_server.serve(served, self.sockets, lambda: self._until(ended))

    async def _until(self, ended: asyncio.Event) -> None:
        world = self.world
        try:
            world.record("postgres", world.database.pid)
            write_json(world.folder / "addresses.json", world.addresses)
            if states.STATES[self.state].trades:
                self.runners.warm()
            await asyncio.to_thread(states.prepare, world, self.state)
            for name in self.faults:
                await asyncio.to_thread(world.named_faults.enter, name)
            (world.folder / "ready").touch()
            crons = asyncio.create_task(world.vercel.keep_time(), name="crons")
            await ended.wait()
            crons.cancel()
        finally:
            world.closing.set()
            await world.fly.close()
            self.runners.close()
