"""One list of packages: pyproject.toml, the lock, environment.yml and what is installed here say the same."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.structure import packages
from tests.structure.packages import Lock

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HASH = "    --hash=sha256:" + "0" * 64


@pytest.fixture(scope="module")
def lock() -> Lock:
    return Lock.parse((ROOT / "requirements.lock").read_text())


def test_every_line_of_the_lock_is_one_version_with_its_hashes(lock):
    assert len(lock.entries) > 100
    assert list(packages.unpinned(lock)) == []


def test_the_lock_has_what_the_project_asks_for_in_every_place(lock):
    assert list(packages.missing(lock, packages.wanted(PROJECT))) == []


def test_what_is_installed_here_is_what_the_lock_says(lock):
    for name, versions in lock.at({**default_environment(), "extra": ""}).items():
        assert [metadata.version(name)] == versions, name


def test_the_lock_is_complete_so_that_no_dependencies_need_resolving(lock):
    """Every requirement of every package reached from the project is in the lock, in a version it accepts."""
    locked = lock.at({**default_environment(), "extra": ""})
    todo, done = packages.wanted(PROJECT), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key in done:
            continue
        done.add(key)
        assert requirement.specifier.contains(locked[name][0], prereleases=True), requirement
        todo += [below for below in map(Requirement, metadata.requires(name) or ()) if asked(below, requirement.extras)]

    assert locked.keys() == {name for name, _ in done}


def asked(requirement: Requirement, extras: set[str]) -> bool:
    """Whether a package's requirement applies here, with the extras it was asked for."""
    places = [{**default_environment(), "extra": extra} for extra in ("", *extras)]
    return requirement.marker is None or any(requirement.marker.evaluate(place) for place in places)


def test_conda_users_get_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, through_pip = environment["dependencies"]

    assert (environment["name"], environment["channels"]) == (PROJECT["project"]["name"], ["conda-forge"])
    assert pip == "pip"
    assert through_pip == {"pip": ["--only-binary=:all:", "--requirement=requirements.lock"]}
    accepted = SpecifierSet(python.removeprefix("python").strip())
    required = SpecifierSet(PROJECT["project"]["requires-python"])
    assert [v for v in ("3.10", *packages.PYTHONS, "3.15") if f"{v}.9" in accepted] == list(packages.PYTHONS)
    assert all(f"{v}.0" in required for v in packages.PYTHONS)


def test_conda_users_are_told_how_to_install_the_project_itself():
    """Hash checking refuses an editable project, so environment.yml cannot hold it."""
    comments = re.findall(r"^#.*", (ROOT / "environment.yml").read_text(), re.MULTILINE)

    assert any("pip install --no-deps --no-build-isolation -e ." in line for line in comments)


def test_the_bootstrap_looks_for_the_pythons_the_lock_is_for():
    looked_for = re.findall(r"python(3\.\d+)", (ROOT / "runbook").read_text())

    assert set(looked_for) == set(packages.PYTHONS)


# --- the rules can fail -----------------------------------------------------------------------------------------------


def test_a_line_without_a_version_or_a_hash_is_seen():
    lock = Lock.parse(f"click\nhttpx>=0.28 \\\n{HASH}\nrich==14.0\nattrs==25.1 \\\n{HASH}\n    # via x\n")

    assert list(packages.unpinned(lock)) == [
        "not one pinned version: click",
        "not one pinned version: httpx>=0.28 \\",
        f"not one pinned version: {HASH}",
        "rich 14.0 has no hash",
    ]


def test_a_missing_package_is_seen_in_the_place_that_lacks_it():
    lock = Lock.parse(f"numpy==2.4 ; python_full_version < '3.12' \\\n{HASH}\n")

    found = list(packages.missing(lock, [Requirement("NumPy>=2")]))

    assert len(found) == 9
    assert found[0] == "NumPy>=2 on linux with Python 3.12: the lock has none"


def test_a_version_the_project_does_not_accept_is_seen():
    found = list(packages.missing(Lock.parse(f"ipykernel==7.3 \\\n{HASH}\n"), [Requirement("ipykernel>=7.4")]))

    assert found[0] == "ipykernel>=7.4 on linux with Python 3.11: the lock has 7.3"


def test_two_versions_in_one_place_are_seen():
    lock = Lock.parse(f"numpy==2.4 \\\n{HASH}\nnumpy==2.5 ; sys_platform == 'darwin' \\\n{HASH}\n")

    assert all("numpy twice on darwin" in line for line in packages.missing(lock, []))
    assert len(list(packages.missing(lock, []))) == len(packages.PYTHONS)
