"""Prove that a rotated secret has arrived in every machine and with every runner (checklist 1.7, C15)."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runbook_lib.agentic_trading.fly_machines import environment
from runbook_lib.agentic_trading.runner_commands import command_state, send_command
from runbook_lib.checklist.rotation_places import NAMES, NEW, awake, holding, names
from runbook_lib.commands.command import Command, Http, Reply, Series, Sql, http, shell, sql
from runbook_lib.commands.expectations import Expectation, Finding, over_all
from runbook_lib.errors import ConfigError
from runbook_lib.services.plain_rows import moment
from runbook_lib.services.secret_fields import DROPPED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from runbook_lib.settings.profiles import Settings

HASH = re.compile(r"[0-9a-f]{64}")


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


def arrived() -> Expectation:
    """Expect that every machine has the rotated secret: its hash from `asked` equals this computer's hash."""

    def test(replies: Sequence[Reply]) -> Finding:
        hashes, new_hash = _hashes(replies)
        words = f"{hashes.count(new_hash)} of {len(hashes)} machines have the new value"
        return Finding(words, None if new_hash and hashes.count(new_hash) == len(hashes) else words)

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

    Columns: ``id``, ``status``, ``error_text``, ``started`` (of the runner) and ``compared`` (the last `reconciled`).
    """
    return sql(
        """
        select d.id, d.status, d.error_text, max(l.ts) filter (where l.event = 'runner_started') as started,
               max(l.ts) filter (where l.event = 'reconciled') as compared
        from public.deployments d left join public.agent_logs l on l.deployment_id = d.id
        where d.id::text = any(%(ids)s) group by d.id order by d.id
        """,
        ids=list(_noted(noted)),
    )


def as_noted(noted: Reply, fly: Reply, machines: Reply, secret: str) -> Expectation:
    """Expect that every deployment has the status that ``noted`` shows, and has reconciled since its runner started.

    If machines were restarted, the runner must have started after ``noted``.
    """

    def test(replies: Sequence[Reply]) -> Finding:
        rows = {str(row.get("id")): row for row in replies[0].rows}
        since = moment(noted.value("noted_at")) if awake(fly, machines, secret) else moment(None)
        bad = [f"{deployment} is not in the database" for deployment in _noted(noted) if deployment not in rows]
        bad += [f"{deployment} was not running before" for deployment in rows if deployment not in _noted(noted)]
        for deployment, before in _noted(noted).items():
            bad += [] if deployment not in rows else _differs(rows[deployment], before, since)
        return Finding(f"{len(rows)} as before", "; ".join(bad) or None)

    return over_all("every deployment as it was before", test)


def _differs(row: Mapping[str, Any], before: str, since: datetime) -> list[str]:
    """Describe how one deployment differs from its status before the rotation."""
    deployment, started = row.get("id"), moment(row.get("started"))
    if row.get("status") != before:
        return [f"{deployment} was {before} and is {row.get('status')}: {row.get('error_text') or 'no error text'}"]
    if started < since:
        return [f"{deployment} has not started again"]
    return [] if moment(row.get("compared")) > started else [f"{deployment} has not reconciled since it started"]


def snapshot_each(noted: Reply) -> Series:
    """Ask the runner of each deployment in ``noted`` for a snapshot, after a rotation.

    A snapshot proves that the runner can connect to the database.
    """
    return Series(tuple(send_command("snapshot", deployment) for deployment in _noted(noted)))


def snapshots_of(noted: Reply) -> Series:
    """Ask for the state of each snapshot command that `snapshot_each` sent after a rotation."""
    return Series(tuple(command_state("snapshot", deployment) for deployment in _noted(noted)))


def _noted(noted: Reply) -> dict[str, str]:
    """Return the deployments that ran when the rotation began: id -> status."""
    running: dict[str, str] = noted.value("running") or {}
    return running
