"""Rotating a secret: which places hold it, what is sent to each, and what proves that it has arrived (checklist 1.7).

The environment keeps the old value under the secret's own name and holds the new one as ``NEW_SECRET``, until all of it
is done. Nothing here sends anything.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.commands import Command, Http, Login, Reply, Series, Sql, http, shell, sql
from runbook_lib.deployments import command_state, send_command
from runbook_lib.door import DROPPED
from runbook_lib.errors import ConfigError
from runbook_lib.expect import Expectation, Finding, over_all
from runbook_lib.settings import INCOMING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings import Settings

__all__ = [
    "answered",
    "arrived",
    "as_noted",
    "asked",
    "changed",
    "cron_key",
    "held",
    "let_in",
    "logins",
    "mirror",
    "old_cron_key",
    "reset",
    "restart",
    "running_again",
    "snapshot_each",
    "snapshots_of",
    "stage",
    "update_lacking",
]

PASSWORD, CRON = "SUPABASE_DB_PASSWORD", "CRON_SECRET"
NAMES = {PASSWORD: (PASSWORD, "POSTGRES_PASSWORD")}  # secrets the platform knows by several names
OWN = ("FLY_API_TOKEN", "VERCEL_TOKEN", "SUPABASE_ACCESS_TOKEN")  # the operator's, which no part of the platform holds
NEW = f"${INCOMING}"
HASH = re.compile(r"[0-9a-f]{64}")


# --- who holds it ---------------------------------------------------------------------------------------------------


def held(secret: str) -> Expectation:
    """Fly's secrets, Vercel's variables, machines: some of them hold the secret, under one of its names."""

    def test(replies: Sequence[Reply]) -> Finding:
        fly, vercel, machines = replies
        if not all(row.get("name") for row in fly.rows) or not all(row.get("key") for row in vercel.rows):
            return Finding("", "a secret of Fly or a variable of Vercel has no name: the lists cannot be read")
        places = {
            "Fly": list(_among(fly.rows, "name", secret)),
            "Vercel": list(_among(vercel.rows, "key", secret)),
            "machines": [str(row["id"]) for row in _holding(fly, machines, secret)],
        }
        seen = "; ".join(f"{place}: {', '.join(found)}" for place, found in places.items() if found)
        if secret in OWN:
            return Finding(seen, f"{secret} is the operator's own: make another one in the vendor's dashboard")
        return Finding(seen, None if seen else f"neither Fly nor Vercel holds {secret}: is it spelled right?")

    return over_all(f"{secret} is held by Fly or Vercel", test)


def _names(secret: str) -> tuple[str, ...]:
    return NAMES.get(secret, (secret,))


def _among(rows: Sequence[Mapping[str, Any]], column: str, secret: str) -> dict[str, Mapping[str, Any]]:
    """The rows that hold the secret, by its name there; of Vercel's those for production."""
    return {
        str(row[column]): row
        for row in rows
        if row.get(column) in _names(secret) and "production" in (row.get("target") or ["production"])
    }


def _holding(fly: Reply, machines: Reply, secret: str) -> list[Mapping[str, Any]]:
    """Machines that hold the secret: all where the app does, else those whose own environment does."""
    everywhere = bool(_among(fly.rows, "name", secret))
    there = [row for row in machines.rows if row.get("state") not in ("destroyed", "destroying", None)]
    return [row for row in there if everywhere or set(_names(secret)) & set(_env(row))]


def _running(fly: Reply, machines: Reply, secret: str) -> list[Mapping[str, Any]]:
    """Machines that hold the secret and are not at rest: those that must be restarted and can be asked."""
    resting = ("stopped", "suspended", "failed", "created")
    return [row for row in _holding(fly, machines, secret) if row.get("state") not in resting]


def _env(machine: Mapping[str, Any]) -> Mapping[str, Any]:
    config = machine.get("config")
    env = config.get("env") if isinstance(config, dict) else None
    return env if isinstance(env, dict) else {}


# --- changing it ----------------------------------------------------------------------------------------------------


def reset(secret: str) -> Series:
    """Give the database role its new password; nothing for a secret whose value is nobody's but ours."""
    if secret != PASSWORD:
        return Series()
    return Series((http("supabase", "PATCH /v1/projects/{project}/database/password", json={"password": NEW}),))


def logins(secret: str) -> tuple[Login, ...]:
    """For the database password the new value, then the old one; else the password that has not changed."""
    return (Login(INCOMING), Login(PASSWORD)) if secret == PASSWORD else (Login(PASSWORD),)


def let_in(secret: str) -> Expectation:
    """The replies of `logins`: the new password is accepted and the old one is not."""
    wanted = [True, False] if secret == PASSWORD else [True]

    def test(replies: Sequence[Reply]) -> Finding:
        got = [(reply.value("variable"), reply.value("accepted")) if reply.rows else (None, None) for reply in replies]
        seen = ", ".join(f"{variable} {'accepted' if accepted else 'refused'}" for variable, accepted in got)
        good = [accepted for _, accepted in got] == wanted
        words = "the new value is accepted and the old one refused" if len(wanted) == 2 else "the password is accepted"
        return Finding(seen, None if good else f"expected that {words}, found {seen}")

    return over_all("the database lets in whom it should", test)


def stage(fly: Reply, secret: str) -> Series:
    """Set the new value on Fly, under every name the app holds it by; running machines do not notice yet."""
    values = dict.fromkeys(_among(fly.rows, "name", secret), NEW)
    return Series((http("fly", "POST /v1/apps/{fly.app}/secrets", json={"values": values}),) if values else ())


def mirror(vercel: Reply, secret: str) -> Series:
    """Set the new value on Vercel, under every name it is held by; the live deployment does not notice yet."""
    kinds = {key: str(row.get("type")) for key, row in _among(vercel.rows, "key", secret).items()}
    body = [
        {"key": key, "value": NEW, "type": kind.replace("plain", "sensitive"), "target": ["production"]}
        for key, kind in kinds.items()
    ]
    upsert = http("vercel", "POST /v10/projects/{vercel.project}/env", query={"upsert": "true"}, json=body)
    return Series((upsert,) if body else ())


def changed(secret: str, noted: Reply) -> Expectation:
    """Fly's secrets, Vercel's variables: whatever holds the secret is not as it was noted.

    Neither shows a value, but Fly a digest and Vercel the time of the last change.
    """
    before = _marks(noted.rows, secret)

    def test(replies: Sequence[Reply]) -> Finding:
        now = _marks([row for one in replies for row in one.rows], secret)
        old = [place for place, mark in now.items() if mark is None or mark == before.get(place)]
        lost = [place for place in before if place not in now]
        bad = [f"not changed since this run began: {', '.join(old)}"] if old else []
        bad += [f"gone since this run began: {', '.join(lost)}"] if lost else []
        return Finding(f"changed: {', '.join(now)}", "; ".join(bad) or None)

    return over_all(f"{secret} was changed wherever it is held", test)


def _marks(rows: Sequence[Mapping[str, Any]], secret: str) -> dict[str, Any]:
    """What tells one value from the next, by the place that holds the secret."""
    fly = {f"Fly's {name}": row.get("digest") for name, row in _among(rows, "name", secret).items()}
    return fly | {f"Vercel's {key}": row.get("updatedAt") for key, row in _among(rows, "key", secret).items()}


def _moment(at: Any) -> datetime:
    """A time as the database gives it, ISO 8601 in UTC; long ago where there is none."""
    try:
        found = datetime.fromisoformat(str(at).replace("Z", "+00:00"))
    except ValueError:
        return datetime(1970, 1, 2, tzinfo=UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


# --- the machines ---------------------------------------------------------------------------------------------------


def restart(fly: Reply, machines: Reply, secret: str) -> Series:
    """Restart every machine that holds the secret and runs."""
    path = "POST /v1/apps/{fly.app}/machines/{machine}/restart"
    return Series(tuple(http("fly", path, machine=row["id"]) for row in _running(fly, machines, secret)))


def asked(fly: Reply, machines: Reply, secret: str) -> tuple[Command, ...]:
    """Ask every machine that runs, and this one, for the hash of a fresh nonce and the secret.

    Equal hashes prove equal values, and neither is shown. The nonce is the step's key, so no hash serves twice.
    """
    value = "".join(f"${{{name}:-" for name in _names(secret)[:-1]) + f"${{{_names(secret)[-1]}}}"
    value += "}" * (len(_names(secret)) - 1)
    body = {"command": ["sh", "-c", f'printf %s "{{key}}{value}" | sha256sum']}
    path = "POST /v1/apps/{fly.app}/machines/{machine}/exec"
    there = [http("fly", path, machine=row["id"], json=body, reads=True) for row in _running(fly, machines, secret)]
    here = shell(f'printf %s "{{key}}{NEW}" | sha256sum', reads=True, folder="/")
    return Series(tuple(there)), here


def answered() -> Expectation:
    """Every machine answered `asked` with a hash; how many have the new value is said, not judged."""

    def test(replies: Sequence[Reply]) -> Finding:
        found, here = _hashes(replies)
        words = f"{found.count(here)} of {len(found)} machines have the new value"
        silent = found.count("") + (not here)
        return Finding(words, f"{silent} of {len(found) + 1} gave no hash" if silent else None)

    return over_all("a hash from every machine", test)


def arrived() -> Expectation:
    """Every machine answered `asked` with the hash that this machine computes for the new value."""

    def test(replies: Sequence[Reply]) -> Finding:
        found, here = _hashes(replies)
        words = f"{found.count(here)} of {len(found)} machines have the new value"
        return Finding(words, None if here and found.count(here) == len(found) else words)

    return over_all("the new value in every machine", test)


def _hashes(replies: Sequence[Reply]) -> tuple[list[str], str]:
    """What each machine answered, and what this one did; empty where it is no hash."""
    there, here = replies
    found = [str(row.get("stdout")) if row.get("exit_code") == 0 else "" for row in there.rows]
    return [_hash(text) for text in found], _hash(here.text)


def _hash(text: str) -> str:
    found = HASH.match(text)
    return found[0] if found else ""


def update_lacking(settings: Settings, holders: Sequence[Reply], answers: Sequence[Reply], secret: str) -> Series:
    """Update the machines that answered without the new value, and those at rest, which cannot be asked.

    ``holders``: Fly's secrets and the machines. ``answers``: the replies of `asked`. An update takes the app's secrets;
    where the platform put the value into the machine's own environment, it is replaced there too. One at rest stays so.
    """
    fly, machines = holders
    found, here = _hashes(answers)
    running = _running(fly, machines, secret)
    right = {row["id"] for row, answer in zip(running, found, strict=True) if answer == here}
    lacking = [row for row in _holding(fly, machines, secret) if row["id"] not in right]
    ids = {row["id"] for row in running}
    return Series(tuple(_update(settings, row, secret, rests=row["id"] not in ids) for row in lacking))


def _update(settings: Settings, machine: Mapping[str, Any], secret: str, *, rests: bool) -> Http:
    env = {name: _value(settings, name, value, secret) for name, value in _env(machine).items()}
    config = {**machine["config"], **({"env": env} if env else {})}
    if DROPPED in json.dumps(config):
        raise ConfigError(
            f"machine {machine['id']} was made with values that this run does not know, and cannot be updated without "
            "them: stop its deployment and deploy again; the new machine takes the new value"
        )
    body = {"config": config, **({"skip_launch": True} if rests else {})}
    return http("fly", "POST /v1/apps/{fly.app}/machines/{machine}", machine=machine["id"], json=body)


def _value(settings: Settings, name: str, value: Any, secret: str) -> Any:
    """A variable of a machine, to be sent back: the new value, a known secret by its name, or as it was."""
    if name in _names(secret):
        return NEW
    known = next((one for one, others in NAMES.items() if name in others), name)
    return f"${known}" if value == DROPPED and settings.has(known) else value


# --- the runners ----------------------------------------------------------------------------------------------------


def running_again(noted: Reply) -> Sql:
    """What became of the deployments that ran: ``status``, when the runner last ``started`` and ``reconciled``."""
    return sql(
        """
        select d.id, d.status, d.error_text, max(l.ts) filter (where l.event = 'runner_started') as started,
               max(l.ts) filter (where l.event = 'reconciled') as reconciled
        from public.deployments d left join public.agent_logs l on l.deployment_id = d.id
        where d.id::text = any(%(ids)s) group by d.id order by d.id
        """,
        ids=list(_noted(noted)),
    )


def as_noted(noted: Reply, fly: Reply, machines: Reply, secret: str) -> Expectation:
    """Every deployment is in the status it had, and reconciled after it started: anew, where it was restarted."""

    def test(replies: Sequence[Reply]) -> Finding:
        found = {str(row.get("id")): row for row in replies[0].rows}
        since = _moment(noted.value("noted_at")) if _running(fly, machines, secret) else _moment(None)
        bad = [f"{one} is not in the database" for one in _noted(noted) if one not in found]
        bad += [f"{one} was not running before" for one in found if one not in _noted(noted)]
        for one, before in _noted(noted).items():
            bad += [] if one not in found else _differs(found[one], before, since)
        return Finding(f"{len(found)} as before", "; ".join(bad) or None)

    return over_all("every deployment as it was before", test)


def _differs(row: Mapping[str, Any], before: str, since: datetime) -> list[str]:
    """What is not as it was with one deployment."""
    one, started = row.get("id"), _moment(row.get("started"))
    if row.get("status") != before:
        return [f"{one} was {before} and is {row.get('status')}: {row.get('error_text') or 'no error text'}"]
    if started < since:
        return [f"{one} has not started again"]
    return [] if _moment(row.get("reconciled")) > started else [f"{one} has not reconciled since it started"]


def snapshot_each(noted: Reply) -> Series:
    """Ask the runner of every deployment that ran for a snapshot: it hears of it over the connection that logs in."""
    return Series(tuple(send_command("snapshot", one) for one in _noted(noted)))


def snapshots_of(noted: Reply) -> Series:
    """What became of those snapshots."""
    return Series(tuple(command_state("snapshot", one) for one in _noted(noted)))


def _noted(noted: Reply) -> dict[str, str]:
    """Deployments that ran when the rotation began, with their status."""
    found: dict[str, str] = noted.value("running") or {}
    return found


# --- the cron endpoints ---------------------------------------------------------------------------------------------


def cron_key(secret: str) -> str:
    """What the cron endpoints must accept from now on."""
    return f"Bearer {NEW}" if secret == CRON else f"Bearer ${CRON}"


def old_cron_key(secret: str) -> str:
    """What they must turn away: the old value, or where it has not changed, any other."""
    return f"Bearer ${CRON}" if secret == CRON else "Bearer not-the-secret"
