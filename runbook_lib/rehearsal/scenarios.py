"""Scenarios by name: the state a rehearsal starts from and the faults in force, each of them undone again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.rehearsal.runner_faults import runner_fault

if TYPE_CHECKING:  # the command line names scenarios too, and has no need of a platform's imports
    from runbook_lib.rehearsal.world import World

Json = dict[str, Any]
PARTS = frozenset({"says", "start", "http", "set", "runner", "venue", "vercel", "fly", "sql", "undo"})


@cache
def known() -> dict[str, Json]:
    """Every scenario of ``scenarios.yaml`` by name; raise `ConfigError` for a part nobody plays."""
    found: dict[str, Json] = yaml.safe_load(Path(__file__).with_name("scenarios.yaml").read_text())
    for name, parts in found.items():
        for part in parts.keys() - PARTS:
            raise ConfigError(f"scenario {name!r}: unknown part {part!r}: {nearest(part, PARTS)}")
    return found


def scenario(name: str) -> Json:
    """One scenario; raise `ConfigError` naming the nearest."""
    if name not in known():
        raise ConfigError(f"no scenario {name!r}: {nearest(name, known())}")
    return known()[name]


class Scenarios:
    """The scenarios in force in one rehearsal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active: dict[str, ExitStack] = {}

    def enter(self, name: str) -> Json:
        """Put a scenario's faults in force until it is left."""
        parts = scenario(name)
        self.leave(name)
        with ExitStack() as stack:
            for part, value in parts.items():
                if part in PLAYED:
                    stack.enter_context(PLAYED[part](self.world, value))
            stack.callback(self._undo, parts.get("undo", ()))
            self.active[name] = stack.pop_all()
        return parts

    def leave(self, name: str) -> bool:
        """Undo a scenario's faults; false when it was not in force."""
        stack = self.active.pop(name, None)
        if stack is not None:
            stack.close()
        return stack is not None

    def _undo(self, statements: list[Any]) -> None:
        for statement in statements:
            self.world.query(statement)


@contextmanager
def _http(world: World, wanted: list[Json]) -> Iterator[None]:
    with ExitStack() as stack:
        for fault in wanted:
            stack.enter_context(world.faults.injected(**fault))
        yield


@contextmanager
def _set(world: World, wanted: Json) -> Iterator[None]:
    """Change attributes of stand-ins: ``web.sweeps`` is ``world.web.sweeps``."""
    before = {}
    for path, value in wanted.items():
        owner, _, attribute = path.partition(".")
        before[path] = getattr(getattr(world, owner), attribute)  # AttributeError: no such switch
        setattr(getattr(world, owner), attribute, value)
    try:
        yield
    finally:
        for path, value in before.items():
            owner, _, attribute = path.partition(".")
            setattr(getattr(world, owner), attribute, value)


@contextmanager
def _runner(world: World, wanted: Json) -> Iterator[None]:
    with runner_fault(world.folder, **wanted):
        yield


@contextmanager
def _venue(world: World, wanted: Json) -> Iterator[None]:
    before = world.hyperliquid.faults
    world.hyperliquid.faults = replace(before, **wanted)
    try:
        yield
    finally:
        world.hyperliquid.faults = before


@contextmanager
def _vercel(world: World, wanted: Json) -> Iterator[None]:
    """Change variables and redeploy; both again afterwards."""
    before = {key: world.vercel.variable(key) for key in wanted}
    values = {key: found.value if found else None for key, found in before.items()}
    _put(world, wanted)
    try:
        yield
    finally:
        _put(world, values)


def _put(world: World, values: Json) -> None:
    for key, value in values.items():
        found = world.vercel.variable(key)
        if value is not None:
            world.vercel.put(key, value, found.type if found else "encrypted")
        elif found is not None:
            del world.vercel.variables[found.id]
    world.vercel.deploy(seconds=0)


@contextmanager
def _fly(world: World, wanted: Json) -> Iterator[None]:
    app = world.names.fly_app
    held = world.fly.app(app).secrets
    before = {key: held[key].value if key in held else None for key in wanted}
    world.fly.set_secrets(app, wanted)
    try:
        yield
    finally:
        world.fly.set_secrets(app, before)


@contextmanager
def _sql(world: World, wanted: list[Any]) -> Iterator[None]:
    for statement in wanted:
        world.query(statement)
    yield


PLAYED: dict[str, Callable[[World, Any], AbstractContextManager[None]]] = {
    "http": _http,
    "set": _set,
    "runner": _runner,
    "venue": _venue,
    "vercel": _vercel,
    "fly": _fly,
    "sql": _sql,
}
