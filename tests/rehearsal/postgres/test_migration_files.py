"""Scripts are split where Postgres splits them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.rehearsal.postgres import migration_files

MIGRATIONS = Path(migration_files.__file__).with_name("migrations")
INSIDE = st.text("ab ;\n", max_size=8)
PIECES = st.one_of(
    st.just("select 1"),
    INSIDE.map(lambda text: f"'{text}'"),
    INSIDE.map(lambda text: f"'it''s {text}'"),
    INSIDE.map(lambda text: f"E'\\';{text}'"),
    INSIDE.map(lambda text: f'"{text}"'),
    INSIDE.map(lambda text: f"$$ {text} $$"),
    INSIDE.map(lambda text: f"$body$ $$;{text} $body$"),
    INSIDE.map(lambda text: f"/* {text} */"),
    st.text("ab ;'$", max_size=8).map(lambda text: f"-- {text}\n"),
)
STATEMENTS = st.lists(PIECES, min_size=1, max_size=4).map(lambda pieces: "x " + " ".join(pieces))


@given(st.lists(STATEMENTS, max_size=5))
def test_what_was_joined_is_split_again(statements):
    """For statements with semicolons in strings, names, bodies and comments: joining and splitting changes nothing."""
    script = "".join(f"{statement};\n" for statement in statements)
    assert list(migration_files.split(script)) == [statement.strip() for statement in statements]


@pytest.mark.parametrize("script", ["", " \n", "-- nothing", ";;\n;", "/* ; */ ;"])
def test_a_script_without_a_statement_has_none(script):
    assert list(migration_files.split(script)) == []


def test_the_last_semicolon_may_be_missing():
    assert list(migration_files.split("select 1; select 2 -- end")) == ["select 1", "select 2 -- end"]


def test_files_are_ordered_by_version_and_others_are_named(tmp_path):
    for name in ("20260102000000_b.sql", "20260101000000_a.sql", "seed.sql", "notes.md"):
        (tmp_path / name).write_text("select 1")
    files, skipped = migration_files.local(tmp_path)
    assert [(file.version, file.name) for file in files] == [("20260101000000", "a"), ("20260102000000", "b")]
    assert skipped == ["seed.sql"]


def test_our_own_migrations_have_one_version_each():
    files, skipped = migration_files.local(MIGRATIONS)
    assert not skipped
    assert len({file.version for file in files}) == len(files) > 5
    assert all(file.statements for file in files)
