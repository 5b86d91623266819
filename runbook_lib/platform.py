"""What the runbook knows of the platform: its migrations, its command line tools, its cron schedules."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cronsim import CronSim, CronSimError

from runbook_lib.commands import Reply, Shell, shell
from runbook_lib.expect import Expectation, Finding, over_all, over_each

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["applied", "migration_files", "push_migrations", "scheduled"]

SWEEP_LIMIT = 15 * 60  # seconds between two heartbeat sweeps at most, before phase 2 may open (C9)


def push_migrations(version: str) -> Shell:
    """The command that pushes migrations to the linked project, for this version of the supabase CLI (C1).

    Version 2 pushes to the linked project; version 3 pushes to the local stack unless told otherwise, and looks green.
    """
    major = int(re.search(r"(\d+)\.", version)[1]) if re.search(r"(\d+)\.", version) else 0
    target = "--remote --yes" if major >= 3 else "--linked --yes"
    return shell(f"supabase db push --workdir packages/db {target}")


def migration_files(repository: str) -> list[str]:
    """Versions of the migration files in the platform's repository, oldest first."""
    folder = Path(repository) / "packages/db/supabase/migrations"
    return sorted(path.name.split("_")[0] for path in folder.glob("*.sql"))


def applied(repository: str) -> Expectation:
    """The rows' ``version`` are exactly the migration files': nothing pending, nothing unknown."""

    def test(found: Reply) -> Finding:
        wanted, got = migration_files(repository), [str(v) for v in found.column("version")]
        pending = [v for v in wanted if v not in got]
        unknown = [v for v in got if v not in wanted]
        complaints = [f"pending: {', '.join(pending)}"] if pending else []
        complaints += [f"not in the repository: {', '.join(unknown)}"] if unknown else []
        if not wanted:
            complaints.append(f"no migration files in {repository}/packages/db/supabase/migrations")
        return Finding(f"{len(got)} applied", "; ".join(complaints) or None)

    return over_each("every migration file is applied, and nothing else", test)


def scheduled(*paths: str) -> Expectation:
    """Cron definitions: each path is there with a schedule that will run; the heartbeat sweep's is explained (C9)."""

    def test(replies: Sequence[Reply]) -> Finding:
        schedules = {row.get("path"): str(row.get("schedule")) for row in replies[0].rows}
        missing = [path for path in paths if path not in schedules]
        bad = [f"no cron for {path}" for path in missing]
        seen = []
        for path in paths:
            if path in schedules:
                words, complaint = _explained(path, schedules[path], datetime.now(UTC))
                seen.append(words)
                bad += [complaint] if complaint else []
        return Finding("; ".join(seen), "; ".join(bad) or None)

    return over_all(f"crons for {', '.join(paths)}", test)


def longest_gap(schedule: str, now: datetime) -> float:
    """Seconds between two runs at most, over the next 400 runs; raise `CronSimError` if it is no schedule."""
    runs = CronSim(schedule, now)
    times = [next(runs) for _ in range(400)]
    return max((later - earlier).total_seconds() for earlier, later in zip(times, times[1:], strict=False))


def _explained(path: str, schedule: str, now: datetime) -> tuple[str, str | None]:
    try:
        following, gap = next(CronSim(schedule, now)), longest_gap(schedule, now)
    except (CronSimError, StopIteration):
        return "", f"{path}: {schedule!r} is not a cron schedule"
    words = f"{path} next runs {following:%Y-%m-%dT%H:%MZ}"
    if path.endswith("heartbeat-sweep"):
        fit = "tight enough for phase 2" if gap <= SWEEP_LIMIT else "phase 2 stays closed: it needs 15 minutes"
        words += f", at most {gap / 60:.0f} minutes apart ({fit})"
    return words, None
