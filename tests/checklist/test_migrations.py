"""Migrations: the push is the one for the CLI that is installed, and exactly the files are applied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runbook_lib.checklist.migrations import applied, migration_files, push_migrations, pushed
from runbook_lib.errors import ConfigError
from tests.judging import can_fail, complaint, of

V2 = "2.122.1\nA new version of Supabase CLI is available: v3.1.0 (currently installed v2.122.1)\n"


V3 = "3.1.0\n"


LINES = "Applying migration 0001_init.sql...\nFinished supabase db push.\n"


PUSH_2 = "Connecting to remote database...\nDo you want to push these migrations to the remote database?\n" + LINES


# As version 3.1.0 prints them.
PUSH_3 = "Target: project agentic-trading (abcdefghijklmnopqrst) · production\n" + LINES
STACK = (
    "Target: local stack (127.0.0.1:54322) · default; pass --remote for agentic-trading (abcdefghijklmnopqrst)\n"
    + LINES
)


@pytest.mark.parametrize(
    ("version", "flags"),
    [
        (V2, "--linked --yes"),
        ("1.200.3", "--linked --yes"),
        (V3, "--remote --yes"),
        ("supabase 10.0.1", "--remote --yes"),
    ],
)
def test_the_push_is_the_one_for_the_version_that_is_installed(version: str, flags: str) -> None:
    assert push_migrations(version).line == f"supabase db push --workdir packages/db {flags}"
    assert not push_migrations(version).read_only


@pytest.mark.parametrize("version", ["", "supabase", "three"])
def test_a_tool_that_prints_no_version_is_named(version: str) -> None:
    for build in (push_migrations, pushed):
        with pytest.raises(ConfigError, match="printed no version"):
            build(version)


@pytest.mark.parametrize(
    ("version", "output"),
    [
        (V2, PUSH_2),
        (V2, "Connecting to remote database...\nRemote database is up to date.\n"),
        (V3, PUSH_3),
        (V3, "Target: project local desk (localtraderabcdefghi) · production\nRemote database is up to date.\n"),
    ],
)
def test_a_push_to_the_project_passes(version: str, output: str) -> None:
    assert complaint(pushed(version), of(text=output, status=0)) == ""
    assert can_fail(pushed(version), of(text=output, status=0))


@pytest.mark.parametrize(
    ("version", "output", "words"),
    [
        (V3, "Target: local\n" + LINES, "found Target: local"),
        (V3, "Target: local\nLocal database is up to date.\n", "found Target: local"),
        (V3, "Target: remote (localhost:54322)\n" + LINES, "localhost"),
        (V3, STACK, "found Target: local stack"),
        (V3, PUSH_3 + "Target: local\n", "found Target: local"),
        (V3, LINES, "no Target: line"),
        (V3, "Target: remote (x)\nApplying migration 0001_init.sql...\n", "the end of a push"),
        (V2, "Connecting to local database...\nLocal database is up to date.\n", "the end of a push"),
        (V2, "Connecting to remote database...\nApplying migration 0001_init.sql...\n", "the end of a push"),
        (V2, "", "the end of a push"),
    ],
)
def test_a_push_elsewhere_or_one_that_did_not_end_is_complained_of(version: str, output: str, words: str) -> None:
    assert words in complaint(pushed(version), of(text=output, status=0))


def test_a_push_that_broke_says_what_the_tool_said() -> None:
    assert complaint(pushed(V3), of(text=PUSH_3, status=1, error="exit 1: ERROR: syntax")) == "exit 1: ERROR: syntax"


@pytest.fixture
def repository(tmp_path: Path) -> str:
    folder = tmp_path / "packages/db/supabase/migrations"
    folder.mkdir(parents=True)
    names = ("0002_more.sql", "0001_init.sql", "20261122000000_late_one.sql", "README.sql", "0009.sql", "notes.md")
    for name in names:
        (folder / name).write_text("select 1;", encoding="utf-8")
    return str(tmp_path)


VERSIONS = ["0001", "0002", "20261122000000"]


def test_files_that_the_tool_would_pass_over_are_no_migrations(repository: str) -> None:
    assert migration_files(repository) == VERSIONS


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (VERSIONS, ""),
        (VERSIONS[:2], "pending: 20261122000000"),
        ([], "pending: 0001, 0002, 20261122000000"),
        ([*VERSIONS, "20990101000000"], "not in the repository: 20990101000000"),
        (["0001", "0003"], "pending: 0002, 20261122000000; not in the repository: 0003"),
        ([*VERSIONS, None], "not in the repository: None"),
    ],
)
def test_applied_migrations_are_exactly_the_files(repository: str, versions: list[Any], words: str) -> None:
    found = of(*({"version": version} for version in versions))
    assert complaint(applied(repository), found) == words
    assert words or can_fail(applied(repository), found)


def test_a_folder_without_migrations_never_passes(tmp_path: Path) -> None:
    assert "no migration files in" in complaint(applied(str(tmp_path)), of())
