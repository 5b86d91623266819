"""Prove that a rotated secret has arrived in every machine and with every runner (checklist 1.7, C15)."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import MACHINES, deployment_of, environment
from runbook_lib.agentic_trading.runner_commands import ACTIVE, FLATTEN, PAUSE, STOP, send_command
from runbook_lib.checklist.rotation_places import NAMES, NEW, RESTING, awake, holding, names
from runbook_lib.commands.command import Command, Http, Reply, Series, Sql, http, shell, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError
from runbook_lib.services.plain_rows import moment
from runbook_lib.services.secret_fields import DROPPED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings.profiles import Settings

HASH = re.compile(r"[0-9a-f]{64}")
LEADS_TO = {PAUSE: "paused", FLATTEN: "paused", STOP: "stopped"}  # a command -> the status that it leaves


# --- the machines ---------------------------------------------------------------------------------------------------


def restart(fly: Reply, machines: Reply, secret: str) -> Series:
    """Restart every running machine that holds the rotated secret."""
    path = "POST /v1/apps/{fly.app}/machines/{machine}/restart"
    return Series(tuple(http("fly", path, machine=row["id"]) for row in awake(fly, machines, secret)))


def asked(fly: Reply, machines: Reply, secret: str) -> tuple[Command, ...]:
    """Ask every running machine, and this computer, for the hash of a fresh nonce followed by the rotated secret.

    Equal hashes prove equal values, and neither value is shown. The nonce is the step's key, so that an earlier hash
    proves nothing.
    """
    value = "".join(f"${{{name}:-" for name in names(secret)[:-1]) + f"${{{names(secret)[-1]}}}"
    value += "}" * (len(names(secret)) - 1)
    body = {"command": ["sh", "-c", f'printf %s "{{key}}{value}" | sha256sum']}
    path = "POST /v1/apps/{fly.app}/machines/{machine}/exec"
    at_fly = [http("fly", path, machine=row["id"], json=body, reads=True) for row in awake(fly, machines, secret)]
    locally = shell(f'printf %s "{{key}}{NEW}" | sha256sum', reads=True, folder="/")
    return Series(tuple(at_fly)), locally


def answered() -> Expectation:
    """Expect that every machine replied with a hash to its command from `asked`.

    Machines with the rotated secret are counted, not judged.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        hashes, new_hash = _hashes(replies)
        words = f"{hashes.count(new_hash)} of {len(hashes)} machines have the new value"
        silent = hashes.count("") + (not new_hash)
        return Finding(words, f"{silent} of {len(hashes) + 1} gave no hash" if silent else None)

    return over_all("a hash from every machine", test, empty=True)  # where none is awake


def arrived(fly: Reply, machines: Reply, secret: str, *, updated: Reply) -> Expectation:
    """Expect that every machine has the rotated secret: its hash from `asked` equals this computer's hash.

    A machine at rest cannot be asked. It must be in ``updated``, the list of machines that `update_lacking` took.
    """
    awake_ids = {row["id"] for row in awake(fly, machines, secret)}
    resting = [str(row["id"]) for row in holding(fly, machines, secret) if row["id"] not in awake_ids]
    new = sorted(set(resting) - {str(row.get("id")) for row in updated.rows})

    def test(replies: Sequence[Reply]) -> Finding:
        hashes, new_hash = _hashes(replies)
        words = f"{hashes.count(new_hash)} of {len(hashes)} machines have the new value"
        seen = f"{words}; at rest, updated and not asked: {', '.join(resting)}" if resting else words
        bad = [] if new_hash and hashes.count(new_hash) == len(hashes) else [words]
        bad += [f"at rest, and neither updated nor asked: {', '.join(new)}"] if new else []
        return Finding(words if new else seen, "; ".join(bad) or None)

    return over_all("the new value in every machine", test, empty=True)


def _hashes(replies: Sequence[Reply]) -> tuple[list[str], str]:
    """Return each machine's hash, and this computer's hash. If an answer holds no hash, its hash is an empty text."""
    at_fly, locally = replies
    answers = [str(row.get("stdout")) if row.get("exit_code") == 0 else "" for row in at_fly.rows]
    return [_hash(text) for text in answers], _hash(locally.text)


def _hash(text: str) -> str:
    match = HASH.match(text)
    return match[0] if match else ""


def update_lacking(settings: Settings, holders: Sequence[Reply], answers: Sequence[Reply], secret: str) -> Series:
    """Update the machines that lack the rotated secret. They gave a wrong hash, or were stopped and so not asked.

    ``holders``: the replies with Fly's secrets and with the machines. ``answers``: the replies of `asked`. An update
    gives a machine the app's present secrets, and replaces a value that the platform put into the machine's own
    environment. A machine at rest stays at rest.
    """
    fly, machines = holders
    hashes, new_hash = _hashes(answers)
    running = awake(fly, machines, secret)
    right = {row["id"] for row, answer in zip(running, hashes, strict=True) if answer == new_hash}
    lacking = [row for row in holding(fly, machines, secret) if row["id"] not in right]
    ids = {row["id"] for row in running}
    return Series(tuple(_update(settings, row, secret, rests=row["id"] not in ids) for row in lacking))


def _update(settings: Settings, machine: Mapping[str, Any], secret: str, *, rests: bool) -> Http:
    env = {name: _value(settings, name, value, secret) for name, value in environment(machine).items()}
    config = {**machine["config"], **({"env": env} if env else {})}
    if DROPPED in json.dumps(config):
        raise ConfigError(
            f"machine {machine['id']} was made with values that this run does not know, and cannot be updated without "
            "them: stop its deployment and deploy again; the new machine takes the new value"
        )
    body = {"config": config, **({"skip_launch": True} if rests else {})}
    return http("fly", "POST /v1/apps/{fly.app}/machines/{machine}", machine=machine["id"], json=body)


def _value(settings: Settings, name: str, value: Any, secret: str) -> Any:
    """Return the value to write back for an environment variable when its machine is updated after a rotation.

    That is the new value for the rotated secret, the variable's name for another secret that this computer knows, and
    otherwise the value as it was.
    """
    if name in names(secret):
        return NEW
    known = next((variable for variable, aliases in NAMES.items() if name in aliases), name)
    return f"${known}" if value == DROPPED and settings.has(known) else value


# --- the runners ----------------------------------------------------------------------------------------------------


def running_again(noted: Reply) -> Sql:
    """Ask for the status of the deployments that ran before the rotation.

    Columns: ``id``, ``status``, ``error_text``, ``started`` (of the runner), ``compared`` (the last `reconciled`) and
    ``commanded`` (the last pause, flatten or stop that the runner acknowledged since the rotation began).
    """
    return sql(
        """
        select d.id, d.status, d.error_text, max(l.ts) filter (where l.event = 'runner_started') as started,
               max(l.ts) filter (where l.event = 'reconciled') as compared, (
                 select c.kind from public.agent_commands c where c.deployment_id = d.id and c.acked_at >= %(since)s
                 and c.kind in ('pause', 'flatten', 'stop') order by c.acked_at desc limit 1) as commanded
        from public.deployments d left join public.agent_logs l on l.deployment_id = d.id
        where d.id::text = any(%(ids)s) group by d.id order by d.id
        """,
        ids=list(_noted(noted)),
        since=noted.value("noted_at"),
    )


def as_noted(noted: Reply, fly: Reply, machines: Reply, secret: str) -> Expectation:
    """Expect that every deployment has the status that ``noted`` shows, and has reconciled since its runner started.

    If machines were restarted, the runner must have started after ``noted``. Another status is right if somebody has
    commanded it meanwhile. A deployment that does not run and whose machine rests, because somebody commanded it or
    because it rested before, has no runner.

    Replies: `running_again`, Fly's machines.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        rows = {str(row.get("id")): row for row in replies[0].rows}
        since = moment(noted.value("noted_at")) if awake(fly, machines, secret) else moment(None)
        heard = listening(replies[0], replies[1])
        running = [name for name, row in rows.items() if row.get("status") == "running"]
        restarted = {deployment_of(row) for row in awake(fly, machines, secret)}
        left = [name for name, row in rows.items() if name in restarted and not row.get("commanded")]
        bad = [f"{deployment} is not in the database" for deployment in _noted(noted) if deployment not in rows]
        bad += [f"{deployment} was not running before" for deployment in rows if deployment not in _noted(noted)]
        for deployment, before in _noted(noted).items():
            bad += [] if deployment not in rows else _differs(rows[deployment], before)
            bad += _not_back(rows[deployment], since) if deployment in (*heard, *running, *left) else []
        bad += [
            f"{deployment} is running, and no machine of it is awake"
            for deployment in running
            if deployment not in heard
        ]
        return Finding(f"{len(rows)} as before", "; ".join(bad) or None)

    return over_all("every deployment as it was before", test, empty=True, about=[MACHINES])


def _differs(row: Mapping[str, Any], before: str) -> list[str]:
    """Describe how one deployment differs from its status before the rotation, unless somebody has commanded it."""
    status = row.get("status")
    if status in (before, LEADS_TO.get(str(row.get("commanded")))):
        return []
    return [f"{row.get('id')} was {before} and is {status}: {row.get('error_text') or 'no error text'}"]


def _not_back(row: Mapping[str, Any], since: datetime) -> list[str]:
    """Describe why a deployment's runner is not back after the rotation."""
    deployment, started = row.get("id"), moment(row.get("started"))
    if started < since:
        return [f"{deployment} has not started again"]
    return [] if moment(row.get("compared")) > started else [f"{deployment} has not reconciled since it started"]


def listening(running: Reply, machines: Reply) -> list[str]:
    """Return the deployments that must hear commands after a rotation: not ended, with a machine that is awake.

    ``running`` holds the rows of `running_again`.
    """
    hosts = {
        deployment_of(row) for row in machines.rows if row.get("state") not in ("destroyed", "destroying", *RESTING)
    }
    return [str(row["id"]) for row in running.rows if row.get("status") in ACTIVE and str(row.get("id")) in hosts]


def snapshot_each(deployments: Sequence[str]) -> Series:
    """Ask the runner of each deployment for a snapshot, after a rotation.

    A snapshot proves that the runner can connect to the database.
    """
    return Series(tuple(send_command("snapshot", deployment) for deployment in deployments))


def _noted(noted: Reply) -> dict[str, str]:
    """Return the deployments that ran when the rotation began: id -> status."""
    running: dict[str, str] = noted.value("running") or {}
    return running
