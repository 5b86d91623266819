"""Copy each sealed record to its profile's archive folder, and compare the copy with the record.

Before a record is sealed, a note of it is written. Every command ends by copying the records that have a note, so that
neither a crash nor an absent archive loses a copy. A failure to archive does not fail the run.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

from runbook_lib.errors import ConfigError, RecordError
from runbook_lib.files import make_folder, write_whole
from runbook_lib.records import record_folder, seal_chain, signing
from runbook_lib.records.record_folder import Record
from runbook_lib.records.verify import SIGNATURE, SIGNERS, below, digest
from runbook_lib.settings import profiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from runbook_lib.records.ledger import Event
    from runbook_lib.settings.profiles import Settings

PENDING = ".pending"  # folder of a profile: one note for each record that is not signed or not archived yet


def close(record: Record, outcome: str | None = None, **facts: Any) -> Event:
    """Seal a record and, in production, sign it. Note that the record must be archived.

    Raise `RecordError` if it cannot be sealed. If the seal cannot be signed, every later command reports this until
    ``./runbook sign`` signs it, and gates refuse the record until then.
    """
    _note(record)
    event = seal_chain.seal(record, outcome, **facts)
    if record.opened().get("kind") == "production":
        try:
            signing.sign(record)
        except RecordError as error:
            _note(record, str(error))
    return event


def catch_up(root: Path, load: Callable[[str], Settings] = profiles.load) -> list[str]:
    """Archive the records that were noted as not yet archived. Return a line for each failure.

    The note of a record that could not be archived stays, so that the next command tries again.
    """
    problems: list[str] = []
    for note in sorted(root.glob(f"*/{PENDING}/*")):
        problems += _caught_up(root, note, load)
    return problems


def _caught_up(root: Path, note: Path, load: Callable[[str], Settings]) -> Iterator[str]:
    """Archive the record that a note names, and remove the note. Yield a line if archiving fails."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        record, complaint = Record(root / facts["record"]), facts["complaint"]
    except FileNotFoundError:
        return  # another command has done it
    except (OSError, ValueError, LookupError, TypeError):
        yield from _noted_again(root, note)
        return
    try:
        if record.sealed() is not None:  # else it runs still, or was cut off: it is sealed when it is resumed
            _complete(record, load(record.profile), complaint)
            note.unlink(missing_ok=True)
    except (ConfigError, RecordError, OSError) as error:
        yield f"{record.name}: {error}"


def _noted_again(root: Path, note: Path) -> Iterator[str]:
    """Remove a damaged note which says that a record must be archived, and yield a line about it.

    If the note's file name stands for a record, write the note again.
    """
    note.unlink(missing_ok=True)
    named = [record for record in record_folder.every(root) if record.name.replace("/", "_") == note.name]
    for record in named:
        with suppress(RecordError, OSError):
            _note(record)
    made = f"written again for {named[0].name}" if named else "taken away: it names no record"
    yield f"{note}: was damaged; {made}"


def _note(record: Record, complaint: str | None = None) -> None:
    """Note that a record must be archived or signed, if its profile asks for that."""
    profile = _profile(record)
    if profile.get("archive") or profile.get("kind") == "production":
        folder = record.root / record.profile / PENDING
        make_folder(folder)
        facts = {"record": record.name, "complaint": complaint}
        write_whole(folder / record.name.replace("/", "_"), json.dumps(facts).encode())


def _profile(record: Record) -> dict[str, Any]:
    """Return the profile's settings with which a record was made.

    If the record's parameters hold no profile, return an empty one.
    """
    parameters = yaml.safe_load((record.folder / "parameters.yaml").read_text(encoding="utf-8"))
    profile = parameters.get("profile") if isinstance(parameters, dict) else None
    return profile if isinstance(profile, dict) else {}


def _complete(record: Record, chosen: Settings, complaint: str | None) -> None:
    """Copy a record, once it is signed, to the archive that its profile's settings name. ``chosen`` are these settings.

    Raise `RecordError` if the record lacks a signature that it needs, if the archive is absent, or if the copy differs.
    """
    allowed = signing.signers(chosen)
    if allowed is not None and not (record.folder / SIGNATURE).exists():
        raise RecordError(f"{complaint or 'not signed'}; then ./runbook sign {record.name}")
    if chosen.archive is None:
        return
    archive = profiles.ROOT / chosen.archive
    if not archive.is_dir():  # never made here: it may be a disk that is not mounted
        raise RecordError(f"not archived: there is no folder {archive}")
    copy(record, archive)
    if allowed is not None:
        write_whole(archive / record.profile / SIGNERS, f"{allowed}\n".encode())


def copy(record: Record, archive: Path) -> None:
    """Copy a record to the archive and compare the two.

    The copy appears whole or not at all, and an existing copy is never replaced.
    """
    target = archive / record.name
    if not target.exists():
        draft = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            make_folder(draft.parent)
            shutil.copytree(record.folder, draft)
            _reach_the_disk(draft, *draft.rglob("*"))
            _compare(record.folder, draft)
            draft.rename(target)
        except OSError:
            if not target.exists():  # another command was quicker
                raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        _reach_the_disk(target.parent)
    _compare(record.folder, target)


def _reach_the_disk(*paths: Path) -> None:
    """Flush files to the disk and drop them from the cache, so that a comparison reads what is on the disk."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.fsync(file)
            if path.is_file() and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _compare(folder: Path, copied: Path) -> None:
    ours, theirs = ({below(f, p): digest(p) for p in f.rglob("*") if p.is_file()} for f in (folder, copied))
    if ours != theirs:
        other = sorted(name for name, _ in ours.items() ^ theirs.items())
        raise RecordError(f"not archived: the copy {copied} differs in {', '.join(dict.fromkeys(other))}")
