"""Who may import whom (design section 5), judged from the source alone.

Every rule takes a `Library` and yields complaints; an empty list means the library holds it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "runbook_lib"
REHEARSAL = "rehearsal"
# From the outside in: what stands later may use what stands earlier, never the reverse, however many modules are
# between them. Modules that are not named are free, as long as they build no bridge upwards.
LAYERS = (("commands",), ("services",), ("steps",), ("engine", "gates", "halt"), ("cli",))
# Package -> the part of the library that may know it, its split-off modules included (engine.kernel, engine_log).
OWNERS = {
    "psycopg": "services",
    "httpx": "services",
    "requests": "services",
    "websockets": "sockets",
    "papermill": "engine",
    "nbclient": "engine",
    "ipywidgets": "panel",
    "matplotlib": "charts",
    "jinja2": "pages",
}
OUTSIDE = {"psycopg", "httpx", "requests", "websockets"}  # the stand-ins speak these too
FROM_THE_CORE = {"errors", "settings"}  # all that the rehearsal may import of it
TO_THE_REHEARSAL = ("cli", "selftest", "drill_lanes")  # all of the core that may import the rehearsal
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "base", "common", "misc"}


@dataclass(frozen=True)
class Library:
    """Source of each module, by its name below the package ("steps", "rehearsal.fly"; "" is the package itself)."""

    sources: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Library:
        return cls({name_of(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))})

    def packages(self, module: str) -> set[str]:
        """Packages other than this one that ``module`` imports, anywhere in it."""
        names = {name for name, _ in imported(self.sources[module], self.is_package(module))}
        return {name.partition(".")[0] for name in names} - {PACKAGE}

    def neighbours(self, module: str) -> set[str]:
        """Modules of this package that ``module`` imports, inside functions as well, for type checking not."""
        found = set()
        for target, name in imported(self.sources[module], self.is_package(module), module):
            if target != PACKAGE and not target.startswith(f"{PACKAGE}."):
                continue
            inner = target[len(PACKAGE) + 1 :]
            deeper = f"{inner}.{name}".strip(".")
            found.add(deeper if deeper in self.sources else inner)
        return found - {module, ""}

    def is_package(self, module: str) -> bool:
        return not module or any(other.startswith(f"{module}.") for other in self.sources)

    def reached(self, place: str) -> set[str]:
        """Parts that ``place`` (a part, or a module) imports, directly or not; of a package, only what is asked for."""
        todo = [module for module in self.sources if module == place or module.startswith(f"{place}.")]
        seen = set(todo)
        while todo:
            named = self.neighbours(todo.pop())
            fresh = {package for one in named for package in (*_above(one), one)} & self.sources.keys() - seen
            seen |= fresh
            todo += fresh
        return {part_of(module) for module in seen} - {part_of(place)}


def _above(module: str) -> list[str]:
    """The packages that are imported on the way to a module."""
    parts = module.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """The module or sub-package directly below the package."""
    return module.partition(".")[0]


def belongs(module: str, owner: str) -> bool:
    """Whether ``module`` is ``owner`` or was split off it."""
    return module == owner or module.startswith((f"{owner}.", f"{owner}_"))


def imported(source: str, is_package: bool, module: str = "") -> Iterator[tuple[str, str]]:
    """Every import of a module as (module, name), the name empty for ``import module``; relative ones resolved."""
    here = [PACKAGE, *module.split(".")] if module else [PACKAGE]
    for node in running(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = here[: len(here) - node.level + is_package] if node.level else []
            target = ".".join([*above, *filter(None, [node.module])])
            yield from ((target, alias.name) for alias in node.names)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that can be executed: what stands under ``if TYPE_CHECKING`` is left out."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for other in child.orelse:
                yield from running(other)
        else:
            yield from running(child)


# --- the rules ------------------------------------------------------------------------------------------------------


def upwards(library: Library) -> Iterator[str]:
    """Inner layers do not know outer ones."""
    for level, parts in enumerate(LAYERS):
        outer = {part for later in LAYERS[level + 1 :] for part in later}
        for part in parts:
            for wrong in sorted(library.reached(part) & outer):
                yield f"{part} reaches {wrong}: the direction is {' <- '.join(', '.join(names) for names in LAYERS)}"


def strangers(library: Library) -> Iterator[str]:
    """A package with an owner is imported by nobody else."""
    for module in library.sources:
        for package in sorted(library.packages(module) & OWNERS.keys()):
            exempt = belongs(module, REHEARSAL) and package in OUTSIDE
            if not exempt and not belongs(module, OWNERS[package]):
                yield f"{module or '__init__'} imports {package}: only {OWNERS[package]} knows it"


def rehearsal_apart(library: Library) -> Iterator[str]:
    """The stand-ins share nothing with the code they judge, and that code does not know them."""
    for module in library.sources:
        inside = belongs(module, REHEARSAL)
        for other in sorted(library.neighbours(module)):
            if inside and not belongs(other, REHEARSAL) and part_of(other) not in FROM_THE_CORE:
                yield f"{module} imports {other}: the rehearsal imports only {', '.join(sorted(FROM_THE_CORE))}"
            knows = any(belongs(module, name) for name in TO_THE_REHEARSAL)
            if not inside and belongs(other, REHEARSAL) and not knows:
                yield f"{module} imports {other}: only {', '.join(TO_THE_REHEARSAL)} bring a rehearsal up"


def cycles(library: Library) -> Iterator[str]:
    """No module needs itself, however long the way round."""
    try:
        TopologicalSorter({module: library.neighbours(module) for module in library.sources}).prepare()
    except CycleError as error:
        yield f"a cycle of imports: {' -> '.join(reversed(error.args[1]))}"


def vague_names(library: Library) -> Iterator[str]:
    """A module is named for what it does."""
    for module in library.sources:
        words = set(module.rpartition(".")[2].split("_"))
        for word in sorted(words & VAGUE):
            yield f"{module}: {word!r} says nothing about what is in it"


RULES = (upwards, strangers, rehearsal_apart, cycles, vague_names)
