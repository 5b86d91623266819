"""Stand in for the ``supabase`` command, with its commands ``link`` and ``db push``.

The runbook runs both commands in a shell. They work as the role ``postgres`` on the database of the rehearsal whose
folder is ``RUNBOOK_REHEARSAL``. Their words are those of the vendor's version 2.122 or, if
``REHEARSAL_SUPABASE_VERSION`` begins with 3, of version 3.1, both as measured: progress on standard error, the last
line on standard output, exit code 1 for every refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import psycopg

from runbook_lib.rehearsal.postgres import migration_files
from runbook_lib.rehearsal.postgres.migration_files import Migration

VERSION = "2.122.1"
LOCAL, REMOTE = "local", "remote"
PROJECT = "linked-project.json"  # beside the file with the project's reference
STACK = "local stack (127.0.0.1:54322)"
NOT_LINKED = "Cannot find project ref. Have you run supabase link?"
NO_TOKEN = (
    "Access token not provided. Supply an access token by running `supabase login` or setting the "
    "SUPABASE_ACCESS_TOKEN environment variable."
)
PAUSED = """project is paused
An admin must unpause it from the Supabase dashboard at https://supabase.com/dashboard/project/{reference}"""
TWO_TARGETS = (
    "Only one of --remote, --linked, --db-url and --local can be set; got {}.\n"
    "Use --remote or --remote=<ref|branch|url> on its own."
)
TWO_TARGETS_2 = "if any flags in the group [db-url linked local] are set none of the others can be; [{}] were all set"
MISSING_LOCAL = """Remote migration versions not found in local migrations directory.

Make sure your local git repo is up-to-date. If the error persists, try repairing the migration history table:
supabase migration repair --status reverted {versions}{flag}

And update local migrations to match remote database:
supabase db pull{flag}
"""
MISSING_REMOTE = """Found local migration files to be inserted before the last migration on remote database.

Rerun the command with --include-all flag to apply these migrations:
{paths}"""
UNATTENDED = """\
Confirmation required: {deed} (target: {target}). This run can't ask because stdout is not a terminal. Nothing was \
changed.
Re-run with --yes to confirm."""
NO_REFERENCE = """\
Cannot resolve "{reference}": it is not a project ref (refs are exactly 20 lowercase letters, like \
`abcdefghijklmnopqrst`), so it was treated as a branch name — but no project is linked to search for branches.
  If it is a branch name, link the parent project first: supabase link --project-ref <parent-ref>"""
CHANGES_IN_3 = (
    "Warning: supabase db push will target the local database by default in the next major version. Pass --linked to "
    "keep targeting the linked project."
)
DEPRECATED = "Warning: --linked is deprecated and will be removed in v4. Use --remote instead"
NOT_NEEDED = "Warning: --local isn't needed (local is the default) and will be removed in v4"
PASSWORD = "Connect to your database by setting the env var correctly: SUPABASE_DB_PASSWORD"
DEBUG = "Try rerunning the command with --debug to troubleshoot the error."


class Refusal(Exception):
    """An error that ends the ``supabase`` command with exit code 1. Any ``advice`` is printed after its text."""

    def __init__(self, text: str, advice: str | None = DEBUG) -> None:
        super().__init__(text)
        self.advice = advice


def main(argv: list[str] | None = None) -> int:
    """Run the ``supabase`` command line, and return the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except Refusal as refusal:
        note(str(refusal))
        if refusal.advice:
            note(refusal.advice)
        return 1
    return 0


def note(text: str) -> None:
    """Write a line about the ``supabase`` command's progress to standard error."""
    sys.stderr.write(f"{text}\n")


def say(text: str) -> None:
    """Write a line of the ``supabase`` command's result to standard output."""
    sys.stdout.write(f"{text}\n")


def version() -> str:
    """Return the version that this ``supabase`` command says it has."""
    return os.environ.get("REHEARSAL_SUPABASE_VERSION") or VERSION


def speaks_3() -> bool:
    """Return whether this ``supabase`` command behaves like version 3 of the real command.

    Otherwise it behaves like version 2.
    """
    return not version().startswith(("1.", "2."))


# -- link


def link(arguments: argparse.Namespace) -> None:
    """Run ``supabase link``: remember which project is linked.

    Before that, the Management API must say that the token may use the project.
    """
    reference = arguments.project_ref
    if not re.fullmatch(r"[a-z]{20}", reference):
        raise Refusal(NO_REFERENCE.format(reference=reference))
    if speaks_3() and os.environ.get("SUPABASE_ACCESS_TOKEN"):
        note(f"Target: project {reference}")
    project = know(reference)
    linked = link_file(arguments)
    linked.parent.mkdir(parents=True, exist_ok=True)
    linked.write_text(reference)
    linked.with_name(PROJECT).write_text(json.dumps({"ref": reference, "name": project["name"]}))
    say("Finished supabase link.")


def link_file(arguments: argparse.Namespace) -> Path:
    """Return the file in which ``supabase link`` notes the linked project."""
    return Path(arguments.workdir) / "supabase" / ".temp" / "project-ref"


def know(reference: str) -> dict[str, Any]:
    """Raise `Refusal` if a project is unknown, paused, or closed to the access token. The ``supabase`` command then
    ends.
    """
    if not os.environ.get("SUPABASE_ACCESS_TOKEN"):
        raise Refusal(NO_TOKEN)
    status, body = _ask(f"/v1/projects/{reference}", os.environ["SUPABASE_ACCESS_TOKEN"])
    if status == 404:
        raise Refusal(f"Authorization failed for the access token and project ref pair: {body}")
    if status != 200:
        raise Refusal(f"Unexpected error retrieving remote project status: {body}")
    project: dict[str, Any] = json.loads(body)
    if project.get("status") == "INACTIVE":
        raise Refusal(PAUSED.format(reference=reference))
    return project


def _ask(path: str, token: str) -> tuple[int, str]:
    connection = HTTPConnection(urlsplit(rehearsal("addresses")["supabase"]).netloc, timeout=30)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    except OSError as problem:
        raise Refusal(f"failed to retrieve remote project status: {problem}") from None
    finally:
        connection.close()


def rehearsal(name: str) -> dict[str, str]:
    """Read the rehearsal's file ``addresses.json`` or ``environment.json`` for the ``supabase`` command."""
    folder = os.environ.get("RUNBOOK_REHEARSAL", "")
    try:
        values: dict[str, str] = json.loads(Path(folder, f"{name}.json").read_text())
    except OSError:
        raise Refusal(f"no rehearsal runs in {folder!r} (RUNBOOK_REHEARSAL): this supabase is a stand-in") from None
    return values


# -- db push


def push(arguments: argparse.Namespace) -> None:
    """Run ``supabase db push``: apply the migrations that are not in the target's history.

    Each migration runs in a transaction of its own.
    """
    reference = chosen(arguments)
    if speaks_3():
        note(f"Target: {target(arguments, reference)}")
    if reference is None:
        return _push_local(arguments)
    with connect(_password(reference, arguments)) as connection:
        pending = _pending(arguments, migration_files.applied(connection))
        if not pending:
            return say("Remote database is up to date.")
        _confirm(arguments, pending, reference)
        for migration in pending:
            _apply(connection, migration)
    return say("Finished supabase db push.")


def chosen(arguments: argparse.Namespace) -> str | None:
    """Return the project that the ``supabase`` command's flags select. Return None for the local stack.

    Without a flag, version 2 chooses the linked project, version 3 the local stack.
    """
    asked = [name for name in ("linked", "local", "remote") if getattr(arguments, name)]
    if len(asked) > 1:
        flags = [f"--{name}" for name in asked]
        words = TWO_TARGETS.format(" and ".join(flags)) if speaks_3() else TWO_TARGETS_2.format(" ".join(asked))
        raise Refusal(words, advice=None if speaks_3() else DEBUG)
    warning = {"linked": DEPRECATED, "local": NOT_NEEDED}.get(*asked) if speaks_3() and asked else None
    if not asked and not speaks_3():
        warning = CHANGES_IN_3
    if warning:
        note(warning)
    if arguments.local or (speaks_3() and not asked):
        return None
    if not link_file(arguments).exists():
        raise Refusal(NOT_LINKED)
    return link_file(arguments).read_text().strip()


def target(arguments: argparse.Namespace, reference: str | None) -> str:
    """Return the words with which version 3 of ``supabase`` names the project or the local stack."""
    linked = link_file(arguments)
    known = linked.with_name(PROJECT)
    project = f"{json.loads(known.read_text())['name']} ({linked.read_text()})" if known.exists() else None
    if reference:
        return f"project {project} · production" if project else f"project {reference}"
    return f"{STACK} · default; pass --remote for {project}" if project and not arguments.local else STACK


def connect(password: str | None) -> psycopg.Connection[Any]:
    """Return the ``supabase`` command's connection to the project's database, in autocommit mode."""
    if not speaks_3():
        note(f"Connecting to {REMOTE} database...")
    address = rehearsal("addresses")["database"]
    try:
        return psycopg.connect(address, password=password, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as problem:
        parts = urlsplit(address)
        where = f"host={parts.hostname} user={parts.username} database={parts.path.strip('/')}"
        reason = str(problem).strip().splitlines()[0].rpartition(" failed: ")[2]
        if refused := re.search(r"FATAL:\s+(password authentication failed.*)", str(problem)):
            reason = f"server error (FATAL: {refused[1]} (SQLSTATE 28P01))"
        words = f"failed to connect to postgres: failed to connect to `{where}`: {reason}"
        raise Refusal(words, PASSWORD if refused else DEBUG) from None


def _password(reference: str, arguments: argparse.Namespace) -> str | None:
    """Return the database password for the ``supabase`` command: the given one, or a login role's.

    Without a given password, return the password of a login role that is made with the access token. The real command
    line makes such a role for each connection.
    """
    given: str | None = arguments.password or os.environ.get("SUPABASE_DB_PASSWORD")
    if given or not os.environ.get("SUPABASE_ACCESS_TOKEN"):
        return given
    if speaks_3():
        note("No database password found; using a temporary login role...")
    note("Initialising login role...")
    know(reference)
    return rehearsal("environment")["SUPABASE_DB_PASSWORD"]


def _push_local(arguments: argparse.Namespace) -> None:
    """Pretend to apply the migrations to a local Supabase stack, as on a developer's laptop.

    All looks well, and nothing reaches the project: the checks must notice that.
    """
    if not speaks_3():
        note(f"Connecting to {LOCAL} database...")
    stack = link_file(arguments).with_name("rehearsal-local-stack")
    seen = stack.read_text().split() if stack.exists() else []
    pending = _pending(arguments, seen)
    if not pending:
        return say("Local database is up to date.")
    _confirm(arguments, pending, None)
    for migration in pending:
        note(f"Applying migration {migration.path.name}...")
    stack.parent.mkdir(parents=True, exist_ok=True)
    stack.write_text("\n".join([*seen, *(migration.version for migration in pending)]))
    return say("Finished supabase db push.")


def _pending(arguments: argparse.Namespace, seen: list[str]) -> list[Migration]:
    """Return the migrations that ``supabase db push`` must apply, in order.

    Raise `Refusal` if the folder does not fit the database's history.
    """
    files, skipped = migration_files.local(Path(arguments.workdir) / "supabase" / "migrations")
    for name in skipped:
        note(f'Skipping migration {name}... (file name must match pattern "<timestamp>_name.sql")')
    present = {migration.version for migration in files}
    if unknown := [version for version in seen if version not in present]:
        words = MISSING_LOCAL.format(versions=" ".join(unknown), flag=" --remote" if speaks_3() else "")
        raise Refusal(words, advice=None)
    pending = [migration for migration in files if migration.version not in seen]
    late = [migration for migration in pending if seen and migration.version < seen[-1]]
    if late and not arguments.include_all:
        raise Refusal(MISSING_REMOTE.format(paths="\n".join(f"supabase/migrations/{m.path.name}" for m in late)))
    return pending


def _confirm(arguments: argparse.Namespace, pending: list[Migration], reference: str | None) -> None:
    """Ask whether to push the migrations.

    Without an answer, version 2 pushes; version 3 does not, if the target is a project.
    """
    cautious = reference is not None and speaks_3()
    deed, where = f"Apply {len(pending)} migration{'s' if pending[1:] else ''}", target(arguments, reference)
    if cautious and arguments.yes:
        return note(f"Confirmed by --yes: {deed} on {where}")
    if cautious and not sys.stdin.isatty():
        raise Refusal(UNATTENDED.format(deed=deed, target=where), advice=None)
    names = "\n".join(f" • {migration.path.name}" for migration in pending)
    note(f"Do you want to push these migrations to the {REMOTE if reference else LOCAL} database?\n{names}")
    sys.stderr.write(" [y/N] " if cautious else " [Y/n] ")
    if arguments.yes:
        return note("y")
    answer = sys.stdin.readline().strip().lower()
    note(answer)
    if answer not in ({"y", "yes"} if cautious else {"", "y", "yes"}):
        raise Refusal("context canceled")
    return None


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    note(f"Applying migration {migration.path.name}...")
    try:
        migration_files.apply(connection, migration)
    except psycopg.Error as problem:
        detail = "\n".join(problem.__notes__)
        raise Refusal(f"ERROR: {problem.diag.message_primary} (SQLSTATE {problem.sqlstate})\n{detail}") from None


# -- the command line


class _Parser(argparse.ArgumentParser):
    """An argument parser for the ``supabase`` command. It exits with code 1 if the command line is wrong.

    The parser of argparse exits with code 2 for that.
    """

    def error(self, message: str) -> NoReturn:
        note(message)
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="supabase")
    parser.add_argument("--version", "-v", action="version", version=version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    linking = commands.add_parser("link")
    linking.set_defaults(run=link)
    linking.add_argument("--project-ref", default="")
    pushing = commands.add_parser("db").add_subparsers(required=True, metavar="COMMAND").add_parser("push")
    pushing.set_defaults(run=push, remote=False)
    # Only version 3 knows --remote; to version 2 it is an unknown flag.
    for flag in ("--linked", "--local", "--include-all", *(["--remote"] if speaks_3() else [])):
        pushing.add_argument(flag, action="store_true")
    for command in (linking, pushing):
        command.add_argument("--password", "-p")
        command.add_argument("--workdir", default=".")
        command.add_argument("--yes", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
