"""Sign seals with ssh-keygen. The key may be in a file, in an SSH agent or in a hardware token."""

from __future__ import annotations

import getpass
import os
import secrets
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import ConfigError, RecordError, nearest
from runbook_lib.files import write_whole
from runbook_lib.records.record_folder import Record
from runbook_lib.records.verify import NAMESPACE, SIGNATURE, last_line, signed_by, signers_beside
from runbook_lib.settings import profiles

if TYPE_CHECKING:
    from runbook_lib.settings.profiles import Settings

KEY = "RUNBOOK_SIGNING_KEY"  # environment variable: a key's file, or the .pub of one that an agent holds
PATIENCE = 120  # seconds for a person to touch a key or type its passphrase


def operator() -> str:
    """Return the name of the operator who signs: RUNBOOK_OPERATOR, or else the login name."""
    try:
        return os.environ.get("RUNBOOK_OPERATOR") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return f"uid {os.getuid()}"


def signers(settings: Settings) -> str | None:
    """Return the list of who may sign a profile's records. Return None if the records need no signature."""
    return "\n".join(settings.allowed_signers) if settings.kind == "production" else None


@cache
def of_profile(name: str) -> str | None:
    """Return the list of who may sign for the profile called ``name``. Return None if the profile cannot be read."""
    try:
        return signers(profiles.load(name))
    except ConfigError:
        return None


def signers_of(folder: Path) -> str | None:
    """Return the list of who may sign the record in ``folder``, from its profile or else from its archive.

    Return None if neither lists any signer.
    """
    return of_profile(Record(folder).profile) or signers_beside(folder)


def sign(record: Record) -> None:
    """Sign a record's seal and write the signature beside the ledger. Raise `RecordError` if signing fails."""
    write_whole(record.folder / SIGNATURE, _signature(last_line(record.folder)))


def unable(settings: Settings) -> list[str]:
    """Try to sign something. Return the reasons why this operator cannot sign a seal.

    The list is empty if signing works or if the profile requires no signatures.
    """
    allowed, who = signers(settings), operator()
    if allowed is None:
        return []
    names = [line.split()[0] for line in settings.allowed_signers]
    if who not in names:
        named = nearest(who, names)
        return [f"operator {who!r} is none of the profile's allowed_signers: {named} (RUNBOOK_OPERATOR says who)"]
    trial = secrets.token_bytes(16)
    try:
        good, said = signed_by(who, _signature(trial), trial, allowed, datetime.now(UTC))
    except RecordError as error:
        return [str(error)]
    return [] if good else [f"the key {os.environ[KEY]} ({KEY}) is not one of {who}: {said}"]


def _signature(data: bytes) -> bytes:
    key = os.environ.get(KEY)
    if not key:
        raise RecordError(f"not signed: {KEY} names no key: set it to an SSH key's file, or to the .pub of an agent's")
    path = Path(key).expanduser()
    if not path.is_file():
        raise RecordError(f"not signed: {KEY} names {key}, which is no file")
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(path)]
    try:
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=PATIENCE)
    except FileNotFoundError:
        raise RecordError("not signed: ssh-keygen is not installed here") from None
    except subprocess.TimeoutExpired:
        raise RecordError(f"not signed: the key {key} gave no signature within {PATIENCE} s") from None
    if done.returncode:
        raise RecordError(f"not signed: {' '.join(done.stderr.decode(errors='replace').split())}")
    return done.stdout
