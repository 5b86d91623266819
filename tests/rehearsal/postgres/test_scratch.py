"""A database on somebody else's server is made like a new project and leaves with us."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.postgres import cluster, migration_files
from runbook_lib.rehearsal.postgres.scratch import ScratchDatabase
from runbook_lib.rehearsal.postgres.server import ENVIRONMENT, Server, account

MIGRATIONS = Path(migration_files.__file__).with_name("migrations")


class PlainServer:
    """A Postgres as anybody may have it: one superuser, no Vault, none of our roles."""

    def __init__(self, superuser):
        self.folder = Path(tempfile.mkdtemp(prefix="runbook-test-"))
        self.folder.chmod(0o755)
        data, password = self.folder / "data", secrets.token_urlsafe(9)
        (self.folder / "password").write_text(password)
        data.mkdir(mode=0o700)
        account().own(self.folder)
        programs = cluster.prepared().programs
        options = (
            f"--username={superuser}",
            "--auth=scram-sha-256",
            f"--pwfile={self.folder / 'password'}",
            "--no-sync",
        )
        initdb = [programs / "initdb", "-D", data, *options]
        subprocess.run(initdb, env=ENVIRONMENT, cwd="/", check=True, capture_output=True, **account().launch())
        self.server = Server(programs / "postgres", data, self.folder / "log", settings={})
        self.address = f"postgresql://{superuser}:{password}@127.0.0.1:{self.server.port}/postgres?sslmode=prefer"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stop()
        shutil.rmtree(self.folder)

    def databases(self):
        return {name for (name,) in self.ask("select datname from pg_database where not datistemplate")}

    def ask(self, statement):
        with psycopg.connect(self.address, autocommit=True, client_encoding="utf8") as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def plain():
    with PlainServer("keeper") as server:
        yield server


def ask(dsn, statement):
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement).fetchone()[0]


def test_a_plain_server_gets_the_roles_and_a_vault_that_refuses(plain):
    before = plain.databases()
    with ScratchDatabase.make(plain.address, password="given") as scratch:
        assert (scratch.url.partition("@")[0], scratch.password) == ("postgresql://postgres", "given")
        assert scratch.url.endswith("?sslmode=prefer")
        assert ask(scratch.dsn, "select rolsuper from pg_roles where rolname = current_user") is False
        assert ask(scratch.dsn, "select extversion from pg_extension where extname = 'supabase_vault'") == "0.3.1"
        migration_files.apply_all(scratch.dsn, MIGRATIONS)
        assert ask(scratch.dsn, "select public.create_hyperliquid_agent_secret('x', 'y') is not null")
        assert ask(scratch.reader_dsn, "select count(*) from public.deployments") == 0
        assert ask(scratch.admin_dsn, "select rolsuper from pg_roles where rolname = current_user")
        with pytest.raises(psycopg.Error, match="permission denied for function _crypto_aead_det_noncegen"):
            ask(scratch.dsn, "insert into vault.secrets (secret) values ('x')")
        assert len(plain.databases() - before) == 1

    assert plain.databases() == before


def test_the_stand_in_leaves_like_an_extension(plain):
    with ScratchDatabase.make(plain.address) as scratch, psycopg.connect(scratch.admin_dsn) as connection:
        connection.execute("drop extension supabase_vault")
        left = "select count(*) from pg_class where relnamespace = 'vault'::regnamespace"
        assert connection.execute(left).fetchone() == (0,)


def test_two_on_one_server_do_not_meet_and_roles_are_kept(plain):
    with ScratchDatabase.make(plain.address) as one, ScratchDatabase.make(plain.address) as two:
        migration_files.apply_all(one.dsn, MIGRATIONS)
        assert ask(two.admin_dsn, "select count(*) from pg_tables where schemaname = 'public'") == 0


def test_a_server_whose_superuser_is_postgres_is_used_with_that_login():
    with PlainServer("postgres") as server, ScratchDatabase.make(server.address) as scratch:
        assert scratch.dsn == scratch.admin_dsn
        migration_files.apply_all(scratch.dsn, MIGRATIONS)
        assert ask(scratch.dsn, "select vault.create_secret('x') is not null")


def test_a_login_that_may_not_do_it_is_told_what_is_missing(plain):
    guest = f"postgresql://guest:guest@127.0.0.1:{plain.server.port}/postgres"
    plain.ask("create role guest login password 'guest'")
    with ScratchDatabase.make(plain.address), pytest.raises(ServiceError, match="permission denied"):
        ScratchDatabase.make(guest)
    with PlainServer("keeper") as bare:
        bare.ask("create role guest login createdb password 'guest'")
        guest = guest.replace(str(plain.server.port), str(bare.server.port))
        with pytest.raises(ServiceError, match=r"no role anon, authenticated, .* and guest cannot make it"):
            ScratchDatabase.make(guest)
        assert bare.databases() == {"postgres"}


def test_a_database_that_cannot_be_filled_does_not_stay(plain):
    """A login that may create databases and finds every role, but is no superuser and finds no Vault."""
    with ScratchDatabase.make(plain.address, password="given"):
        plain.ask("alter role postgres password 'given'")
        plain.ask("grant runbook_reader to postgres with admin option")
        before = plain.databases()
        postgres = f"postgresql://postgres:given@127.0.0.1:{plain.server.port}/postgres"
        with pytest.raises(ServiceError, match="the server has no supabase_vault, and postgres is no superuser"):
            ScratchDatabase.make(postgres)
        assert plain.databases() == before


def test_a_server_that_does_not_answer_is_named_without_its_password():
    with pytest.raises(ServiceError, match=r"postgresql://me@127\.0\.0\.1:1/db") as caught:
        ScratchDatabase.make("postgresql://me:hush@127.0.0.1:1/db")
    assert "hush" not in str(caught.value)
