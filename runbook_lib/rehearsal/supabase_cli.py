"""The stand-in of the ``supabase`` command line: ``link``, ``db push`` and ``migration list``, really done.

It works on the database of the rehearsal whose folder is ``RUNBOOK_REHEARSAL``, as role postgres, and speaks the
words of the vendor's 2.122 or, where ``REHEARSAL_SUPABASE_VERSION`` begins with 3, of its 3.1 (facts 3.6):
progress on standard error, the last line on standard output, exit code 1 for every refusal.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from typing import Any, NoReturn

import psycopg

from runbook_lib.rehearsal import migration_files
from runbook_lib.rehearsal.migration_files import Migration
from runbook_lib.rehearsal.supabase_project import (
    LOCAL,
    REMOTE,
    Refusal,
    Target,
    chosen_target,
    connect,
    folder,
    know,
    link_file,
    major,
    note,
    say,
    version,
)

MISSING_LOCAL = """Remote migration versions not found in local migrations directory.

Make sure your local git repo is up-to-date. If the error persists, try repairing the migration history table:
supabase migration repair --status reverted {versions}

And update local migrations to match remote database:
supabase db pull"""
MISSING_REMOTE = """Found local migration files to be inserted before the last migration on remote database.

Rerun the command with --include-all flag to apply these migrations:
{paths}"""
UNATTENDED = "refusing to change a hosted project without confirmation: pass --yes"  # our words for what 3.1 does


def main(argv: list[str] | None = None) -> int:
    """Run one command line; its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except Refusal as refusal:
        note(str(refusal))
        return 1
    return 0


# -- link


def link(arguments: argparse.Namespace) -> None:
    """Remember the project, after asking the management API whether the token may use it."""
    reference = arguments.project_ref or os.environ.get("SUPABASE_PROJECT_ID", "")
    know(reference)
    place = link_file(arguments)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(reference)
    say("Finished supabase link.")


# -- db push


def push(arguments: argparse.Namespace) -> None:
    """Apply what the target has not seen, each file in a transaction of its own."""
    target = chosen_target(arguments)
    if arguments.dry_run:
        note("DRY RUN: migrations will *not* be pushed to the database.")
    note(f"Connecting to {target.kind} database...")
    if target.kind == LOCAL:
        return _push_local(arguments)
    with connect(target, arguments) as connection:
        pending = _pending(arguments, migration_files.applied(connection))
        if not pending:
            return say("Remote database is up to date.")
        if _wanted(arguments, pending, hosted=True):
            for migration in pending:
                _apply(connection, migration)
    say("Finished supabase db push.")
    return None


def _push_local(arguments: argparse.Namespace) -> None:
    """Pretend that a local stack is running, as on many a laptop: all green, and nothing reaches the project."""
    stack = link_file(arguments).with_name("rehearsal-local-stack")
    seen = stack.read_text().split() if stack.exists() else []
    pending = _pending(arguments, seen)
    if not pending:
        return say("Local database is up to date.")
    if _wanted(arguments, pending, hosted=False):
        for migration in pending:
            note(f"Applying migration {migration.path.name}...")
        stack.parent.mkdir(parents=True, exist_ok=True)
        stack.write_text("\n".join([*seen, *(migration.version for migration in pending)]))
    say("Finished supabase db push.")
    return None


def _pending(arguments: argparse.Namespace, seen: list[str]) -> list[Migration]:
    """Files to apply, in order; refuse a history and a folder that do not belong together."""
    files = _files(arguments)
    here = {migration.version for migration in files}
    if unknown := [version for version in seen if version not in here]:
        raise Refusal(MISSING_LOCAL.format(versions=" ".join(unknown)))
    pending = [migration for migration in files if migration.version not in seen]
    late = [migration for migration in pending if seen and migration.version < seen[-1]]
    if late and not arguments.include_all:
        raise Refusal(MISSING_REMOTE.format(paths="\n".join(f"supabase/migrations/{m.path.name}" for m in late)))
    return pending


def _files(arguments: argparse.Namespace) -> list[Migration]:
    files, skipped = migration_files.local(folder(arguments) / "migrations")
    for name in skipped:
        note(f'Skipping migration {name}... (file name must match pattern "<timestamp>_name.sql")')
    return files


def _wanted(arguments: argparse.Namespace, pending: list[Migration], *, hosted: bool) -> bool:
    """Whether to go on: not on a dry run, and not against the answer to the question."""
    names = "\n".join(f" • {migration.path.name}" for migration in pending)
    if arguments.dry_run:
        note(f"Would push these migrations:\n{names}")
        return False
    note(f"Do you want to push these migrations to the {REMOTE if hosted else LOCAL} database?\n{names}\n")
    cautious = hosted and major() > 2  # version 3 takes silence for no, version 2 for yes
    if not _answered(arguments, cautious=cautious):
        raise Refusal("context canceled")
    return True


def _answered(arguments: argparse.Namespace, *, cautious: bool) -> bool:
    sys.stderr.write(" [y/N] " if cautious else " [Y/n] ")
    if arguments.yes or (os.environ.get("SUPABASE_YES") or "").lower() in {"1", "true"}:
        note("y")
        return True
    if cautious and not sys.stdin.isatty():
        note("")
        raise Refusal(UNATTENDED)
    answer = sys.stdin.readline().strip().lower()
    note(answer)
    return answer in {"y", "yes"} or not (answer or cautious)


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    note(f"Applying migration {migration.path.name}...")
    try:
        migration_files.apply(connection, migration)
    except psycopg.Error as problem:
        detail = "\n".join(problem.__notes__)
        raise Refusal(f"ERROR: {problem.diag.message_primary} (SQLSTATE {problem.sqlstate})\n{detail}") from None


# -- migration list


def listing(arguments: argparse.Namespace) -> None:
    """The versions of both sides next to each other."""
    target = chosen_target(arguments)
    note(f"Connecting to {target.kind} database...")
    if target.kind == LOCAL:
        stack = link_file(arguments).with_name("rehearsal-local-stack")
        seen = stack.read_text().split() if stack.exists() else []
    else:
        with connect(target, arguments) as connection:
            seen = migration_files.applied(connection)
    here = [migration.version for migration in _files(arguments)]
    rows = [
        {"local": v if v in here else "", "remote": v if v in seen else "", "time": _time(v)}
        for v in sorted({*here, *seen})
    ]
    _show(rows, target, arguments)


def _show(rows: list[dict[str, str]], target: Target, arguments: argparse.Namespace) -> None:
    if arguments.output_format == "json":
        shown: dict[str, Any] = {"migrations": rows}
        if major() > 2:
            shown["target"] = {"type": target.kind, "project_ref": target.reference}
        return say(json.dumps(shown))
    say(f"\n   {'Local':<14} | {'Remote':<14} | Time (UTC)\n  {'-' * 16}|{'-' * 16}|{'-' * 21}")
    for row in rows:
        say(f"   {row['local']:<14} | {row['remote']:<14} | {row['time']}")
    return None


def _time(version: str) -> str:
    parts = re.fullmatch(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)", version)
    return "{}-{}-{} {}:{}:{}".format(*parts.groups()) if parts else version


# -- the command line


class _Parser(argparse.ArgumentParser):
    """Wrong usage is exit code 1, as everything else."""

    def error(self, message: str) -> NoReturn:
        note(message)
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="supabase", parents=[_everywhere(None)])
    parser.add_argument("--version", "-v", action="version", version=version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    linking = _command(commands, "link", link)
    linking.add_argument("--project-ref")
    linking.add_argument("--password", "-p")
    for group, name, run in (("db", "push", push), ("migration", "list", listing)):
        inner = commands.add_parser(group, parents=[_everywhere()]).add_subparsers(required=True, metavar="COMMAND")
        command = _command(inner, name, run)
        command.add_argument("--db-url")
        command.add_argument("--linked", action="store_true")
        command.add_argument("--local", action="store_true")
        command.add_argument("--project-ref")
        command.add_argument("--password", "-p")
        # Only version 3 knows --remote; to version 2 it is an unknown flag.
        command.add_argument("--remote", nargs="?", const="") if major() > 2 else command.set_defaults(remote=None)
        if name == "push":
            command.add_argument("--dry-run", action="store_true")
            command.add_argument("--include-all", action="store_true")
    return parser


def _command(commands: Any, name: str, run: Any) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, parents=[_everywhere()])
    command.set_defaults(run=run)
    return command


def _everywhere(default: Any = argparse.SUPPRESS) -> _Parser:
    """Flags that may stand anywhere; only the outermost parser has defaults, so that no inner one undoes them."""
    flags = _Parser(add_help=False)
    flags.add_argument("--workdir", default=default)
    flags.add_argument("--output-format", choices=("text", "json"), default=default)
    flags.add_argument("--yes", action="store_true", default=default)
    flags.add_argument("--debug", action="store_true", default=default)
    return flags


if __name__ == "__main__":
    raise SystemExit(main())
