"""Ask about and judge the platform itself: migrations, image, variables, switches and cron schedules."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cronsim import CronSim, CronSimError

from runbook_lib.agentic_trading.cron_schedules import SWEEP_LIMIT, SWEEP_PATH, longest_gap
from runbook_lib.agentic_trading.machines import DOWN, MACHINES, deployment_of
from runbook_lib.checklist.web_app import in_production
from runbook_lib.commands.command import VARIABLE, Http, Reply, Shell, http, shell
from runbook_lib.commands.expectations import Expectation, Finding, each, not_null, over_all, over_each, text
from runbook_lib.errors import ConfigError
from runbook_lib.settings.profiles import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings.profiles import Settings

MIGRATION = re.compile(r"([0-9]+)_.*\.sql")
HALT_RECORD = re.compile(r"[^/\s]+/[^/\s]+_halt\S*")  # the record's name, at the end of what a halt or unhalt prints
OPEN_PART = re.compile(r"\s*[\d.]+ s\s+(?:failed|unknown)\b")  # the line of a part that did not pass


def push_migrations(version: str) -> Shell:
    """Make the shell line that pushes migrations to the linked project with this version of the supabase CLI (C1).

    Version 2 pushes to the linked project. Version 3 pushes to the local stack unless it is told otherwise, and
    succeeds.
    """
    digits = re.search(r"(\d+)\.\d+", version)
    if digits is None:
        raise ConfigError(f"supabase --version printed no version: {version!r}")
    target = "--remote --yes" if int(digits[1]) >= 3 else "--linked --yes"
    return shell(f"supabase db push --workdir packages/db {target}")


def pushed(version: str) -> Expectation:
    """Expect that ``supabase db push`` finished and pushed to the linked project.

    Version 3 of the CLI prints the project that it pushed to in its ``Target:`` lines (C1).
    """
    ended = text(r"Finished supabase db push|Remote database is up to date", "the end of a push")
    if "--linked" in push_migrations(version).line:
        return ended

    def test(reply: Reply) -> Finding:
        targets = re.findall(r"^Target: *(.*)$", reply.text, re.MULTILINE)
        local = [target for target in targets if re.search(r"\blocal(host)?\b", target)]
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
    """Expect that exactly the migrations in the repository's files are applied: none is pending, none is unknown.

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


IMAGE = re.compile(r"^\W*image: ([^\s@]+):([\w.-]+)\s*$", re.MULTILINE)  # a build prints a tag, no digest (C7)


def image_tag(build: Reply) -> str:
    """Return the tag of the image that a build's output names: ``image: registry.fly.io/<app>:<tag>``."""
    return _built(build)[1]


def pinned_image(build: Reply, manifest: Reply) -> str:
    """Return the image that a build named, pinned to the digest that the registry gives for the image's tag."""
    digest = manifest.column("docker_content_digest")[:1]
    if not digest or not re.fullmatch(r"sha256:[0-9a-f]{64}", str(digest[0])):
        raise ConfigError(f"the registry's answer holds no digest of the image: {digest or 'no row'}")
    return f"{_built(build)[0]}@{digest[0]}"


def _built(build: Reply) -> tuple[str, str]:
    """Return the repository and the tag of the last image that the build's output names."""
    named = IMAGE.findall(build.text)
    if not named:
        raise ConfigError(f"the build's output names no image: {build.text[-300:]!r}")
    repository, tag = named[-1]
    return repository, tag


def owned_machines() -> Expectation:
    """Expect that every machine carries a deployment's id, and that no stopped deployment has a running machine (C38).

    Replies: Fly's machines, rows ``id`` and ``status`` of every deployment.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        machines, deployments = replies
        statuses = {str(row.get("id")): row.get("status") for row in deployments.rows}
        bad = [complaint for machine in machines.rows if (complaint := _unowned(machine, statuses))]
        return Finding(f"{len(machines.rows)} machines", "; ".join(bad) or None)

    return over_all("no machine but deployments' own", test, empty=True, about=[MACHINES])


def _unowned(machine: Mapping[str, Any], statuses: Mapping[str, Any]) -> str | None:
    owner = deployment_of(machine)
    if not owner or str(owner) not in statuses:
        return f"machine {machine.get('id')} is of no deployment" + (f": {owner} has no row" if owner else "")
    if statuses[str(owner)] == "stopped" and machine.get("state") not in DOWN:
        return f"machine {machine.get('id')} is {machine.get('state')}, and its deployment {owner} has stopped"
    return None


def set_variables(variables: Reply, wanted: Mapping[str, str]) -> Http:
    """Make the request that sets production variables: every public one, and those secret ones that are missing.

    ``variables`` lists the present variables; one that is set for preview only counts as missing. A secret that is set
    is left alone, because its value cannot be read back and compared (C8).
    """
    present = in_production(variables)
    body = [
        {"key": name, "value": value, "type": _kind_of(present.get(name), value), "target": ["production"]}
        for name, value in wanted.items()
        if _kind(value) == "plain" or name not in present
    ]
    return http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)


def production_variables(*names: str, **readable: str) -> Expectation:
    """Expect that every name is set for production, and every ``readable`` name with its value.

    ``A|B`` means that one of the two names must be set.
    """

    def test(reply: Reply) -> Finding:
        live = in_production(reply)
        missing = [n for n in names if not any(name in live for name in n.split("|"))]
        bad = [f"{n} is missing for production" for n in [*missing, *(n for n in readable if n not in live)]]
        for name, value in readable.items():
            got = live[name].get("value") if name in live else value
            if name in live and live[name].get("type") == "sensitive":
                bad.append(f"{name} is sensitive, so nobody can read it: remove it in Vercel, and set it again (0.4d)")
            elif got != value:
                bad.append(f"{name}: expected {value!r}, found {got!r}")
        public = sorted(name for name in live if name.startswith("NEXT_PUBLIC_SUPABASE_"))
        return Finding(
            f"{len(live)} for production; {', '.join(public) or 'no NEXT_PUBLIC_SUPABASE_*'}", "; ".join(bad) or None
        )

    return over_each("every variable is set for production", test)


def halt_line(settings: Settings) -> Shell:
    """Return the command line with which an operator halts every deployment and turns both switches off."""
    return shell(f"./runbook halt --profile {settings.name} --all --yes", folder=str(ROOT))


def halted() -> Expectation:
    """Expect that a halt or unhalt passed and its output names its record; if not, name each part that failed."""

    def test(reply: Reply) -> Finding:
        record = HALT_RECORD.search(reply.text)
        if reply.error is None and reply.status == 0 and record:
            return Finding(record[0])
        open_parts = [" ".join(line.split()) for line in reply.text.splitlines() if OPEN_PART.match(line)]
        said = "; ".join(open_parts) or reply.error or f"no record of the halt is named in {reply.text[-200:]!r}"
        return Finding(record[0] if record else "", f"exit {reply.status}: {said}")

    return over_each("every part of the halt passed, and its record is named", test, errors_allowed=True)


def unhalt_line(settings: Settings) -> Shell:
    """Return the command line that undoes a halt: it sets both switches back and redeploys the web app."""
    return shell(f"./runbook unhalt --profile {settings.name} --yes", folder=str(ROOT))


def sweep_command(settings: Settings) -> Http:
    """Ask about the crons at Vercel or the always-on Fly machine, whichever runs the heartbeat sweep (C34)."""
    if settings.web.sweep == "vercel":
        return http("vercel", "GET /v9/projects/{vercel.project}", pick="crons")
    app = settings.web.sweep.removeprefix("fly:")
    return http("fly", f"GET /v1/apps/{app}/machines")


def sweep_runs(settings: Settings) -> Expectation:
    """Expect that the heartbeat sweep is on: Vercel's crons are not disabled, or its Fly machine is started."""
    return each(disabledAt=None, deploymentId=not_null) if settings.web.sweep == "vercel" else each(state="started")


def scheduled(*paths: str, tight: bool = False) -> Expectation:
    """Expect that each path has a cron whose schedule will run; say how often the heartbeat sweep runs (C9).

    ``tight``: each cron must run at least every 15 minutes, which trading with real money needs.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        schedules = {str(row.get("path")): str(row.get("schedule")) for row in replies[0].rows}
        missing = [path for path in paths if path not in schedules]
        bad = [f"no cron for {path}" for path in missing]
        seen = []
        for path in paths:
            if path in schedules:
                words, complaint = _explained(path, schedules[path], datetime.now(UTC), tight=tight)
                seen.append(words)
                bad += [complaint] if complaint else []
        return Finding("; ".join(seen), "; ".join(bad) or None)

    return over_all(f"crons for {', '.join(paths)}", test)


def sweep_schedule(settings: Settings) -> Http:
    """Ask for the heartbeat sweep's schedule: Vercel's cron definitions, or the sweeping Fly machine (C34)."""
    if settings.web.sweep == "vercel":
        return http("vercel", "GET /v9/projects/{vercel.project}", pick="crons.definitions")
    return sweep_command(settings)


def sweep_tight(settings: Settings) -> Expectation:
    """Expect that the heartbeat sweep runs often enough to notice a dead machine within 15 minutes."""
    return scheduled(SWEEP_PATH, tight=True) if settings.web.sweep == "vercel" else sweep_runs(settings)


def _explained(path: str, schedule: str, now: datetime, *, tight: bool) -> tuple[str, str | None]:
    try:
        following, gap = next(CronSim(schedule, now)), longest_gap(schedule, now)
    except (CronSimError, StopIteration, ValueError):  # ValueError: a number of thousands of digits
        return "", f"{path}: {schedule!r} is not a cron schedule"
    words = f"{path} next runs {following:%Y-%m-%dT%H:%MZ}"
    if path.endswith("heartbeat-sweep"):
        fit = "tight enough for phase 2" if gap <= SWEEP_LIMIT else "phase 2 stays closed: it needs 15 minutes"
        words += f", at most {gap / 60:.0f} minutes apart ({fit})"
    if tight and gap > SWEEP_LIMIT:
        return words, f"{path}: {schedule} leaves up to {gap / 60:.0f} minutes, at most {SWEEP_LIMIT // 60} are allowed"
    return words, None


def _kind(value: str) -> str:
    """Return the type for a variable at Vercel: sensitive (unreadable) if its value names a secret, else plain."""
    names = VARIABLE.findall(value)
    return "sensitive" if any(not name.startswith("NEXT_PUBLIC_") for name in names) else "plain"


def _kind_of(present: Mapping[str, Any] | None, value: str) -> str:
    """Return the type to send to Vercel for a variable: a sensitive variable must stay sensitive."""
    return "sensitive" if present is not None and present.get("type") == "sensitive" else _kind(value)
