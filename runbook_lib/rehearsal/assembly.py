"""Puts the stand-ins of one rehearsal together and serves them."""

from __future__ import annotations

import asyncio
import time
import warnings
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from runbook_lib.rehearsal import (
    faults,
    fly,
    openrouter,
    person,
    serving,
    supabase,
    vercel,
    vercel_routes,
    web,
)
from runbook_lib.rehearsal.folders import write_json
from runbook_lib.rehearsal.machines import FlyError, Process
from runbook_lib.rehearsal.world import World

SERVICES = ("fly", "registry", "vercel", "web", "supabase", "hyperliquid", "openrouter", "person")


class Assembly:
    """The inside of a platform process, over a database that is up."""

    def __init__(self, folder: Path, environment: dict[str, str], options: dict[str, Any], database: Any) -> None:
        self.sockets = serving.bind(SERVICES)
        addresses = {name: serving.address(bound) for name, bound in self.sockets.items()}
        addresses |= {"repository": str(folder / "repository"), "database": database.url}
        self.world = World(folder, addresses, environment, float(options["tick"]), database=database)
        self._fill()

    def _fill(self) -> None:
        """Make the state of every stand-in."""
        world = self.world
        world.faults = faults.Faults(frozenset(SERVICES))
        world.fly = self._fly()
        world.vercel = vercel.Vercel(world)
        world.web = web.Web(world)
        world.supabase = supabase.Supabase(world)
        world.openrouter = openrouter.OpenRouter(world)
        world.person = person.Person(world)

    def _fly(self) -> fly.Fly:
        world = self.world
        return fly.Fly(
            launch=_no_runner,
            folder=world.folder / "logs",
            tokens=[world.secret("FLY_API_TOKEN")],
            deploy_tokens={world.secret("FLY_DEPLOY_TOKEN"): world.names.fly_app},
            image_environment={"RUNBOOK_REHEARSAL": str(world.folder), "RUNBOOK_TICK": str(world.tick)},
            organization=world.names.fly_org,
            region=world.names.region,
        )

    def apps(self) -> dict[str, ASGIApp]:
        """The HTTP of every stand-in, by the name of its address."""
        world = self.world
        return {
            "fly": fly.app(world.fly),
            "registry": fly.registry_app(world.fly.registry, world.fly.allows),
            "vercel": vercel_routes.app(world.vercel),
            "web": web.app(world.web),
            "supabase": supabase.app(world.supabase),
            **_venue(world),
            "openrouter": openrouter.app(world.openrouter),
            "person": person.app(world.person),
        }

    async def run(self, ended: asyncio.Event) -> None:
        """Serve until ``ended``; the addresses are written when everything answers."""
        served = {name: self.world.faults.wrap(name, app) for name, app in self.apps().items()}
        await serving.serve(served, self.sockets, lambda: self._until(ended))

    async def _until(self, ended: asyncio.Event) -> None:
        world = self.world
        try:
            if world.database.pid:
                world.record("postgres", world.database.pid)
            write_json(world.folder / "addresses.json", world.addresses)
            await ended.wait()
        finally:
            world.closing.set()
            await world.fly.close()


def _venue(world: World) -> dict[str, ASGIApp]:
    """The exchange, which is being built: without it the rest of the platform still comes up."""
    try:
        from runbook_lib.rehearsal import exchange, hyperliquid  # noqa: PLC0415

        world.hyperliquid = exchange.Exchange(time.time)
        return {"hyperliquid": hyperliquid.app(world.hyperliquid)}
    except Exception as problem:  # noqa: BLE001
        warnings.warn(f"no exchange: {problem}", stacklevel=1)
        return {}


async def _no_runner(_: dict[str, str], __: int) -> Process:
    raise FlyError(503, "no capacity: the rehearsal has no runner yet", "insufficient_capacity")
