"""The stand-in of the supabase command line really links and pushes, in the vendor's words."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from runbook_lib.rehearsal.postgres import migration_files
from runbook_lib.rehearsal.postgres.database import Database
from runbook_lib.rehearsal.supabase import cli

MIGRATIONS = Path(migration_files.__file__).with_name("migrations")
REFERENCE = "abcdefghijklmnopqrst"
FILES = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
VERSIONS = [name.partition("_")[0] for name in FILES]
LISTED = "\n".join(f" • {name}" for name in FILES)
PASSWORD = "made up pass'word"


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def server():
    folder = Path(tempfile.mkdtemp(prefix="runbook-test-"))
    with Database.start(folder, password=PASSWORD) as running:
        (folder / "addresses.json").write_text(json.dumps({"database": running.url}))
        (folder / "environment.json").write_text(json.dumps({"SUPABASE_DB_PASSWORD": PASSWORD}))
        running.folder = folder
        running.snapshot("new")
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def project(server, tmp_path, monkeypatch):
    """A linked checkout, a new database, and a terminal whose standard input is empty."""
    server.restore("new")
    shutil.copytree(MIGRATIONS, tmp_path / "supabase" / "migrations")
    (tmp_path / "supabase" / ".temp").mkdir()
    (tmp_path / "supabase" / ".temp" / "project-ref").write_text(REFERENCE)
    monkeypatch.setenv("RUNBOOK_REHEARSAL", str(server.folder))
    monkeypatch.setenv("SUPABASE_DB_PASSWORD", PASSWORD)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    return tmp_path


@pytest.fixture
def run(project, capsys):
    def command(*words, version="2.122.1"):
        os.environ["REHEARSAL_SUPABASE_VERSION"] = version
        try:
            code = cli.main([*words, "--workdir", str(project)])
        except SystemExit as end:
            code = end.code or 0
        return Said(code, *capsys.readouterr())

    return command


def rows(server, statement):
    with psycopg.connect(server.dsn) as connection:
        return connection.execute(statement).fetchall()


def tables(server):
    return rows(server, "select count(*) from pg_tables where schemaname = 'public'")[0][0]


HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by version"


# -- version


@pytest.mark.parametrize("version", ["2.122.1", "3.1.0"])
def test_it_tells_the_version_it_speaks_like(run, version):
    assert run("--version", version=version).out == f"{version}\n"


def test_it_runs_as_an_executable_does(server):
    command = [sys.executable, "-m", "runbook_lib.rehearsal.supabase.cli", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2.122.1\n"


# -- db push, version 2


def test_push_applies_every_file_once(run, server):
    first = run("db", "push", "--yes")
    assert (first.code, first.out) == (0, "Finished supabase db push.\n")
    assert f"Do you want to push these migrations to the remote database?\n{LISTED}" in first.err
    assert [f"Applying migration {name}..." for name in FILES] == re.findall("Applying .*", first.err)
    history = rows(server, HISTORY)
    assert [row[0] for row in history] == VERSIONS
    assert [f"{version}_{name}.sql" for version, name, _ in history] == FILES
    assert all(statements for _, _, statements in history)

    second = run("db", "push", "--yes")
    assert (second.code, second.out) == (0, "Remote database is up to date.\n")
    assert rows(server, HISTORY) == history


def test_what_it_makes_belongs_to_postgres(run, server):
    run("db", "push", "--yes")
    assert rows(server, "select distinct tableowner from pg_tables where schemaname = 'public'") == [("postgres",)]


def test_silence_is_yes_to_version_2(run, server):
    assert run("db", "push").code == 0
    assert tables(server) > 20


def test_no_is_no(run, server, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    said = run("db", "push")
    assert (said.code, said.err.splitlines()[-2]) == (1, "context canceled")
    assert tables(server) == 0


def test_an_unlinked_folder_cannot_be_pushed(run, project):
    (project / "supabase" / ".temp" / "project-ref").unlink()
    said = run("db", "push", "--linked", "--yes")
    assert (said.code, said.err.splitlines()[0]) == (1, "Cannot find project ref. Have you run supabase link?")


def test_a_wrong_password_is_refused_in_postgres_own_words(run, monkeypatch, server):
    for word in ("env", "flag"):
        monkeypatch.setenv("SUPABASE_DB_PASSWORD", "wrong" if word == "env" else PASSWORD)
        said = run("db", "push", "--yes", *(["--password", "wrong"] if word == "flag" else []))
        assert said.code == 1
        assert 'password authentication failed for user "postgres"' in said.err
        assert "wrong" not in said.err
    assert tables(server) == 0


def test_a_failing_file_is_undone_whole_and_the_ones_before_it_stay(run, project, server):
    (project / "supabase" / "migrations" / "20990101000000_broken.sql").write_text(
        "create table public.half (n int);\ncreate table public.skills (n int);\n"
    )
    said = run("db", "push", "--yes")
    assert said.code == 1
    assert 'ERROR: relation "skills" already exists (SQLSTATE 42P07)\nAt statement: 1\ncreate table' in said.err
    assert [row[0] for row in rows(server, HISTORY)] == VERSIONS
    assert rows(server, "select to_regclass('public.half')") == [(None,)]


def test_a_version_that_no_file_has_stops_the_push(run, project, server):
    run("db", "push", "--yes")
    (project / "supabase" / "migrations" / FILES[-1]).unlink()
    said = run("db", "push", "--linked", "--yes")
    assert said.code == 1
    assert said.err.splitlines()[1] == "Remote migration versions not found in local migrations directory."
    assert f"supabase migration repair --status reverted {VERSIONS[-1]}" in said.err


def test_a_file_older_than_the_last_one_applied_needs_a_flag(run, project, server):
    run("db", "push", "--yes")
    late = project / "supabase" / "migrations" / "20260101000000_late.sql"
    late.write_text("create table public.late (n int)")
    said = run("db", "push", "--yes")
    assert said.code == 1
    assert "Rerun the command with --include-all flag" in said.err
    assert "supabase/migrations/20260101000000_late.sql" in said.err
    assert run("db", "push", "--yes", "--include-all").code == 0
    assert rows(server, "select to_regclass('public.late') is not null") == [(True,)]


def test_files_that_are_no_migrations_are_skipped_aloud(run, project):
    (project / "supabase" / "migrations" / "seed.sql").write_text("select 1")
    assert "Skipping migration seed.sql... (file name must match pattern" in run("db", "push", "--yes").err


@pytest.mark.parametrize("words", [["db", "push", "--what"], ["db"], ["db", "reset"], []])
def test_wrong_usage_is_exit_code_1(run, words):
    assert run(*words).code == 1


def test_two_targets_at_once_are_refused(run):
    said = run("db", "push", "--linked", "--local")
    assert (said.code, "[linked local] were all set" in said.err) == (1, True)


def test_without_a_rehearsal_it_says_what_it_is(run, monkeypatch, tmp_path):
    monkeypatch.setenv("RUNBOOK_REHEARSAL", str(tmp_path / "nowhere"))
    said = run("db", "push", "--yes")
    assert (said.code, "this supabase is a stand-in" in said.err) == (1, True)


# -- db push, version 3


def test_version_3_looks_green_and_reaches_nothing_without_the_flag(run, server):
    said = run("db", "push", "--yes", version="3.1.0")
    assert (said.code, said.out) == (0, "Finished supabase db push.\n")
    assert said.err.splitlines()[0] == "Target: local stack (127.0.0.1:54322)"
    assert [f"Applying migration {name}..." for name in FILES] == re.findall("Applying .*", said.err)
    assert tables(server) == 0

    again = run("db", "push", version="3.1.0")
    assert (again.code, again.out) == (0, "Local database is up to date.\n")
    assert tables(server) == 0


def test_version_3_pushes_to_the_project_when_told_to(run, server):
    said = run("db", "push", "--remote", "--yes", version="3.1.0")
    assert (said.code, said.out) == (0, "Finished supabase db push.\n")
    assert said.err.splitlines()[:2] == [
        f"Target: project {REFERENCE}",
        f"Confirmed by --yes: Apply {len(FILES)} migrations on project {REFERENCE}",
    ]
    assert tables(server) > 20


def test_version_3_takes_silence_for_no(run, server):
    said = run("db", "push", "--remote", version="3.1.0")
    assert (said.code, "Re-run with --yes to confirm." in said.err) == (1, True)
    assert tables(server) == 0


def test_version_3_still_knows_the_old_flags_and_warns(run, server):
    said = run("db", "push", "--linked", "--yes", version="3.1.0")
    assert said.code == 0
    assert said.err.startswith("Warning: --linked is deprecated and will be removed in v4. Use --remote instead\n")
    assert tables(server) > 20


def test_version_2_does_not_know_the_new_flag(run):
    assert run("db", "push", "--remote", "--yes").code == 1


# -- link: against the management API of a whole rehearsal


@pytest.fixture
def operator(rehearsal, project, monkeypatch):
    """The environment of an operator of that rehearsal, in a checkout that is not linked yet."""
    (project / "supabase" / ".temp" / "project-ref").unlink()
    monkeypatch.setenv("RUNBOOK_REHEARSAL", str(rehearsal.folder))
    monkeypatch.setenv("SUPABASE_ACCESS_TOKEN", rehearsal.environment["SUPABASE_ACCESS_TOKEN"])
    monkeypatch.delenv("SUPABASE_DB_PASSWORD")
    return project


def test_linking_is_remembered_and_a_good_token_makes_up_for_the_password(run, operator, monkeypatch):
    said = run("link", "--project-ref", REFERENCE)
    assert (said.code, said.out) == (0, "Finished supabase link.\n")
    assert (operator / "supabase" / ".temp" / "project-ref").read_text() == REFERENCE
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    pushed = run("db", "push", "--linked")
    assert pushed.err.startswith("Initialising login role...\nConnecting to remote database...\nDo you want to push")
    elsewhere = run("db", "push", version="3.1.0")
    named = f"agentic-trading ({REFERENCE})"
    assert f"Target: local stack (127.0.0.1:54322) · default; pass --remote for {named}\n" in elsewhere.err


def test_linking_refuses_what_the_vendor_refuses(run, operator, monkeypatch):
    assert run("link", "--project-ref", "Short").err.startswith('Cannot resolve "Short": it is not a project ref')
    unknown = run("link", "--project-ref", REFERENCE[::-1])
    assert unknown.err.startswith("Authorization failed for the access token and project ref pair:")
    monkeypatch.setenv("SUPABASE_ACCESS_TOKEN", "sbp_wrong")
    assert run("link", "--project-ref", REFERENCE).err.startswith("Unexpected error retrieving remote project status:")
    monkeypatch.delenv("SUPABASE_ACCESS_TOKEN")
    said = run("link", "--project-ref", REFERENCE)
    assert (said.code, said.err.startswith("Access token not provided.")) == (1, True)
    assert not (operator / "supabase" / ".temp" / "project-ref").exists()
