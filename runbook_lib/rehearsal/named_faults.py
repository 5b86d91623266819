"""Put named faults in force and take them back. A fault changes something in the stand-ins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import yaml

from runbook_lib.errors import ConfigError, nearest
from runbook_lib.rehearsal.runner.runner_faults import runner_fault

if TYPE_CHECKING:  # the command line names faults too, and has no need of a platform's imports
    from runbook_lib.rehearsal.world.world import World

Json = dict[str, Any]
NEWEST_RUNNING: LiteralString = """
    select id::text from public.deployments where broker_kind = %(broker)s and status = 'running'
    order by created_at desc limit 1
"""
Undo = Callable[[], object]


@cache
def known() -> dict[str, Json]:
    """Return every fault of ``named_faults.yaml``, by name.

    Raise `ConfigError` if a fault has a part that no function here can put in force.
    """
    faults: dict[str, Json] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    for name, parts in faults.items():
        for part in parts.keys() - PARTS:
            raise ConfigError(f"fault {name!r}: unknown part {part!r}: {nearest(part, PARTS)}")
    return faults


def fault(name: str) -> Json:
    """Return what the fault called ``name`` changes.

    If no fault has that name, raise a `ConfigError` that names the nearest fault.
    """
    if name not in known():
        raise ConfigError(f"no fault {name!r}: {nearest(name, known())}")
    return known()[name]


class NamedFaults:
    """The named faults in force in one rehearsal."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.active: dict[str, ExitStack] = {}

    def enter(self, name: str) -> Json:
        """Put a named fault in force until `leave` takes it back."""
        parts = fault(name)
        self.leave(name)
        with ExitStack() as stack:
            for part, value in parts.items():
                if part in PLAYED:
                    stack.callback(PLAYED[part](self.world, value))
            stack.callback(_query, self.world, parts.get("undo", ()))
            self.active[name] = stack.pop_all()
        return parts

    def leave(self, name: str) -> bool:
        """Take a named fault back. Return False if the fault was not in force."""
        stack = self.active.pop(name, None)
        if stack is not None:
            stack.close()
        return stack is not None


def _http(world: World, wanted: list[Json]) -> Undo:
    added = [world.faults.add(**fault).id for fault in wanted]
    return lambda: [world.faults.active.pop(number, None) for number in added]


def _set(world: World, wanted: Json) -> Undo:
    """Set attributes of stand-ins by path, such as ``web.sweeps`` for ``world.web.sweeps``. Return a function that
    undoes this.
    """
    before = {path: attrgetter(path)(world) for path in wanted}  # AttributeError: no such switch
    _assign(world, wanted)
    return lambda: _assign(world, before)


def _assign(world: World, values: Json) -> None:
    for path, value in values.items():
        owner, _, attribute = path.rpartition(".")
        setattr(attrgetter(owner)(world), attribute, value)


def _runner(world: World, wanted: Json) -> Undo:
    with ExitStack() as stack:
        stack.enter_context(runner_fault(world.folder, **wanted))
        return stack.pop_all().close


def _venue(world: World, wanted: Json) -> Undo:
    before = world.hyperliquid.faults
    _assign(world, {"hyperliquid.faults": replace(before, **wanted)})
    return lambda: _assign(world, {"hyperliquid.faults": before})


def _vercel(world: World, wanted: Json) -> Undo:
    """Change Vercel's variables and redeploy. Return a function that restores the variables and redeploys again."""
    variables = {key: world.vercel.variable(key) for key in wanted}
    before = {key: variable.value if variable else None for key, variable in variables.items()}
    _put(world, wanted)
    return lambda: _put(world, before)


def _put(world: World, values: Json) -> None:
    for key, value in values.items():
        variable = world.vercel.variable(key)
        if value is not None:
            world.vercel.put(key, value, variable.type if variable else "encrypted")
        elif variable is not None:
            del world.vercel.variables[variable.id]
    world.vercel.deploy(seconds=0)


def _fly(world: World, wanted: Json) -> Undo:
    app, held = world.names.fly_app, world.fly.app(world.names.fly_app).values()
    world.fly.set_secrets(app, wanted)
    return lambda: world.fly.set_secrets(app, {key: held.get(key) for key in wanted})


def _second_machine(world: World, broker: str) -> Undo:
    """Start a second machine for the newest running deployment whose broker is ``broker``. Return a function that
    removes the machine.

    The deployment then looks as if its deploy had been sent twice.
    """
    rows = world.query(NEWEST_RUNNING, {"broker": broker})
    if not rows:
        raise ConfigError(f"no {broker} deployment runs: start in a state that has one, as live has")
    machine = world.web.deployments.start_machine(rows[0]["id"])
    path = f"/v1/apps/{world.names.fly_app}/machines/{machine}?force=true"
    headers = {"authorization": f"Bearer {world.secret('FLY_API_TOKEN')}"}
    return lambda: world.call("fly", "DELETE", path, headers=headers)


def _query(world: World, statements: list[Any]) -> Undo:
    for statement in statements:
        world.query(statement)
    return lambda: None


PLAYED: dict[str, Callable[[World, Any], Undo]] = {
    "http": _http,
    "set": _set,
    "runner": _runner,
    "venue": _venue,
    "vercel": _vercel,
    "fly": _fly,
    "second_machine": _second_machine,
    "sql": _query,
}
PARTS = PLAYED.keys() | {"says", "undo"}
