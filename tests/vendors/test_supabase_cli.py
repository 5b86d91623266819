"""The supabase command line as it is published, versions 2 and 3, links a checkout to the rehearsal and pushes to it.

What they print, the rehearsal's own ``supabase`` prints word for word.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from runbook_lib.rehearsal.lifecycle import rehearse
from runbook_lib.rehearsal.postgres import migration_files
from tests.vendors.fronts import one_host, pooler
from tests.vendors.npm import SILENT, installed

REFERENCE = "abcdefghijklmnopqrst"
TARGETS = {"2.122.1": "--linked", "3.1.0": "--remote"}  # the flag that each version wants for the linked project
MIGRATIONS = Path(migration_files.__file__).with_name("migrations")
TWO = {"20260101000000_one.sql": "create table public.one (n int);", "20260102000000_two.sql": "select 2;"}
HISTORY = "select version, name, statements from supabase_migrations.schema_migrations order by version"
OWNERS = "select distinct tableowner from pg_tables where schemaname in ('public', 'supabase_migrations')"
BROKEN = {"20260103000000_broken.sql": "select 1;\ncreate table public.one (n int);\n"}


@pytest.fixture(scope="module")
def clients():
    """The folder of each version; made before anything is started, for it may not be there."""
    return {version: installed(f"supabase@{version}") for version in TARGETS}


@pytest.fixture(scope="module")
def running(clients):
    with rehearse() as up:
        yield up


@pytest.fixture(scope="module")
def environment(running, tmp_path_factory):
    """What the vendor's command line is told: the rehearsal in the place of api.supabase.com and of its pooler."""
    folder, database = tmp_path_factory.mktemp("supabase"), urlsplit(running.addresses["database"])
    with pooler(database.port, folder) as host:

        def edit(text):
            named = text.replace(f"127.0.0.1:{database.port}", f"{host}:5432")
            return named.replace('"db_host":"127.0.0.1"', f'"db_host":"{host}"')

        with one_host(lambda path: running.addresses["supabase"], edit) as api:
            urls = {f"{name}_url": api for name in ("api", "dashboard", "docs")}
            profile = {"name": "rehearsal", "project_host": "localhost", "pooler_host": host, **urls}
            (folder / "profile.yaml").write_text(json.dumps(profile))
            yield SILENT | {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "SUPABASE_PROFILE": str(folder / "profile.yaml"),
                "SUPABASE_ACCESS_TOKEN": running.environment["SUPABASE_ACCESS_TOKEN"],
                "SUPABASE_DB_PASSWORD": running.environment["SUPABASE_DB_PASSWORD"],
            }


@contextmanager
def pushed_nothing(running):
    """The database, and at the end neither a history of pushes nor a table of ours in it."""
    with psycopg.connect(
        running.addresses["database"], password=running.environment["SUPABASE_DB_PASSWORD"], autocommit=True
    ) as connection:
        yield connection
        connection.execute("drop schema if exists supabase_migrations cascade")
        connection.execute("drop table if exists public.one")


def checkout(folder, files):
    (folder / "supabase" / "migrations").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / "supabase" / "migrations" / name).write_text(text)
    return folder


def run(command, environment):
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def theirs(clients, version, environment):
    """Run the published client; in what it says, the pooler's address and user are those without a pooler."""
    script = str(clients[version] / "node_modules" / "supabase" / "dist" / "supabase.js")
    host = json.loads(Path(environment["SUPABASE_PROFILE"]).read_text())["pooler_host"]

    def command(*words):
        code, out, err = run(["node", script, *words], environment)
        return code, out, err.replace(f"postgres.{REFERENCE}", "postgres").replace(f"host={host}", "host=127.0.0.1")

    return command


def ours(running, version, environment):
    program = str(running.folder / "bin" / "supabase")
    own = {"RUNBOOK_REHEARSAL": str(running.folder), "REHEARSAL_SUPABASE_VERSION": version}
    return lambda *words: run([program, *words], environment | own)


def said(command, folder, target):
    """What a command line says and how it ends, from linking to a push that breaks; each start takes it a second."""
    where = ("--workdir", str(checkout(folder, TWO)))
    yield command("link", "--project-ref", REFERENCE, *where)
    yield command("db", "push", target, *where)
    yield command("db", "push", target, "--yes", *where)
    checkout(folder, BROKEN)
    yield command("db", "push", target, "--yes", *where)


@pytest.mark.parametrize("version", TARGETS)
def test_the_rehearsals_supabase_says_what_the_published_one_says(clients, running, environment, tmp_path, version):
    both, spoken = (theirs(clients, version, environment), ours(running, version, environment)), []
    for number, command in enumerate(both):
        with pushed_nothing(running):
            spoken.append(list(said(command, tmp_path / str(number), TARGETS[version])))
    assert spoken[1] == spoken[0]
    assert [code for code, *_ in spoken[0]] == [0, int(version.startswith("3")), 0, 1]


def test_the_published_client_pushes_the_platform_with_its_access_token_alone(clients, running, environment, tmp_path):
    shutil.copytree(MIGRATIONS, tmp_path / "supabase" / "migrations")
    supabase = theirs(clients, "3.1.0", environment | {"SUPABASE_DB_PASSWORD": ""})
    assert supabase("link", "--project-ref", REFERENCE, "--workdir", str(tmp_path))[0] == 0
    with pushed_nothing(running) as database:
        code, out, err = supabase("db", "push", "--remote", "--yes", "--workdir", str(tmp_path))
        assert (code, out) == (0, "Finished supabase db push.\n"), err
        rows = database.execute(HISTORY).fetchall()
        owners = database.execute(OWNERS).fetchall()
    files, _ = migration_files.local(MIGRATIONS)
    assert rows == [(file.version, file.name, file.statements) for file in files]
    assert owners == [("postgres",)]
