"""Push the platform's database migrations with the supabase CLI, and judge whether all of them are applied."""

from __future__ import annotations

import re
from pathlib import Path

from runbook_lib.commands.command import Reply, Shell, shell
from runbook_lib.commands.expectations import Expectation, Finding, over_each, text
from runbook_lib.errors import ConfigError

# How version 3 names what is no project. A project's own name may hold the word, and follows it in a hint.
LOCAL = re.compile(r"^local\b|\((localhost|127\.)")
MIGRATION = re.compile(r"([0-9]+)_.*\.sql")


def push_migrations(version: str) -> Shell:
    """Make the shell line that pushes migrations to the linked project. Its options depend on the CLI's version (C1).

    Version 2 pushes to the linked project. Version 3 pushes to the local stack unless it is told otherwise, and
    succeeds.
    """
    digits = re.search(r"(\d+)\.\d+", version)
    if digits is None:
        raise ConfigError(f"supabase --version printed no version: {version!r}")
    target = "--remote --yes" if int(digits[1]) >= 3 else "--linked --yes"
    return shell(f"supabase db push --workdir packages/db {target}")


def pushed(version: str) -> Expectation:
    """Expect that ``supabase db push`` finished and pushed the migrations to the linked project.

    Version 3 of the CLI prints the project that it pushed to in its ``Target:`` lines (C1).
    """
    ended = text(r"Finished supabase db push|Remote database is up to date", "the end of a push")
    if "--linked" in push_migrations(version).line:
        return ended

    def test(reply: Reply) -> Finding:
        targets = re.findall(r"^Target: *(.*)$", reply.text, re.MULTILINE)
        local = [target for target in targets if LOCAL.search(target)]
        if not targets or local:
            said = f"Target: {local[0]}" if local else "no Target: line"
            return Finding("", f"expected a Target: line that names the remote project, found {said}")
        return Finding(targets[0].strip())

    return over_each("a push to the remote project", test) & ended


def migration_files(repository: str) -> list[str]:
    """Return the versions of the migration files in the platform's repository, oldest first.

    A file that is not named ``<digits>_<name>.sql`` is skipped, as the supabase CLI does.
    """
    folder = Path(repository) / "packages/db/supabase/migrations"
    matches = (MIGRATION.fullmatch(path.name) for path in folder.glob("*.sql"))
    return sorted(match[1] for match in matches if match)


def applied(repository: str) -> Expectation:
    """Expect that the applied migrations are exactly those in the repository's files.

    Reply: a row ``version`` for each applied migration.
    """

    def test(reply: Reply) -> Finding:
        wanted, got = migration_files(repository), [str(v) for v in reply.column("version")]
        pending = [v for v in wanted if v not in got]
        unknown = [v for v in got if v not in wanted]
        complaints = [f"pending: {', '.join(pending)}"] if pending else []
        complaints += [f"not in the repository: {', '.join(unknown)}"] if unknown else []
        if not wanted:
            complaints.append(f"no migration files in {repository}/packages/db/supabase/migrations")
        return Finding(f"{len(got)} applied", "; ".join(complaints) or None)

    return over_each("every migration file is applied, and nothing else", test)
