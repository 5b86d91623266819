"""requirements.lock as the installers read it, and what it must hold for pyproject.toml and environment.yml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHONS = ("3.11", "3.12", "3.13", "3.14")  # those the lock is for; the bootstrap looks for them by name
PLATFORMS = (  # sys_platform, platform_system, os_name, platform_machine
    ("linux", "Linux", "posix", "x86_64"),
    ("linux", "Linux", "posix", "aarch64"),
    ("darwin", "Darwin", "posix", "arm64"),
)
ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*(?:\\|$)")
HASH = re.compile(r"^\s+--hash=sha256:[0-9a-f]{64}\s*\\?$")


@dataclass
class Entry:
    """One pinned version, with the places it is for."""

    name: str
    version: str
    marker: Marker | None
    hashes: int = 0

    def holds(self, place: Mapping[str, str]) -> bool:
        return self.marker is None or self.marker.evaluate(dict(place))


@dataclass
class Lock:
    """All entries, and the lines that are none."""

    entries: list[Entry] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> Lock:
        lock = cls()
        for line in text.splitlines():
            if found := ENTRY.match(line):
                marker = Marker(found["marker"]) if found["marker"] else None
                lock.entries.append(Entry(canonicalize_name(found["name"]), found["version"], marker))
            elif HASH.match(line) and lock.entries:
                lock.entries[-1].hashes += 1
            elif line.strip() and not line.lstrip().startswith("#"):
                lock.strays.append(line)
        return lock

    def at(self, place: Mapping[str, str]) -> dict[str, list[str]]:
        """Versions by name that an installer takes in one place."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            if entry.holds(place):
                found.setdefault(entry.name, []).append(entry.version)
        return found


def everywhere() -> Iterator[dict[str, str]]:
    """The places the lock is for, as markers see them."""
    for python, (platform, system, family, machine) in product(PYTHONS, PLATFORMS):
        yield {
            "python_version": python,
            "python_full_version": f"{python}.9",
            "sys_platform": platform,
            "platform_system": system,
            "os_name": family,
            "platform_machine": machine,
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "extra": "",
        }


def wanted(project: Mapping[str, object]) -> list[Requirement]:
    """Everything pyproject.toml asks for: to run, to test and to build."""
    table, build = project["project"], project["build-system"]
    assert isinstance(table, dict)
    assert isinstance(build, dict)
    extras = [line for group in table["optional-dependencies"].values() for line in group]
    return [Requirement(line) for line in [*table["dependencies"], *extras, *build["requires"]]]


def unpinned(lock: Lock) -> Iterator[str]:
    """Lines that are not one version with a hash."""
    yield from (f"not one pinned version: {line}" for line in lock.strays)
    yield from (f"{entry.name} {entry.version} has no hash" for entry in lock.entries if not entry.hashes)


def missing(lock: Lock, requirements: Iterable[Requirement]) -> Iterator[str]:
    """What a requirement asks for and some place does not get, or gets in a version it does not accept."""
    for place in everywhere():
        versions = lock.at(place)
        where = f"on {place['sys_platform']} with Python {place['python_version']}"
        yield from (f"{name} twice {where}: {twice}" for name, twice in versions.items() if len(twice) > 1)
        for requirement in requirements:
            if requirement.marker is not None and not requirement.marker.evaluate(place):
                continue
            [version] = versions.get(canonicalize_name(requirement.name), [""])[:1]
            if not version or not requirement.specifier.contains(version, prereleases=True):
                yield f"{requirement} {where}: the lock has {version or 'none'}"
