"""Seal records and chain the seals of a profile: each seal names the seal before it.

The seal is the last line of a record's ledger: it holds the hashes of the record's other files and the previous seal.
"""

from __future__ import annotations

import json
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import RecordError
from runbook_lib.files import write_whole
from runbook_lib.records.ledger import locked
from runbook_lib.records.record_folder import Record, every
from runbook_lib.records.verify import LEDGER, below, digest, edits, files_of, plain, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from runbook_lib.records.ledger import Event

HEAD = "head.json"


def seal(record: Record, outcome: str | None = None, **facts: Any) -> Event:
    """Seal a record: scan its files for secrets, write the seal, and chain it to the profile's previous seal.

    The ledger's lines tell the outcome; pass ``outcome`` only for a record whose lines do not (a halt, a watch). Raise
    `RecordError` naming the file and the place if a secret is found; the record then stays unsealed.
    """
    _refuse_unsealable(record)
    record.ledger.mend()
    lines, problem = read(record.ledger.path)
    if problem:
        raise RecordError(f"{record.ledger.path}: {problem}; not sealed")
    claims = lines.claims(edits(record.folder, lines.opened.get("plan")))
    word = lines.outcome(facts.get("ended")) or outcome
    if word is None or outcome not in (None, word):
        raise RecordError(f"{record.name}: cannot be sealed as {outcome}, its lines say {word}")
    profile = record.root / record.profile
    with locked(profile / ".lock"):
        previous = head(profile)
        files = {below(record.folder, path): digest(path) for path in files_of(record.folder)}
        _replace(profile / HEAD, {"hash": previous, "pending": record.name})
        event = record.ledger.append("sealed", outcome=word, files=files, previous=previous, **claims, **facts)
        _replace(profile / HEAD, {"hash": event["hash"], "pending": None})
    return event


def head(profile: Path) -> str | None:
    """Return the hash of the newest seal in a profile's chain. Return None if nothing is sealed yet.

    If a crash came right after a seal was written, the note beside the records does not hold it yet, but names the
    record in ``pending``.
    """
    hint = _hint(profile)
    if hint is None:
        return _newest_seal(profile)
    known: str | None = hint["hash"]
    if hint["pending"]:
        newest = Record(profile.parent / hint["pending"]).sealed()
        if newest is not None and newest["previous"] == known:
            return str(newest["hash"])
    return known


def mended(root: Path) -> list[str]:
    """Repair each damaged ``head.json``, which notes the newest seal of a profile. Return a line for each repair."""
    mends: list[str] = []
    for path in sorted(root.glob(f"*/{HEAD}")):
        with suppress(RecordError):
            mends += filter(None, [_mended(path.parent)])
    return mends


def _mended(profile: Path) -> str | None:
    """Rewrite a profile's note of its newest seal if the note is damaged. Return a line about the repair, or None."""
    path = profile / HEAD
    if not path.exists() or _hint(profile) is not None:
        return None
    with locked(profile / ".lock"):
        if _hint(profile) is not None:
            return None
        _replace(path, {"hash": _newest_seal(profile), "pending": None})
    return f"{path}: was damaged; written again from the seals of the records"


def _hint(profile: Path) -> Event | None:
    """Return a profile's note of its newest seal, a file beside the records.

    If the note is missing or damaged, return None.
    """
    try:
        hint = json.loads((profile / HEAD).read_text(encoding="utf-8"))
        good = sorted(hint) == ["hash", "pending"] and all(isinstance(value, str | None) for value in hint.values())
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return hint if good else None


def _newest_seal(profile: Path) -> str | None:
    """Return the hash of a profile's newest seal, found by reading every record of the profile.

    It is the newest of the seals that no other seal names as the one before it.
    """
    seals = [seal for record in every(profile.parent) if record.profile == profile.name and (seal := _seal_of(record))]
    followed = {seal["previous"] for seal in seals}
    tips = sorted((seal["at"], seal["hash"]) for seal in seals if seal["hash"] not in followed)
    return str(tips[-1][1]) if tips else None


def _seal_of(record: Record) -> Event | None:
    try:
        return record.sealed()
    except (RecordError, OSError):
        return None


def in_order(records: Iterable[Record], known: Iterable[Record] | None = None) -> list[Record]:
    """Sort readable records by the chain of seals, oldest first. Times and folder names do not matter.

    A record without a seal is as old as the seal that was the newest when the record was opened. If ``records`` are
    only some of a profile's records, ``known`` must be all of them.
    """
    records = list(records)
    place = _places(_seal_of(record) for record in (records if known is None else known))

    def opening(record: Record) -> tuple[int, str]:
        opened = record.opened()
        return place.get(opened.get("after"), -1), opened["at"]

    sealed = [(record, seal) for record in records if (seal := _seal_of(record))]
    sealed.sort(key=lambda pair: (place.get(pair[1]["hash"], len(place)), pair[1]["at"]))
    open_ones = sorted((record for record in records if _seal_of(record) is None), key=opening)
    newest = opening(sealed[-1][0]) if sealed else (-1, "")
    before = [record for record in open_ones if opening(record) <= newest]
    return [*before, *(record for record, _ in sealed), *(record for record in open_ones if record not in before)]


def _places(seals: Iterable[Event | None]) -> dict[str | None, int]:
    """Return each seal's position in the chain: hash -> position, starting with 0 for the oldest."""
    following: dict[str | None, list[Event]] = {}
    present = [seal for seal in seals if seal]
    for seal in present:
        following.setdefault(seal["previous"], []).append(seal)
    own = {seal["hash"] for seal in present}
    waiting = deque(sorted((seal for seal in present if seal["previous"] not in own), key=lambda seal: str(seal["at"])))
    place: dict[str | None, int] = {}
    while waiting:
        seal = waiting.popleft()
        if seal["hash"] not in place:
            place[seal["hash"]] = len(place)
            waiting.extend(following.get(seal["hash"], ()))
    return place


def _refuse_unsealable(record: Record) -> None:
    for path in [*files_of(record.folder), record.folder / LEDGER]:
        if not plain(path):
            raise RecordError(f"{path}: not a plain file; not sealed")
        if record.redact is None:
            continue
        for name, form, offset in record.redact.hits(path.read_text(encoding="utf-8", errors="replace")):
            raise RecordError(f"{path}: holds the secret {name} ({form}) at character {offset}; not sealed")


def _replace(path: Path, content: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(content).encode())
