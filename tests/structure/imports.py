"""Who may import whom (design section 5), judged from the source alone.

Every rule takes a `Library` and yields complaints; an empty list means the library holds it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "runbook_lib"
REHEARSAL = "rehearsal"
# The rooms of the house, from the ground up: a room imports from floors below its own, never from its own or above.
FLOORS = (
    ("errors", "forks"),
    ("files", "settings", "commands", "rehearsal"),
    ("agentic_trading", "services", "engine"),
    ("records",),
    ("steps", "halt"),
    ("checklist",),
    ("runs", "console"),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
MOST_ROOMS = 16
MOST_FLOORS = 8
# Package -> the places of the library that may know it.
OWNERS = {
    "psycopg": ("services",),
    "httpx": ("services",),
    "requests": ("services",),
    "websockets": ("services",),
    "papermill": ("engine", "runs.papermill_engine"),
    "nbclient": ("engine", "runs.papermill_engine"),
    "ipywidgets": ("steps.display.arming", "steps.display.button_widget", "console"),
    "matplotlib": ("steps.display.charts",),
    "jinja2": ("steps.display.rendering", "console.markup"),
    "sqlglot": ("agentic_trading.sql_names",),
}
TABLE = re.compile(r"create table (?:if not exists )?public\.(\w+)")
OUTSIDE = {"psycopg", "httpx", "requests", "websockets"}  # the stand-ins speak these too
FROM_THE_CORE = {"errors", "forks", "settings"}  # all that the rehearsal may import of it
TO_THE_REHEARSAL = ("cli", "runs.rehearsals", "runs.drills.parallel")  # all of the core that may import the rehearsal
# Rooms that know the platform by name; every other asks `agentic_trading`.
KNOW_THE_PLATFORM = ("agentic_trading", "checklist", "rehearsal")
# Words of the platform that mean something else in one place, and what.
HOMONYMS = {
    "halt": {"pause", "flatten"},  # parts of a halt, named for what each proves
    "engine.outcome": {"running"},  # papermill's word for a cell
    "runs.drills.drill": {"provisioning"},  # a budget of the profile
    "steps.slowness": {"provisioning"},
    "cli.group": {"resume"},  # a command of ours, that goes on from a record
}
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

    def reached(self, module: str) -> set[str]:
        """Every module that ``module`` imports, directly or through others."""
        seen, waiting = {module}, [module]
        while waiting:
            new = self.neighbours(waiting.pop()) - seen
            seen |= new
            waiting += new & self.sources.keys()
        return seen - {module}


def name_of(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room a module stands in: the module or folder directly below the package."""
    return module.partition(".")[0]


def belongs(module: str, owner: str) -> bool:
    """Whether ``module`` is ``owner`` or stands in it."""
    return module == owner or module.startswith(f"{owner}.")


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
    """A room imports only from lower floors."""
    for module in library.sources:
        room = room_of(module)
        for other in sorted({room_of(neighbour) for neighbour in library.neighbours(module)} - {room}):
            if room in LEVEL and other in LEVEL and LEVEL[other] >= LEVEL[room]:
                floors = f"floor {LEVEL[other] + 1}: {room} is on {LEVEL[room] + 1}"
                yield f"{module} imports {other}, which stands on {floors}"


def homeless(library: Library) -> Iterator[str]:
    """Every module stands in a room of the table, and the house stays small."""
    for room in sorted({room_of(module) for module in library.sources} - LEVEL.keys() - {""}):
        yield f"{room} is no room of the house: {', '.join(LEVEL)}"
    if len(LEVEL) > MOST_ROOMS or len(FLOORS) > MOST_FLOORS:
        yield f"{len(LEVEL)} rooms on {len(FLOORS)} floors: at most {MOST_ROOMS} on {MOST_FLOORS}"


def faces(library: Library) -> Iterator[str]:
    """A room's ``__init__`` says in one sentence what the room is for, and imports nothing: a halt starts at once."""
    for module in library.sources:
        if module and library.is_package(module):
            body = ast.parse(library.sources[module]).body
            if len(body) != 1 or ast.get_docstring(ast.Module(body, [])) is None:
                yield f"{module}/__init__.py holds more or less than the sentence that says what it is for"


def strangers(library: Library) -> Iterator[str]:
    """A package with an owner is imported by nobody else."""
    for module in library.sources:
        for package in sorted(library.packages(module) & OWNERS.keys()):
            exempt = belongs(module, REHEARSAL) and package in OUTSIDE
            if not exempt and not any(belongs(module, owner) for owner in OWNERS[package]):
                yield f"{module or '__init__'} imports {package}: only {', '.join(OWNERS[package])} knows it"


def rehearsal_apart(library: Library) -> Iterator[str]:
    """The stand-ins share nothing with the code they judge, and that code does not know them."""
    for module in library.sources:
        inside = belongs(module, REHEARSAL)
        for other in sorted(library.neighbours(module)):
            if inside and not belongs(other, REHEARSAL) and room_of(other) not in FROM_THE_CORE:
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


def circles_of_folders(library: Library) -> Iterator[str]:
    """No folder of the rehearsal needs itself through another: each stand-in can be read, and replaced, alone."""
    folders: dict[str, set[str]] = {}
    for module in library.sources:
        if belongs(module, REHEARSAL):
            others = {_folder(other) for other in library.neighbours(module) if belongs(other, REHEARSAL)}
            folders.setdefault(_folder(module), set()).update(others - {_folder(module)})
    try:
        TopologicalSorter(folders).prepare()
    except CycleError as error:
        yield f"a circle of folders: {' -> '.join(reversed(error.args[1]))}"


def _folder(module: str) -> str:
    """The folder of the rehearsal that a module stands in, or the module itself where it stands in none."""
    return ".".join(module.split(".")[:2])


@dataclass(frozen=True)
class PlatformWords:
    """The names of the platform's tables and variables, and the words of its statuses and commands."""

    tables: frozenset[str]
    words: frozenset[str]
    variables: frozenset[str] = frozenset()

    @classmethod
    def of(cls, migrations: str, words: Iterable[str], variables: Iterable[str] = ()) -> PlatformWords:
        return cls(frozenset(TABLE.findall(migrations)), frozenset(words), frozenset(variables))

    def within(self, text: str) -> set[str]:
        """The words a literal text consists of, and the tables it names; ``deployments`` alone is everybody's word."""
        named = {table for table in self.tables if re.search(rf"\b{_written(table)}\b", text)}
        return named | ({text} & self.words) | {name for name in self.variables if name in text}


def _written(table: str) -> str:
    return table if "_" in table else rf"public\.{table}"


def the_wall(library: Library, platform: PlatformWords) -> Iterator[str]:
    """Only these rooms hold a table name, a status or a command of the platform: another platform replaces no other.

    The stand-ins hold them too, but not by way of what they are to prove: one wrong word must not stand on both sides.
    """
    for module in library.sources:
        meant_otherwise = {word for place, words in HOMONYMS.items() if belongs(module, place) for word in words}
        for line, text in literals(library.sources[module]):
            if belongs(module, REHEARSAL) and "agentic_trading" in text:
                yield f"{module}:{line} knows the way to agentic_trading"
            if module and room_of(module) not in KNOW_THE_PLATFORM:  # the face of the whole lists the rooms' names
                for word in sorted(platform.within(text) - meant_otherwise):
                    yield f"{module}:{line} holds {word!r} of the platform: agentic_trading knows it"


def literals(source: str) -> Iterator[tuple[int, str]]:
    """Every literal text with its line, docstrings left out."""
    tree = ast.parse(source)
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, holders) and node.body]
    docstrings = {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def vague_names(library: Library) -> Iterator[str]:
    """A module is named for what it does."""
    for module in library.sources:
        words = set(module.rpartition(".")[2].split("_"))
        for word in sorted(words & VAGUE):
            yield f"{module}: {word!r} says nothing about what is in it"


RULES = (upwards, homeless, faces, strangers, rehearsal_apart, cycles, circles_of_folders, vague_names)
