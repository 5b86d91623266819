"""The library's import directions, and the rules themselves on small bad libraries."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import runbook_lib
from runbook_lib.agentic_trading import deployment_health, runner_commands
from tests.structure import imports
from tests.structure.imports import Library, PlatformWords

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("IPython", "ipykernel", "ipywidgets", "jupyter_client", "matplotlib", "nbclient", "nbformat", "pandas")


@pytest.fixture(scope="module")
def library() -> Library:
    found = Library.read(ROOT / "runbook_lib")
    assert set(imports.LEVEL) <= {imports.room_of(module) for module in found.sources}
    return found


@pytest.mark.parametrize("rule", imports.RULES, ids=lambda rule: rule.__name__)
def test_the_library_holds(rule, library):
    found = list(rule(library))

    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize(("module", "heavy"), [("cli.main", (*HEAVY, "pydantic", "yaml")), ("halt.stop", HEAVY)])
def test_a_command_starts_without_pandas_and_jupyter(module, heavy):
    code = f"import runbook_lib.{module}, sys; print(*sorted(set({heavy!r}) & set(sys.modules)))"

    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert found.stdout.split() == []


def test_only_the_rooms_of_the_platform_hold_its_words(library):
    migrations = "".join(path.read_text() for path in (ROOT / "runbook_lib" / "rehearsal").rglob("migrations/*.sql"))
    everybodys = {"error", "SUPABASE_URL"}
    words = {*deployment_health.STATUSES, *runner_commands.WORDS} - everybodys
    variables = {*yaml.safe_load((ROOT / "parameters" / "rehearsal.yaml").read_text())["shown"]} - everybodys
    platform = PlatformWords.of(migrations, words, variables)
    assert {"agent_commands", "skills"} <= platform.tables and {"paused", "clear_halt"} <= platform.words

    found = list(imports.the_wall(library, platform))

    assert not found, "\n".join(["", *found])


# --- the rules can fail -----------------------------------------------------------------------------------------------


def complaints(rule, **sources):
    return list(rule(Library({"": "", **{name.replace("__", "."): text for name, text in sources.items()}})))


def test_an_inner_module_that_imports_an_outer_one_is_found():
    assert complaints(imports.upwards, services="from runbook_lib.steps import Phase", steps="") == [
        "services imports steps, which stands on floor 5: services is on 3"
    ]


def test_rooms_of_one_floor_do_not_know_each_other():
    assert complaints(imports.upwards, console__page="from runbook_lib.runs import watch", runs__watch="")


def test_an_outer_module_may_import_an_inner_one():
    assert complaints(imports.upwards, cli="from runbook_lib import steps", steps="") == []


def test_a_module_outside_every_room_is_found():
    found = complaints(imports.homeless, bridge="", services="")

    assert [line.partition(" ")[0] for line in found] == ["bridge"]


@pytest.mark.parametrize("face", ["", "from .web import Web", '"""A sentence."""\nimport time'])
def test_a_face_that_is_more_or_less_than_a_sentence_is_found(face):
    assert len(complaints(imports.faces, services=face, services__web="")) == 1


def test_a_face_of_one_sentence_is_fine():
    assert complaints(imports.faces, services='"""Send commands."""', services__web="import httpx") == []


def test_an_import_inside_a_function_counts():
    assert complaints(imports.upwards, steps="def later():\n    from runbook_lib import cli", cli="")


def test_an_import_for_type_checking_does_not_count():
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from runbook_lib.steps.phase import Phase"

    assert complaints(imports.upwards, services=text, steps="") == []


def test_a_package_is_kept_to_its_owner():
    found = complaints(imports.strangers, gates="import psycopg.rows", services="import psycopg", charts="import httpx")

    assert found == ["gates imports psycopg: only services knows it", "charts imports httpx: only services knows it"]


def test_what_stands_in_the_owner_may_know_the_package():
    assert (
        complaints(imports.strangers, engine__kernels="import nbclient", runs__papermill_engine="import papermill")
        == []
    )


def test_a_name_that_merely_begins_like_the_owner_is_a_stranger():
    assert complaints(imports.strangers, engineering="import nbclient")


def test_the_stand_ins_may_use_a_database_but_no_widgets():
    found = complaints(imports.strangers, rehearsal__database="import psycopg", rehearsal__fly="import ipywidgets")

    assert found == [
        "rehearsal.fly imports ipywidgets: only steps.display.arming, steps.display.button_widget, console knows it"
    ]


def test_the_rehearsal_imports_little_of_the_core():
    found = complaints(
        imports.rehearsal_apart,
        rehearsal="from runbook_lib import errors, settings",
        rehearsal__fly="from runbook_lib.commands import Http\nfrom runbook_lib.rehearsal import web",
        rehearsal__web="",
        errors="",
        settings="",
        commands="",
    )

    assert found == ["rehearsal.fly imports commands: the rehearsal imports only errors, forks, settings"]


def test_the_core_does_not_know_the_stand_ins():
    found = complaints(
        imports.rehearsal_apart,
        steps="from runbook_lib.rehearsal.person import click",
        cli="def rehearse():\n    from runbook_lib import rehearsal",
        rehearsal__person="",
    )

    assert found == [
        "steps imports rehearsal.person: only cli, runs.rehearsals, runs.drills.parallel bring a rehearsal up"
    ]


PLATFORM = PlatformWords.of("create table public.agent_logs (", {"paused"}, {"DEPLOYMENT_ID"})


def walls(**sources):
    return list(
        imports.the_wall(Library({"": "", **{name.replace("__", "."): t for name, t in sources.items()}}), PLATFORM)
    )


def test_a_word_of_the_platform_outside_its_rooms_is_found():
    assert walls(
        console__page='"""Paused, in agent_logs."""\nX = "paused"\nY = "from public.agent_logs"\nZ = "(DEPLOYMENT_ID|"'
    ) == [
        "console.page:2 holds 'paused' of the platform: agentic_trading knows it",
        "console.page:3 holds 'agent_logs' of the platform: agentic_trading knows it",
        "console.page:4 holds 'DEPLOYMENT_ID' of the platform: agentic_trading knows it",
    ]


def test_words_of_the_platform_are_at_home_in_its_rooms_and_sentences_are_free():
    assert walls(checklist__x='X = "paused"', agentic_trading__y='X = "agent_logs"', halt__z='X = "it is paused"') == []


def test_a_word_with_a_meaning_of_its_own_is_allowed_where_it_has_it(monkeypatch):
    monkeypatch.setitem(imports.HOMONYMS, "halt", {"paused"})
    assert walls(halt__x='X = "paused"') == [] and len(walls(steps__x='X = "paused"')) == 1


def test_a_stand_in_that_reads_the_contract_is_found():
    found = walls(rehearsal__fly='X = "runbook_lib/agentic_trading/contract.yaml"')
    assert found == ["rehearsal.fly:1 knows the way to agentic_trading"]


def test_a_cycle_is_named_with_its_members():
    [found] = complaints(imports.cycles, a="from runbook_lib import b", b="from . import c", c="from .a import x")

    assert all(f" {name}" in found for name in "abc")


def test_two_stand_ins_that_need_each_other_are_named():
    modules = {"fly__api": "from runbook_lib.rehearsal.web import app", "web__app": "", "web__jobs": ""}
    modules["web__jobs"] = "from runbook_lib.rehearsal.fly import machines"
    modules["fly__machines"] = ""

    [complaint] = complaints(
        imports.circles_of_folders, **{f"rehearsal__{name}": text for name, text in modules.items()}
    )

    assert "rehearsal.fly" in complaint
    assert "rehearsal.web" in complaint


def test_relative_imports_of_a_sub_package_are_resolved():
    found = complaints(imports.cycles, a="from .b import c", b__c="from ..a import x", b="")

    assert len(found) == 1


@pytest.mark.parametrize("name", ["utils", "record_helpers", "rehearsal.base", "fly_manager"])
def test_a_vague_name_is_found(name):
    assert len(complaints(imports.vague_names, **{name.replace(".", "__"): ""})) == 1


def test_no_module_hides_a_name_that_notebooks_use():
    """An imported module becomes an attribute of the package, in the place of what the package offers by that name."""
    modules = {module.name for module in pkgutil.iter_modules(runbook_lib.__path__)}
    assert not modules & set(runbook_lib.__all__)
